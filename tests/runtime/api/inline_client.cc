#include "inline_client.h"

#include <rondo/base/cell_extra.h>
#include <rondo/base/check.h>
#include <rondo/core/call.h>
#include <rondo/error.h>

namespace rondo::test {
namespace {

CellTable& cell_table() {
  static CellTable& table = *new CellTable;   // refs may outlive a client
  return table;
}

class CellSink : public detail::ResultSink {
 public:
  explicit CellSink(CellRef cell) : cell_(std::move(cell)) {}
  std::span<std::byte> allocate(std::size_t bytes, std::vector<CellRef> refs) override {
    if (!refs.empty()) {
      cell_->extra = std::make_unique<CellExtra>();
      for (CellRef& ref : refs) cell_->extra->refs.push_back({std::move(ref)});
    }
    if (bytes <= Cell::kSmallMax) {
      cell_->small_bytes = static_cast<std::uint32_t>(bytes);
      return {cell_->small.data(), bytes};
    }
    auto owned = std::make_shared<Bytes>(bytes);
    cell_->bytes = owned;
    return *owned;
  }

 private:
  CellRef cell_;
};

class NoSink : public detail::ResultSink {
 public:
  std::span<std::byte> allocate(std::size_t, std::vector<CellRef>) override {
    RONDO_CHECK(!"a constructor writes no result");
    return {};
  }
};

}  // namespace

InlineClient::InlineClient(const Registry& registry)
    : session_(detail::open_session(*this, registry.entries())), cells_(cell_table()) {}

InlineClient::~InlineClient() { detail::close_session(session_); }

void InlineClient::fail(const CellRef& cell, Error error) {
  cell->extra = std::make_unique<CellExtra>();
  cell->extra->failure = std::move(error);
  cell->state.store(CellState::kFailed, std::memory_order_release);
}

void InlineClient::run_frame(const detail::EncodedArguments& arguments, detail::ResultSink& sink,
                             const Run& run) {
  const SharedBytes payload = share(arguments.payload);
  std::vector<detail::ArgumentView> views;
  std::deque<std::vector<CellRef>> inside;
  for (std::size_t at = 0; at < payload->size();) {
    core::ArgumentHeader header;
    std::memcpy(&header, payload->data() + at, sizeof header);
    at += sizeof header;
    if (header.kind == core::ArgumentKind::kRef) {
      detail::Opened opened = detail::open_value(session_, arguments.refs.at(header.size), {});
      inside.push_back(std::move(opened.refs));
      views.push_back({std::move(opened.buffer), inside.back()});
    } else {
      views.push_back({Buffer(ByteView(payload->data() + at, header.size), payload),
                       arguments.refs});
      at += (header.size + 7) / 8 * 8;
    }
  }
  Context context(session_);
  detail::CallFrame frame{context, views, sink};
  run(frame);
}

void InlineClient::execute(CellRef cell, const detail::EncodedArguments& arguments,
                           const std::string& what, const Run& run) {
  for (const std::uint32_t number : arguments.awaited) {
    const CellRef& awaited = arguments.refs.at(number);
    RONDO_CHECK(!awaited->pending());
    if (awaited->state == CellState::kFailed) return fail(cell, *awaited->extra->failure);
  }
  try {
    CellSink sink(cell);
    run_frame(arguments, sink, run);
    cell->state.store(CellState::kReady, std::memory_order_release);
  } catch (const Error& error) {
    fail(cell, error.code() == ErrorCode::kInvalid || error.code() == ErrorCode::kActorDied
                   ? error
                   : Error(ErrorCode::kTaskFailed, what + ": " + error.what()));
  } catch (...) {
    fail(cell, {ErrorCode::kTaskFailed, what + ": " + detail::describe_current_exception()});
  }
}

CellRef InlineClient::start(detail::EncodedArguments arguments, const std::string& what, Run run) {
  last_payload_bytes = arguments.payload.size();
  CellRef cell = cells_.allocate(ProcessId{1}, 0);
  auto work = [this, cell, what, run = std::move(run), arguments = std::move(arguments)] {
    execute(cell, arguments, what, run);
  };
  if (deferred) queue_.push_back(std::move(work));
  else work();
  return cell;
}

CellRef InlineClient::submit(std::uint32_t function, const TaskOptions& options,
                             detail::EncodedArguments arguments) {
  last_task = options;
  const detail::RegisteredTask& task = session_.entries->task(function);
  return start(std::move(arguments), task.name, task.body);
}

CellRef InlineClient::call(const detail::ActorTarget& target, std::uint32_t number,
                           detail::EncodedArguments arguments) {
  const detail::RegisteredMethod& method = session_.entries->method(number);
  return start(std::move(arguments), session_.entries->actor_class(number).name + "." + method.name,
               [this, id = target.id, &method](detail::CallFrame& frame) {
                 const Living& actor = actors_.at(id);
                 if (!actor.object) throw Error(actor.cause);
                 frame.actor = actor.object.get();
                 method.body(frame);
               });
}

ActorId InlineClient::spawn(const std::string& class_name, const ActorOptions& options,
                            detail::EncodedArguments arguments) {
  last_actor = options;
  const ActorId id{ProcessId{1}, actors_.size() + 1};
  Living& actor = actors_[id];
  actor.class_name = class_name;
  if (!options.name.empty()) names_[options.name] = id;
  try {
    NoSink sink;
    run_frame(arguments, sink, [&](detail::CallFrame& frame) {
      actor.object = session_.entries->actor_class(class_name).factory(frame);
    });
  } catch (...) {
    actor.cause = Error(ErrorCode::kActorDied, detail::describe_current_exception());
  }
  return id;
}

CellRef InlineClient::put(std::size_t bytes, std::vector<CellRef> refs,
                          const std::function<void(std::span<std::byte>)>& fill) {
  ++puts;
  CellRef cell = cells_.allocate(ProcessId{1}, 0);
  CellSink sink(cell);
  fill(sink.allocate(bytes, std::move(refs)));
  cell->state.store(CellState::kReady, std::memory_order_release);
  return cell;
}

CellRef InlineClient::borrow(const ObjectId& id, const std::string&) {
  return cells_.hold(*cells_.find(id.index, id.generation));
}

std::size_t InlineClient::wait(std::span<const CellRef> cells, std::size_t,
                               std::optional<DurationNs>) {
  std::size_t ready = 0;
  for (const CellRef& cell : cells) ready += cell->pending() ? 0 : 1;
  return ready;
}

Buffer InlineClient::open(const CellRef& cell, std::optional<DurationNs> timeout) {
  RONDO_CHECK(cell->pending() && timeout);   // what is ready is read without asking
  throw Error(ErrorCode::kTimeout, "not ready in time");
}

detail::ActorFound InlineClient::find(const std::string& name) {
  const auto found = names_.find(name);
  if (found == names_.end())
    throw Error(ErrorCode::kNotFound, "no actor is named \"" + name + "\"");
  return {found->second, actors_.at(found->second).class_name};
}

Incarnation InlineClient::bind(const ActorId&, std::optional<DurationNs>) { return {1}; }

void InlineClient::kill(const ActorId& id) {
  actors_.at(id).object.reset();
  actors_.at(id).cause = Error(ErrorCode::kActorDied, "it was killed");
}

void InlineClient::run_all() {
  while (!queue_.empty()) {
    const auto work = std::move(queue_.front());
    queue_.pop_front();
    work();
  }
}

}  // namespace rondo::test
