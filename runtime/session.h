#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <rondo/base/buffer.h>
#include <rondo/client.h>

// A session ties a Client to the names it works with: what a Context, and every Actor handle that
// it made or read, points to. Runtime opens one; a worker process makes one for its life. It is
// never destroyed while a handle may exist (open_session keeps them for ever; they are small): a
// handle that outlives its Runtime finds the session closed and throws kInvalid instead of touching
// freed memory.
//
// Users do not call this.

namespace rondo::detail {

class Entries;   // registry.h: what was registered

struct Session {
  std::atomic<Client*> client{nullptr};        // null: ended
  std::shared_ptr<const Entries> entries;
};

[[nodiscard]] Session& open_session(Client& client, std::shared_ptr<const Entries> entries);
void close_session(Session& session);

// The client, or kInvalid if the session ended.
[[nodiscard]] Client& client_of(const Session& session);
[[noreturn]] void throw_empty_actor();

// A ready value and the refs that its bytes number.
struct Opened {
  Buffer buffer;
  std::vector<CellRef> refs;
};
// Waits for the value. A ready inline value is read where it lies, without asking the engine; the
// cell must stay held while the buffer is read. Throws the value's Error, or kTimeout.
[[nodiscard]] Opened open_value(const Session&, const CellRef&, std::optional<DurationNs> timeout);
// Never waits: nothing while the value is not ready here. Throws its Error.
[[nodiscard]] std::optional<Opened> try_open_value(const Session&, const CellRef&);

}  // namespace rondo::detail
