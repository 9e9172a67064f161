#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <rondo/actor.h>

// Context: the verbs. Runtime is one; a task or method that submits, spawns, puts or waits takes a
// Context& as its first parameter, so that no global is needed.
//
// All verbs are thread-safe. submit, spawn and call never wait and throw only kInvalid; all else
// arrives at get, which throws rondo::Error. get, wait and find wait, without holding the CPU that
// the task was given. put waits only for this machine's node, which lends memory for a large value;
// a full store makes it throw. Arguments convert to the parameters' types here, at the caller; a
// Ref where a value is wanted makes a dependency.
//
// A Context must not be kept beyond the call that received it; Refs and Actors may.

namespace rondo {

namespace detail {

const TaskOptions& default_task_options();

// Never negative; beyond a century it is for ever.
template <class Rep, class Period>
std::optional<DurationNs> to_ns(std::chrono::duration<Rep, Period> time) {
  using Years = std::chrono::duration<double, std::ratio<31'556'952>>;
  const double years = std::chrono::duration_cast<Years>(time).count();
  if (years > 100) return std::nullopt;
  if (!(years > 0)) return DurationNs{0};
  return DurationNs{std::chrono::duration_cast<std::chrono::nanoseconds>(time).count()};
}

}  // namespace detail

class Context {
 public:
  explicit Context(const detail::Session& session) : session_(session) {}   // for the runtime
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Runs a registered function somewhere. An overload: submit<int(int)>(f, 3).
  template <class F, class... A>
    requires std::is_function_v<F>
  auto submit(const TaskOptions& options, F* function, A&&... argument) {
    using S = detail::Signature<F>;
    constexpr bool ok = S::check();
    if constexpr (ok) {
      detail::Client& client = detail::client_of(session_);
      const std::uint32_t number = session_.entries->task_number(detail::task_key(function));
      return Ref<typename S::Result>(client.submit(
          number, options, detail::encode_call<S>(client, std::forward<A>(argument)...)));
    }
  }
  template <class F, class... A>
    requires std::is_function_v<F>
  auto submit(F* function, A&&... argument) {
    return submit(detail::default_task_options(), function, std::forward<A>(argument)...);
  }
  template <class F, class... A>
    requires(std::is_class_v<std::remove_cvref_t<F>> && !std::is_convertible_v<F, TaskOptions>)
  void submit(F&&, A&&...) {
      static_assert(
          detail::always_false<F>,
          "rondo: submit takes a registered function by its name: a lambda or function object has "
          "no number that other processes know");
  }

  // Starts an actor of a registered class; its constructor runs in a worker. Types are checked
  // here, in words.
  template <class T, class... A>
  Actor<T> spawn(const ActorOptions& options, const A&... argument) {
    detail::Client& client = detail::client_of(session_);
    const detail::RegisteredClass& target =
        session_.entries->actor_class(std::type_index(typeid(T)));
    detail::SpawnWriter out(target, sizeof...(A));
    (out.template add<detail::spawn_value_t<A>>(detail::spawn_value(argument)), ...);
    return Actor<T>(client.spawn(target.name, options, out.take()), Incarnation{}, &session_);
  }

  // Waits for the value, and returns it or throws its Error.
  template <class T>
  T get(const Ref<T>& ref) {
    return value_of(ref, std::nullopt);
  }
  // The same; throws kTimeout when it is not there in time. Nothing is cancelled by that.
  template <class T, class Rep, class Period>
  T get(const Ref<T>& ref, std::chrono::duration<Rep, Period> timeout) {
    return value_of(ref, detail::to_ns(timeout));
  }
  // Never waits: the value, or nothing yet. Throws its Error. For a Ref<void>: whether it is done.
  template <class T>
  std::optional<T> try_get(const Ref<T>& ref) {
    const std::optional<detail::Opened> opened = detail::try_open_value(session_, ref.cell());
    if (!opened) return std::nullopt;
    return detail::decode<T>(opened->buffer, opened->refs, &session_);
  }
  bool try_get(const Ref<void>& ref) {
    return detail::try_open_value(session_, ref.cell()).has_value();
  }

  // Waits until `count` of the refs are ready or failed; gives the indices of all that are,
  // ascending.
  template <class T>
  std::vector<std::size_t> wait(const std::vector<Ref<T>>& refs, std::size_t count) {
    return wait_cells(cells_of(refs), count, std::nullopt);
  }
  // The same, until the timeout at most: then the indices may be fewer.
  template <class T, class Rep, class Period>
  std::vector<std::size_t> wait(const std::vector<Ref<T>>& refs, std::size_t count,
                                std::chrono::duration<Rep, Period> timeout) {
    return wait_cells(cells_of(refs), count, detail::to_ns(timeout));
  }

  // A value that many may read: one above 64 KiB lies in the store once. Throws kOverloaded when
  // the store is full: at once, or within 2 s if what was dropped is still being read and would
  // make room; kTimeout when the node does not answer for a minute.
  template <class T>
  Ref<std::decay_t<T>> put(const T& value) {
    using V = std::decay_t<T>;
    if constexpr (std::is_array_v<T>) return put<V>(V(value));   // refused in words: a pointer
    else {
      std::vector<CellRef> refs;
      Writer count(refs);
      Codec<V>::write(count, value);
      return Ref<V>(put_bytes(count.size(), std::move(refs), [&value](std::span<std::byte> to) {
        Writer out(to, 0);
        Codec<V>::write(out, value);
        out.finish();
      }));
    }
  }

  // The living actor of that name. Throws kNotFound, or kInvalid if it is of another class.
  template <class T>
  [[nodiscard]] Actor<T> find(const std::string& name) {
    return Actor<T>(find_actor(name, typeid(T)), Incarnation{}, &session_);
  }
  // Ends the actor for good: later calls fail with kActorDied.
  template <class T>
  void kill(const Actor<T>& actor) {
    detail::client_of(session_).kill(actor.id());
  }

  [[nodiscard]] const detail::Session& session() const { return session_; }   // for the runtime

 private:
  template <class T>
  T value_of(const Ref<T>& ref, std::optional<DurationNs> timeout) {
    const detail::Opened opened = detail::open_value(session_, ref.cell(), timeout);
    if constexpr (!std::is_void_v<T>)
      return detail::decode<T>(opened.buffer, opened.refs, &session_);
  }
  // A Ref is its CellRef and nothing more, so that waiting on a thousand copies none.
  template <class T>
  static std::span<const CellRef> cells_of(const std::vector<Ref<T>>& refs) {
    static_assert(sizeof(Ref<T>) == sizeof(CellRef) && std::is_standard_layout_v<Ref<T>>);
    return {reinterpret_cast<const CellRef*>(refs.data()), refs.size()};
  }
  std::vector<std::size_t> wait_cells(std::span<const CellRef>, std::size_t count,
                                      std::optional<DurationNs> timeout);
  CellRef put_bytes(std::size_t bytes, std::vector<CellRef> refs,
                    const std::function<void(std::span<std::byte>)>& fill);
  ActorId find_actor(const std::string& name, std::type_index type);

  const detail::Session& session_;
};

}  // namespace rondo
