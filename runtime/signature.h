#pragma once

#include <functional>
#include <span>
#include <type_traits>
#include <utility>

#include <rondo/ref.h>
#include <rondo/value/containers.h>

// What a function's type says about a task or method: its result, its parameters without the
// Context& that may stand first, and in words why it cannot be one. Shared by registration and by
// the calls, so that both refuse the same things with the same sentences.
//
// A parameter std::span<const T> takes a std::vector<T>, or a Ref to one, and reads it in place.
// Users do not call this.

namespace rondo {
class Context;
}

namespace rondo::detail {

template <class... P>
struct Parameters {
  static constexpr std::size_t kCount = sizeof...(P);
};

template <class T>
constexpr bool is_const_span = false;
template <class T, std::size_t N>
constexpr bool is_const_span<std::span<const T, N>> = N == std::dynamic_extent;
template <class T>
constexpr bool is_reference_wrapper = false;
template <class T>
constexpr bool is_reference_wrapper<std::reference_wrapper<T>> = true;

// The value that travels for a parameter P.
template <class P>
struct Travelling {
  using Type = std::remove_cvref_t<P>;
};
template <class P>
  requires is_const_span<std::remove_cvref_t<P>>
struct Travelling<P> {
  using Type = std::vector<std::remove_cv_t<typename std::remove_cvref_t<P>::element_type>>;
};
template <class P>
using travelling_t = typename Travelling<P>::Type;

template <class P>
consteval bool check_parameter() {
  using Plain = std::remove_cvref_t<P>;
  constexpr bool context = std::is_same_v<Plain, Context>;
  static_assert(!context,
                "rondo: a task or method takes rondo::Context& as its first parameter, by "
                "reference, and only there");
  constexpr bool writes =
      std::is_lvalue_reference_v<P> && !std::is_const_v<std::remove_reference_t<P>>;
  static_assert(
      context || !writes,
      "rondo: a non-const reference cannot be a parameter: it would change a copy; take a value "
      "or a const reference, and return what changed");
  static_assert(!std::is_pointer_v<Plain> && !std::is_member_pointer_v<Plain>,
                "rondo: a pointer cannot travel to another process: take the value, or a Ref");
  static_assert(!is_reference_wrapper<Plain>,
                "rondo: a reference cannot travel to another process: take the value, or a Ref");
  static_assert(
      !is_view<Plain> || is_const_span<Plain>,
      "rondo: this view cannot be a parameter: take std::string instead of std::string_view, and "
      "std::span<const T> instead of a span that writes or has a fixed size");
  return !context && !writes && !std::is_pointer_v<Plain> &&
         (!is_view<Plain> || is_const_span<Plain>);
}

template <class R>
consteval bool check_result() {
  using Plain = std::remove_cvref_t<R>;
  static_assert(!std::is_pointer_v<Plain>,
                "rondo: a pointer cannot travel to another process: return the value");
  static_assert(
      !is_view<Plain>,
      "rondo: a view cannot be a result: return the container, as in std::string or std::vector");
  return !std::is_pointer_v<Plain> && !is_view<Plain>;
}

template <class R, bool Const, class... P>
struct SignatureOf {
  using Result = std::remove_cvref_t<R>;
  using Takes = Parameters<P...>;
  using Plain = R(P...);                       // what lookups compare: without noexcept
  static constexpr bool kContext = false;
  static consteval bool check() { return (check_result<R>() && ... && check_parameter<P>()); }
};
template <class R, bool Const, class... P>
struct SignatureOf<R, Const, Context&, P...> {
  using Result = std::remove_cvref_t<R>;
  using Takes = Parameters<P...>;
  using Plain = R(Context&, P...);
  static constexpr bool kContext = true;
  static consteval bool check() { return (check_result<R>() && ... && check_parameter<P>()); }
};

// Of a function type, as in `int(double) const noexcept`.
template <class F>
struct Signature {
  static_assert(
      always_false<F>,
      "rondo: this kind of function cannot be a task or method (variadic, volatile or && ones)");
};
template <class R, class... P>
struct Signature<R(P...)> : SignatureOf<R, false, P...> {};
template <class R, class... P>
struct Signature<R(P...) noexcept> : SignatureOf<R, false, P...> {};
template <class R, class... P>
struct Signature<R(P...) const> : SignatureOf<R, true, P...> {};
template <class R, class... P>
struct Signature<R(P...) const noexcept> : SignatureOf<R, true, P...> {};
template <class R, class... P>
struct Signature<R(P...)&> : SignatureOf<R, false, P...> {};
template <class R, class... P>
struct Signature<R(P...) & noexcept> : SignatureOf<R, false, P...> {};
template <class R, class... P>
struct Signature<R(P...) const&> : SignatureOf<R, true, P...> {};
template <class R, class... P>
struct Signature<R(P...) const & noexcept> : SignatureOf<R, true, P...> {};

template <class... P>
void name_list(TypeName& name, Parameters<P...>*) {
  name.list<travelling_t<P>...>("(", ")");
}
// "(vector<f64>)->f64"
template <class F>
std::string signature_name() {
  TypeName name;
  name_list(name, static_cast<typename Signature<F>::Takes*>(nullptr));
  name.text += "->";
  name.add<typename Signature<F>::Result>();
  return std::move(name.text);
}

}  // namespace rondo::detail
