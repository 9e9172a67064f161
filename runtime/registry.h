#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <vector>

#include <rondo/body.h>
#include <rondo/session.h>

// The Registry names the functions and classes that may run elsewhere. `main` fills it, in the same
// order in every process, and hands it to Runtime; from then on it is frozen, and registering
// throws kInvalid.
//
//   registry.task("norm", norm);
//   registry.actor<Counter, int>("Counter").method("add", &Counter::add);
// An overload: name the signature.
//   registry.task("area", static_cast<double (*)(Square)>(area));
//
// The types after the class are its constructor's. Functions travel by their number here; that both
// sides mean the same is checked once, by the fingerprint (names and structural types). A name or
// function that is registered twice, an empty name, a name of over 200 bytes: kInvalid. Not
// thread-safe until frozen, then read-only.

namespace rondo {

namespace detail {

struct RegisteredTask {
  std::string name;
  std::string signature;                   // structural types
  Body body;
};
struct RegisteredMethod {
  std::string name;                        // "add"; in error texts "Counter.add"
  std::string signature;
  Body body;
};
struct RegisteredClass {
  std::string name;
  std::vector<std::string> constructor;    // structural type of each parameter
  Factory factory;
  std::vector<RegisteredMethod> methods;
};

// A function or member pointer by its bytes, in the class T for methods.
struct FunctionKey {
  FunctionBytes bytes;
  std::type_index type = typeid(void);
  std::type_index owner = typeid(void);
  bool operator==(const FunctionKey& o) const {
    return bytes.words[0] == o.bytes.words[0] && bytes.words[1] == o.bytes.words[1] &&
           type == o.type && owner == o.owner;
  }
};
template <class F>
FunctionKey task_key(F* function) {
  return {bytes_of_function(function), typeid(typename Signature<F>::Plain*), typeid(void)};
}
template <class T, class M, class C>
FunctionKey method_key(M C::* method) {
  return {bytes_of_function(method), typeid(M C::*), typeid(T)};
}

// What was registered. A task's number is its index; a method's is class index << 16 | method
// index.
class Entries {
 public:
  // Numbers that nobody registered, and unknown names, throw kInvalid.
  [[nodiscard]] const RegisteredTask& task(std::uint32_t number) const;
  [[nodiscard]] const RegisteredClass& actor_class(std::uint32_t method_number) const;
  [[nodiscard]] const RegisteredMethod& method(std::uint32_t number) const;
  [[nodiscard]] const RegisteredClass& actor_class(std::string_view name) const;
  [[nodiscard]] const RegisteredClass& actor_class(std::type_index type) const;

  [[nodiscard]] std::uint32_t task_number(const FunctionKey& key) const;
  [[nodiscard]] std::uint32_t method_number(const FunctionKey& key) const;

  [[nodiscard]] const std::vector<RegisteredTask>& tasks() const { return tasks_; }
  [[nodiscard]] const std::vector<RegisteredClass>& classes() const { return classes_; }
  [[nodiscard]] std::uint64_t fingerprint() const;

  void add_task(std::string name, std::string signature, Body body, const FunctionKey& key);
  std::uint32_t add_class(RegisteredClass registered, std::type_index type);   // its index
  void add_method(std::uint32_t class_index, std::string name, std::string signature, Body body,
                  const FunctionKey& key);
  void freeze() { frozen_ = true; }

 private:
  struct Slot {
    FunctionKey key;
    std::uint32_t number = 0;
    bool used = false;
  };
  [[nodiscard]] const Slot* find(const FunctionKey& key) const;
  void insert(const FunctionKey& key, std::uint32_t number);
  void check_new(std::string_view name) const;

  std::vector<RegisteredTask> tasks_;
  std::vector<RegisteredClass> classes_;
  std::vector<std::type_index> class_types_;   // beside classes_
  std::vector<Slot> slots_;                    // open addressing, a power of two, at most half full
  std::size_t slots_used_ = 0;
  bool frozen_ = false;
};

}  // namespace detail

template <class T>
class ActorRegistration {
 public:
  ActorRegistration(detail::Entries& entries, std::uint32_t index)
      : entries_(entries), index_(index) {}

  // Any member function of T or its base, const or not; a Context& may stand first.
  template <class M, class C>
  ActorRegistration& method(std::string name, M C::* pointer) {
    static_assert(std::is_function_v<M>,
                  "rondo: method() takes a member function, as in &Counter::add");
    static_assert(std::is_base_of_v<C, T>, "rondo: this member function belongs to another class");
    if constexpr (detail::Signature<M>::check())
      entries_.add_method(
          index_, std::move(name), detail::signature_name<M>(),
          detail::make_body(&detail::run_method<T, M, C>, detail::bytes_of_function(pointer)),
          detail::method_key<T>(pointer));
    return *this;
  }

 private:
  detail::Entries& entries_;
  std::uint32_t index_;
};

class Registry {
 public:
  Registry() : entries_(std::make_shared<detail::Entries>()) {}
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  template <class F>
  Registry& task(std::string name, F* function) {
    static_assert(std::is_function_v<F>, "rondo: a task is a function, given by its name");
    if constexpr (detail::Signature<F>::check())
      entries_->add_task(
          std::move(name), detail::signature_name<F>(),
          detail::make_body(&detail::run_task<F>, detail::bytes_of_function(function)),
          detail::task_key(function));
    return *this;
  }

  template <class T, class... P>
  ActorRegistration<T> actor(std::string name) {
    constexpr bool fits = (true && ... && detail::check_parameter<P>());
    static_assert(
        std::is_constructible_v<T, P...> || std::is_constructible_v<T, Context&, P...> ||
            (std::is_aggregate_v<T> && requires { T{std::declval<P>()...}; }),
        "rondo: the class has no constructor that takes these types (its Context& is not named)");
    detail::RegisteredClass entry{std::move(name), {}, {}, {}};
    if constexpr (fits) {
      entry.constructor = {detail::type_name<detail::travelling_t<P>>()...};
      entry.factory = &detail::run_constructor<T, P...>;
    }
    return {*entries_, entries_->add_class(std::move(entry), typeid(T))};
  }

  // Of names and structural types in the order of registration. Equal: both sides mean the same by
  // a number.
  [[nodiscard]] std::uint64_t fingerprint() const { return entries_->fingerprint(); }

  // For the runtime.
  [[nodiscard]] std::shared_ptr<const detail::Entries> entries() const { return entries_; }
  void freeze() const { entries_->freeze(); }

 private:
  std::shared_ptr<detail::Entries> entries_;
};

}  // namespace rondo
