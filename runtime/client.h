#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <rondo/base/cell.h>
#include <rondo/base/error.h>
#include <rondo/base/time.h>

// The seam between the typed surface (runtime.h, templates) and the engine that carries calls out
// (host/, or sim/). Everything here is type-erased: values are bytes with numbered refs. Users do
// not call it.
//
// All verbs may be called from any thread. submit, call and spawn never wait for another process.
// put of a value above limits::kInlineBytesMax asks the node for memory and waits for its answer, a
// minute at most. Verbs that wait for others' work take a deadline.

namespace rondo {

struct Resources {
  double cpu = 0;  // cores
  double gpu = 0;
  double memory = 0;  // bytes
  std::vector<std::pair<std::string, double>> custom = {};
};

struct TaskOptions {
  std::string name = {};
  Resources resources = {.cpu = 1};
  int max_retries = 3;  // after a worker's death, of what may have begun; -1: without end
};

struct ActorOptions {
  std::string name = {};
  Resources resources = {};
  int max_restarts = 0;      // after a death; -1: without end
  int max_task_retries = 0;  // of a call that may have begun when the actor died; -1: without end
  // Calls of one process to this actor that are unanswered; more fail with kOverloaded. 0: no bound
  // of its own; then limits::kCallsQueuedMax (4 million) that are not yet sent.
  unsigned max_pending = 0;
};

class Context;

namespace detail {

// Encoded arguments of a call: payload as in core/call.h (an ArgumentHeader before each), and the
// refs they name.
struct EncodedArguments {
  Bytes payload;
  std::vector<CellRef> refs;  // kRef arguments and refs inside inline values, by number
  // Numbers of the refs that must be ready first (kRef arguments).
  std::vector<std::uint32_t> awaited;
};

struct ArgumentView {
  Buffer bytes;                   // the encoded value, readable in place
  std::span<const CellRef> refs;  // the refs that this value's bytes number
};

// Where a body writes its result: asked once for the size, so that large results are written
// straight into the store.
class ResultSink {
 public:
  virtual ~ResultSink() = default;
  virtual std::span<std::byte> allocate(std::size_t bytes, std::vector<CellRef> refs) = 0;
};

struct CallFrame {
  Context& context;
  std::span<const ArgumentView> arguments;
  ResultSink& result;
  void* actor = nullptr;  // methods: the object
};

// Throws what the user's code throws.
using Body = std::function<void(CallFrame&)>;
// Constructs an actor; no result is written.
using Factory = std::function<std::shared_ptr<void>(CallFrame&)>;

struct ActorTarget {
  ActorId id;
  Incarnation bound;  // 0: whichever lives
};

struct ActorFound {
  ActorId id;
  std::string class_name;
};

class Client {
 public:
  virtual ~Client() = default;

  virtual CellRef submit(std::uint32_t function, const TaskOptions&, EncodedArguments) = 0;
  virtual CellRef call(const ActorTarget&, std::uint32_t method, EncodedArguments) = 0;
  virtual ActorId spawn(const std::string& class_name, const ActorOptions&, EncodedArguments) = 0;

  // A new ready object of `bytes` bytes, written by `fill`. Throws kOverloaded when the store is
  // full (it waits 2 s at most for dropped objects that are still read), kTimeout when the node
  // does not answer.
  virtual CellRef put(std::size_t bytes, std::vector<CellRef> refs,
                      const std::function<void(std::span<std::byte>)>& fill) = 0;

  // The cell for a ref that arrived inside a value.
  virtual CellRef borrow(const ObjectId&, const std::string& owner_address) = 0;
  // Where its owner listens, for sending it on.
  [[nodiscard]] virtual std::string address_of(const Cell&) = 0;

  // Waits until `count` of the cells are ready or failed, or the deadline passed (nullopt: for
  // ever). Returns how many are.
  virtual std::size_t wait(std::span<const CellRef>, std::size_t count,
                           std::optional<DurationNs> timeout) = 0;
  // Waits for the value and makes it readable here. Throws its Error, or kTimeout.
  virtual Buffer open(const CellRef&, std::optional<DurationNs> timeout) = 0;

  virtual ActorFound find(const std::string& name) = 0;  // throws kNotFound
  // The incarnation that lives now.
  virtual Incarnation bind(const ActorId&, std::optional<DurationNs> timeout) = 0;
  virtual void kill(const ActorId&) = 0;
  // Wakes every waiting verb of this client with kCancelled (Ctrl-C).
  virtual void cancel_wait() = 0;
};

}  // namespace detail
}  // namespace rondo
