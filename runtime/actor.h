#pragma once

#include <optional>

#include <rondo/arguments.h>

// Actor<T>: a handle to an object of class T that lives in some worker. Calls through one handle,
// and from one caller, are done in the order in which they were made.
//
//   rondo::Ref<int> a = counter.call(&Counter::add, 5);
// An overload: name the signature.
//   rondo::Ref<int> b = counter.call<int(int)>(&Counter::mul, 2);
//
// A small value: copy it, pass it to tasks, put it inside values; it works wherever it arrives. It
// does not keep the actor alive: an actor ends by kill, when its restarts are spent, or with its
// job. `call` never waits and throws only kInvalid; what goes wrong later arrives at get. After a
// restart a handle reaches the new object; a bound() one fails with kActorDied instead. Any thread
// may call.

namespace rondo {

template <class T>
class Actor {
 public:
  Actor() = default;   // empty: calls throw kInvalid
  Actor(ActorId id, Incarnation bound, const detail::Session* session)   // for the runtime
      : id_(id), bound_(bound), session_(session) {}

  template <class M, class C, class... A>
  auto call(M C::* method, A&&... argument) const {
    static_assert(std::is_function_v<M>,
                  "rondo: call() takes a member function, as in &Counter::add");
    static_assert(std::is_base_of_v<C, T>,
                  "rondo: this method belongs to another class than the actor's");
    using S = detail::Signature<M>;
    constexpr bool ok = S::check();
    if constexpr (ok) {
      detail::Client& client = detail::client_of(session());
      const std::uint32_t number = session().entries->method_number(detail::method_key<T>(method));
      return Ref<typename S::Result>(client.call(
          {id_, bound_}, number, detail::encode_call<S>(client, std::forward<A>(argument)...)));
    }
  }

  // A handle to the object that lives now: its calls never reach a later incarnation. Waits for its
  // birth.
  [[nodiscard]] Actor bound(std::optional<DurationNs> timeout = std::nullopt) const {
    return Actor(id_, detail::client_of(session()).bind(id_, timeout), session_);
  }

  [[nodiscard]] ActorId id() const { return id_; }
  [[nodiscard]] Incarnation incarnation() const { return bound_; }   // 0: not bound
  explicit operator bool() const { return static_cast<bool>(id_); }
  friend bool operator==(const Actor& a, const Actor& b) {
    return a.id_ == b.id_ && a.bound_ == b.bound_;
  }

 private:
  const detail::Session& session() const {
    if (session_ == nullptr || !id_) detail::throw_empty_actor();
    return *session_;
  }

  ActorId id_;
  Incarnation bound_;
  const detail::Session* session_ = nullptr;
};

template <class T>
struct Codec<Actor<T>> {
  static void type(detail::TypeName& name) {
    name.text += std::string("actor ") + typeid(T).name();
  }
  static void write(Writer& out, const Actor<T>& value) {
    out.put(value.id().creator.value);
    out.put(value.id().number);
    out.put(value.incarnation().value);
  }
  static Actor<T> read(Reader& in) {
    const ProcessId creator{in.get<std::uint64_t>()};
    const auto number = in.get<std::uint64_t>();
    return Actor<T>({creator, number}, {in.get<std::uint64_t>()}, in.session());
  }
};

}  // namespace rondo
