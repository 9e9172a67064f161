#include <rondo/context.h>

#include <cxxabi.h>

#include <cstdlib>
#include <deque>
#include <exception>
#include <mutex>

#include <rondo/base/cell_extra.h>
#include <rondo/error.h>

namespace rondo {

namespace detail {
namespace {

[[noreturn]] void invalid(std::string text) { throw Error(ErrorCode::kInvalid, std::move(text)); }

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : name;
}

std::vector<CellRef> refs_inside(const Cell& cell) {
  std::vector<CellRef> refs;
  if (!cell.extra) return refs;
  refs.reserve(cell.extra->refs.size());
  for (const RefInside& inside : cell.extra->refs) refs.push_back(inside.cell);
  return refs;
}

// The value if it lies in the cell itself. Requires: ready.
std::optional<Buffer> inline_value(const Cell& cell) {
  if (cell.extra && (cell.extra->stored || cell.extra->mapped)) return std::nullopt;
  if (cell.bytes) return Buffer(cell.bytes);
  return Buffer(cell.inline_view(), nullptr);
}

}  // namespace

Session& open_session(Client& client, std::shared_ptr<const Entries> entries) {
  static std::mutex mutex;
  static auto& sessions = *new std::deque<Session>;   // for ever: see session.h
  const std::lock_guard lock(mutex);
  Session& session = sessions.emplace_back();
  session.entries = std::move(entries);
  session.client.store(&client, std::memory_order_release);
  return session;
}

void close_session(Session& session) { session.client.store(nullptr, std::memory_order_release); }

Client& client_of(const Session& session) {
  Client* const client = session.client.load(std::memory_order_acquire);
  if (client == nullptr) invalid("the Runtime of this handle has ended");
  return *client;
}

void throw_empty_actor() { invalid("an empty Actor cannot be called: spawn or find one"); }

Opened open_value(const Session& session, const CellRef& cell, std::optional<DurationNs> timeout) {
  if (!cell) invalid("an empty Ref has no value to get");
  switch (cell->state.load(std::memory_order_acquire)) {
    case CellState::kFailed:
      if (cell->extra && cell->extra->failure) throw *cell->extra->failure;
      break;
    case CellState::kReady:
      if (auto buffer = inline_value(*cell)) return {std::move(*buffer), refs_inside(*cell)};
      break;
    case CellState::kPending: break;
  }
  Buffer buffer = client_of(session).open(cell, timeout);
  return {std::move(buffer), refs_inside(*cell)};
}

std::optional<Opened> try_open_value(const Session& session, const CellRef& cell) {
  if (cell && cell->pending()) return std::nullopt;
  try {
    return open_value(session, cell, DurationNs{0});
  } catch (const Error& error) {   // ready, but still on its way to this node
    if (error.code() == ErrorCode::kTimeout && !cell->pending() &&
        cell->state.load(std::memory_order_acquire) == CellState::kReady)
      return std::nullopt;
    throw;
  }
}

const TaskOptions& default_task_options() {
  static const TaskOptions options;
  return options;
}

void check_count(const CallFrame& frame, std::size_t expected) {
  if (frame.arguments.size() != expected)
    invalid("the call carries " + std::to_string(frame.arguments.size()) + " arguments, " +
            std::to_string(expected) + " are taken: the sides were built from different sources");
}

const Session* session_of(const Context& context) { return &context.session(); }

std::string describe_current_exception() {
  try {
    throw;
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    return demangled(typeid(error).name()) + ": " + error.what();
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return "an exception of type " + (type != nullptr ? demangled(type->name()) : "unknown");
  }
}

}  // namespace detail

std::vector<std::size_t> Context::wait_cells(std::span<const CellRef> cells, std::size_t count,
                                             std::optional<DurationNs> timeout) {
  for (const CellRef& cell : cells)
    if (!cell) throw Error(ErrorCode::kInvalid, "an empty Ref cannot be waited for");
  detail::client_of(session_).wait(cells, std::min(count, cells.size()), timeout);
  std::vector<std::size_t> ready;
  for (std::size_t i = 0; i < cells.size(); ++i)
    if (!cells[i]->pending()) ready.push_back(i);
  return ready;
}

CellRef Context::put_bytes(std::size_t bytes, std::vector<CellRef> refs,
                           const std::function<void(std::span<std::byte>)>& fill) {
  return detail::client_of(session_).put(bytes, std::move(refs), fill);
}

ActorId Context::find_actor(const std::string& name, std::type_index type) {
  const std::string& wanted = session_.entries->actor_class(type).name;
  const detail::ActorFound found = detail::client_of(session_).find(name);
  if (found.class_name != wanted)
    throw Error(ErrorCode::kInvalid, "the actor \"" + name + "\" is a " + found.class_name +
                                         ", find asked for a " + wanted);
  return found.id;
}

}  // namespace rondo
