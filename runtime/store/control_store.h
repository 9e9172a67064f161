#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <rondo/base/bytes.h>
#include <rondo/base/error.h>
#include <rondo/base/result.h>

// The head's memory across deaths: keys and values that are on disk before anybody is told of them.
//
// Writes are numbered batches, applied whole and in order. They are made durable on a thread of the
// store's own, many in one commit when they come quickly; `durable()` tells how far it is, `wake`
// is called when that changes. After the first failure nothing more is written and `failure()` says
// why in one sentence: the head then answers kUnavailable and exits.
//
// `load` before the first `write`; both from one thread. `durable` and `failure` from any.

namespace rondo::store {

struct ControlWrite {
  std::string key;
  std::optional<Bytes> value;  // none: the key goes
};

struct ControlBatch {
  std::uint64_t number = 0;  // ascending
  std::vector<ControlWrite> writes;
};

using ControlRows = std::map<std::string, Bytes>;

class ControlStore {
 public:
  virtual ~ControlStore() = default;
  [[nodiscard]] virtual Result<ControlRows> load() = 0;
  virtual void write(ControlBatch batch) = 0;  // never waits
  // every batch up to this number is on disk
  [[nodiscard]] virtual std::uint64_t durable() const = 0;
  [[nodiscard]] virtual std::optional<Error> failure() const = 0;
};

struct SqliteOptions {
  std::string path;
  // from the store's thread; must not wait
  std::function<void()> wake;
  // of the file; more is a failure ("full")
  std::uint64_t bytes_max = std::uint64_t{1} << 30;
};

// kUnavailable: another head has it open, it is of another schema, or no database at all. Every
// commit is synced. Destruction finishes what was written.
Result<std::unique_ptr<ControlStore>> open_sqlite_store(SqliteOptions options);

}  // namespace rondo::store
