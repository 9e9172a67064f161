#include <cmath>
#include <cstring>
#include <mutex>

#include <rondo/base/check.h>
#include <rondo/base/limits.h>
#include <rondo/host/process_host.h>
#include <rondo/host/thread_run.h>

// The verbs behind the typed surface. They write letters; only those that need an answer wait for
// it.

namespace rondo::host {

namespace {
core::Shape shape_of(const Resources& wanted, const std::string& what) {
  if (!wanted.custom.empty()) {
    throw Error(ErrorCode::kInvalid, what + " asks for the custom resource '" +
                                         wanted.custom.front().first +
                                         "'; this release knows cpu, gpu and memory");
  }
  const auto milli = [&](double value, const char* name) {
    if (!(value >= 0) || value > 1e9) {
      throw Error(ErrorCode::kInvalid, what + " asks for an impossible amount of " + name);
    }
    return static_cast<std::int64_t>(std::llround(value * 1000));
  };
  core::Shape shape;
  shape.cpu_milli = milli(wanted.cpu, "cpu");
  shape.gpu_milli = milli(wanted.gpu, "gpu");
  if (!(wanted.memory >= 0) || wanted.memory > 1e18)
    throw Error(ErrorCode::kInvalid, what + " asks for an impossible amount of memory");
  shape.memory_bytes = static_cast<std::int64_t>(wanted.memory);
  return shape;
}

void check_size(const detail::EncodedArguments& arguments) {
  if (arguments.refs.size() > UINT16_MAX) {
    throw Error(ErrorCode::kInvalid,
                "a call carries " + std::to_string(arguments.refs.size()) +
                    " refs, more than 65535; put them into one object and pass its Ref");
  }
}

std::mutex& mapped_mutex() {  // guards CellExtra::mapped of every cell; held for moments
  static std::mutex* one = new std::mutex;
  return *one;
}
}  // namespace

CellRef ProcessHost::submit(std::uint32_t function, const TaskOptions& options,
                            detail::EncodedArguments arguments) {
  check_size(arguments);
  Order order;
  order.kind = Order::Kind::kSubmit;
  order.shape = shape_of(options.resources, "the task");
  order.retries = options.max_retries;
  const CellRef cell = fresh_cell(order.submission.result);
  order.submission.function = function;
  order.submission.payload = std::move(arguments.payload);
  order.submission.refs = std::move(arguments.refs);
  order.submission.awaited = std::move(arguments.awaited);
  post(std::move(order));
  return cell;
}

CellRef ProcessHost::call(const detail::ActorTarget& target, std::uint32_t method,
                          detail::EncodedArguments arguments) {
  check_size(arguments);
  Order order;
  order.kind = Order::Kind::kCall;
  order.actor = target.id;
  order.bound = target.bound;
  const CellRef cell = fresh_cell(order.submission.result);
  order.submission.function = method;
  order.submission.payload = std::move(arguments.payload);
  order.submission.refs = std::move(arguments.refs);
  order.submission.awaited = std::move(arguments.awaited);
  post(std::move(order));
  return cell;
}

ActorId ProcessHost::spawn(const std::string& class_name, const ActorOptions& options,
                           detail::EncodedArguments arguments) {
  check_size(arguments);
  if (options.name.size() > limits::kNameBytesMax)
    throw Error(ErrorCode::kInvalid, "an actor's name has more than 200 bytes");
  const ActorId id{options_.self.id, next_actor_.fetch_add(1)};
  Order order;
  order.kind = Order::Kind::kSpawn;
  order.spec = std::make_unique<core::ActorSpec>();
  order.spec->id = id;
  order.spec->name = options.name;
  order.spec->class_name = class_name;
  order.spec->shape = shape_of(options.resources, "actor class '" + class_name + "'");
  order.spec->max_restarts = options.max_restarts;
  order.spec->max_task_retries = options.max_task_retries;
  order.spec->max_pending = options.max_pending;
  const CellRef cell = fresh_cell(order.submission.result);
  order.submission.payload = std::move(arguments.payload);
  order.submission.refs = std::move(arguments.refs);
  order.submission.awaited = std::move(arguments.awaited);
  post(std::move(order));
  return id;
}

// ---- values

core::GrantAnswer ProcessHost::ask(Order order, std::optional<DurationNs> timeout) {
  const CellRef answer = fresh_cell(order.answer);
  post(std::move(order));
  wait(std::span(&answer, 1), 1, timeout);
  if (answer->pending())
    throw Error(ErrorCode::kTimeout, "this machine's node did not answer in time");
  if (answer->state.load(std::memory_order_acquire) == CellState::kFailed)
    throw Error(*answer->extra->failure);
  core::GrantAnswer grant;
  RONDO_CHECK_EQ(answer->inline_view().size(), sizeof grant);
  std::memcpy(&grant, answer->inline_view().data(), sizeof grant);
  return grant;
}

store::ExtentClient::Writable ProcessHost::grant(std::size_t bytes, core::StoredResult& stored) {
  Order order;
  order.kind = Order::Kind::kExtent;
  order.stored.bytes = bytes;
  const core::GrantAnswer granted = ask(std::move(order), seconds(60));
  auto writable =
      extents_->write({granted.extent, granted.generation, bytes, granted.fd, granted.node_pid});
  if (!writable) throw Error(writable.error());
  stored = {machine_.node().value, bytes, granted.extent, granted.generation,
            options_.node.id.value};
  return std::move(writable).value();
}

CellRef ProcessHost::put(std::size_t bytes, std::vector<CellRef> refs,
                         const std::function<void(std::span<std::byte>)>& fill) {
  CellRef cell = cells_.allocate(options_.self.id, 0);
  const auto keep = [&](std::vector<CellRef> inside) {
    if (inside.empty() && bytes <= limits::kInlineBytesMax) return;
    cell->extra = std::make_unique<CellExtra>();
    for (CellRef& ref : inside) cell->extra->refs.push_back({std::move(ref)});
  };
  if (bytes <= limits::kInlineBytesMax) {
    Bytes value(bytes);
    fill(value);
    cell->bytes = share(std::move(value));
    keep(std::move(refs));
    cell->state.store(CellState::kReady, std::memory_order_release);
    return cell;
  }
  Order order;
  auto writable = grant(bytes, order.stored);
  fill(writable.bytes);
  keep(std::move(refs));
  cell->extra->stored = StoredValue{.node = machine_.node(),
                                    .node_process = options_.node.id,
                                    .node_address = options_.node.address,
                                    .extent = order.stored.extent,
                                    .generation = order.stored.generation,
                                    .bytes = bytes};
  cell->tracked.store(true, std::memory_order_release);
  cell->state.store(CellState::kReady, std::memory_order_release);
  order.kind = Order::Kind::kSealed;
  order.cell = cell;
  post(std::move(order));
  return cell;
}

CellRef ProcessHost::borrow(const ObjectId& id, const std::string& owner_address) {
  if (id.owner == options_.self.id) {
    if (Cell* own = cells_.find(id.index, id.generation)) return cells_.hold(*own);
  }
  CellRef cell = cells_.allocate(options_.self.id, 0);
  cell->id = id;
  Order order;
  order.kind = Order::Kind::kBorrow;
  order.cell = cell;
  order.name = owner_address;
  post(std::move(order));
  return cell;
}

std::string ProcessHost::address_of(const Cell& cell) {
  if (cell.id.owner == options_.self.id) return options_.self.address;
  return cell.extra ? cell.extra->owner_address : std::string();
}

Buffer ProcessHost::open(const CellRef& cell, std::optional<DurationNs> timeout) {
  wait(std::span(&cell, 1), 1, timeout);
  switch (cell->state.load(std::memory_order_acquire)) {
    case CellState::kPending:
      if (cancelled_.load()) throw Error(ErrorCode::kCancelled, "the wait was cancelled");
      if (chair_.stopped()) throw Error(ErrorCode::kCancelled, "the Runtime ended");
      throw Error(ErrorCode::kTimeout,
                  "the value was not ready in time; nothing was cancelled, wait again");
    case CellState::kFailed:
      throw Error(*cell->extra->failure);
    case CellState::kReady:
      break;
  }
  if (cell->extra && cell->extra->stored) return open_stored(cell, timeout);
  if (cell->bytes) return Buffer(cell->bytes);
  return Buffer(cell->inline_view(), std::make_shared<CellRef>(cell));
}

Buffer ProcessHost::open_stored(const CellRef& cell, std::optional<DurationNs> timeout) {
  {
    const std::lock_guard lock(mapped_mutex());
    if (cell->extra->mapped) return *cell->extra->mapped;
  }
  Order order;
  order.kind = Order::Kind::kOpen;
  order.cell = cell;
  const core::GrantAnswer at = ask(std::move(order), timeout);
  const auto buffer = extents_->open({at.extent, at.generation, at.bytes, at.fd, at.node_pid});
  if (!buffer) throw Error(buffer.error());
  const std::lock_guard lock(mapped_mutex());
  if (!cell->extra->mapped) cell->extra->mapped = buffer.value();
  return *cell->extra->mapped;
}

// ---- actors

detail::ActorFound ProcessHost::find(const std::string& name) {
  if (name.size() > limits::kNameBytesMax) {
    throw Error(ErrorCode::kNotFound, "no actor has a name of more than 200 bytes");
  }
  Order order;
  order.kind = Order::Kind::kFind;
  order.name = name;
  const CellRef answer = fresh_cell(order.answer);
  post(std::move(order));
  const ByteView view = [&] {
    wait(std::span(&answer, 1), 1, seconds(30));
    if (answer->pending())
      throw Error(ErrorCode::kUnavailable,
                  "the head did not say who '" + name + "' is; is it running?");
    if (answer->state.load(std::memory_order_acquire) == CellState::kFailed)
      throw Error(*answer->extra->failure);
    return answer->inline_view();
  }();
  core::FoundAnswer found;
  std::memcpy(&found, view.data(), sizeof found);
  return {found.actor, std::string(as_text(view.subspan(sizeof found)))};
}

Incarnation ProcessHost::bind(const ActorId& actor, std::optional<DurationNs> timeout) {
  Order order;
  order.kind = Order::Kind::kBind;
  order.actor = actor;
  const CellRef answer = fresh_cell(order.answer);
  post(std::move(order));
  wait(std::span(&answer, 1), 1, timeout);
  if (answer->pending()) throw Error(ErrorCode::kTimeout, "the actor was not alive in time");
  if (answer->state.load(std::memory_order_acquire) == CellState::kFailed)
    throw Error(*answer->extra->failure);
  Incarnation incarnation;
  std::memcpy(&incarnation, answer->inline_view().data(), sizeof incarnation);
  return incarnation;
}

void ProcessHost::kill(const ActorId& actor) {
  Order order;
  order.kind = Order::Kind::kKill;
  order.actor = actor;
  post(std::move(order));
}

}  // namespace rondo::host
