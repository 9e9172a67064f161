#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

// The fields of a plain aggregate, found without a macro in the user's code.
//
// How many? Offer the aggregate things that turn into anything: struct S takes at most as many as
// it has fields. A C array as a field takes one for each of its elements instead (braces may be
// left out), so each field is then asked by itself: with {} in its place, how many fewer does S
// take? Then a structured binding of that many names gives the fields. The idea is known from
// Boost.PFR (A. Polukhin).

namespace rondo::detail {

constexpr std::size_t kFieldsMax = 32;
constexpr std::size_t kInitialisersMax = 256;   // elements of C arrays count each

template <class Whole>
struct Anything {              // turns into a field of Whole, but not into Whole
  template <class T>
    requires(!std::is_same_v<std::remove_cvref_t<T>, Whole> && !std::is_base_of_v<T, Whole>)
  operator T() const;   // NOLINT: implicit on purpose, never defined
};
template <class Whole>
struct AnyBase {               // turns into a base of Whole
  template <class T>
    requires(!std::is_same_v<std::remove_cvref_t<T>, Whole> && std::is_base_of_v<T, Whole>)
  operator T() const;   // NOLINT: implicit on purpose, never defined
};
template <class Whole, std::size_t>
using AnythingAt = Anything<Whole>;

template <class T>
consteval bool has_base() {
  if constexpr (std::is_aggregate_v<T> && std::is_class_v<T>) return requires { T{AnyBase<T>{}}; };
  else return false;
}

template <class T, std::size_t... I>
consteval bool takes(std::index_sequence<I...>) {
  return requires { T{AnythingAt<T, I>{}...}; };
}
template <class T, std::size_t... I, std::size_t... J>
consteval bool takes_gap(std::index_sequence<I...>, std::index_sequence<J...>) {
  return requires { T{AnythingAt<T, I>{}..., {}, AnythingAt<T, J>{}...}; };
}

// The most initialisers that T takes: from above, since it may refuse fewer than all.
template <class T, std::size_t N = 0>
consteval std::size_t initialisers() {
  if constexpr (N > kInitialisersMax) return N;
  else if constexpr (!takes<T>(std::make_index_sequence<N + 1>())) return N;
  else return initialisers<T, N + 1>();
}

// The most that T takes after `Before` and one {}; kRefused: no {} there (the field is no array
// then).
constexpr std::size_t kRefused = static_cast<std::size_t>(-1);
template <class T, std::size_t Before, std::size_t After>
consteval std::size_t most_after() {
  if constexpr (takes_gap<T>(std::make_index_sequence<Before>(), std::make_index_sequence<After>()))
    return After;
  else if constexpr (After == 0) return kRefused;
  else return most_after<T, Before, After - 1>();
}

template <class T, std::size_t Total, std::size_t At>
consteval std::size_t count_from() {
  if constexpr (At >= Total) {
    return 0;
  } else {
    constexpr std::size_t after = most_after<T, At, Total - At - 1>();
    constexpr std::size_t taken = after == kRefused ? 1 : Total - At - after;
    return 1 + count_from<T, Total, At + taken>();
  }
}

template <class T>
consteval std::size_t count_fields() {
  if constexpr (!std::is_aggregate_v<T> || !std::is_class_v<T> || has_base<T>()) return 0;
  else return count_from<T, initialisers<T>(), 0>();
}

template <class T>
consteval std::size_t field_count() {
  return count_fields<std::remove_cv_t<T>>();
}

template <class... F>
constexpr std::tuple<F&...> tie_all(F&... field) {
  return std::tuple<F&...>(field...);
}

template <bool Addressable>
constexpr void require_addressable() {
  static_assert(
      Addressable,
      "rondo: an aggregate with bit-fields cannot travel by itself: use whole integers, or "
      "specialise rondo::Codec<T>");
}

// Clang 14 knows no bindings in requires; its own words for bit-fields are clear.
#if defined(__clang__)
#define RONDO_TIE(...)             \
  {                                \
    auto& [__VA_ARGS__] = value;   \
    return tie_all(__VA_ARGS__);   \
  }
#else
#define RONDO_TIE(...)                                      \
  {                                                         \
    auto& [__VA_ARGS__] = value;                            \
    constexpr bool ok = requires { tie_all(__VA_ARGS__); }; \
    require_addressable<ok>();                              \
    if constexpr (ok) return tie_all(__VA_ARGS__);          \
  }
#endif

// References to the fields, in order.
template <class T>
constexpr auto tie_fields(T& value) {
  constexpr std::size_t N = field_count<T>();
  if constexpr (N == 1) RONDO_TIE(a1)
  else if constexpr (N == 2) RONDO_TIE(a1, a2)
  else if constexpr (N == 3) RONDO_TIE(a1, a2, a3)
  else if constexpr (N == 4) RONDO_TIE(a1, a2, a3, a4)
  else if constexpr (N == 5) RONDO_TIE(a1, a2, a3, a4, a5)
  else if constexpr (N == 6) RONDO_TIE(a1, a2, a3, a4, a5, a6)
  else if constexpr (N == 7) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7)
  else if constexpr (N == 8) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8)
  else if constexpr (N == 9) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9)
  else if constexpr (N == 10) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10)
  else if constexpr (N == 11) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11)
  else if constexpr (N == 12) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12)
  else if constexpr (N == 13) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13)
  else if constexpr (N == 14) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14)
  else if constexpr (N == 15) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15)
  else if constexpr (N == 16) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16)
  else if constexpr (N == 17) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17)
  else if constexpr (N == 18) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18)
  else if constexpr (N == 19) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19)
  else if constexpr (N == 20) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20)
  else if constexpr (N == 21) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21)
  else if constexpr (N == 22) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22)
  else if constexpr (N == 23) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23)
  else if constexpr (N == 24) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24)
  else if constexpr (N == 25) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25)
  else if constexpr (N == 26) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26)
  else if constexpr (N == 27) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27)
  else if constexpr (N == 28) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28)
  else if constexpr (N == 29) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29)
  else if constexpr (N == 30) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30)
  else if constexpr (N == 31) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31)
  else if constexpr (N == 32) RONDO_TIE(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13,
      a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32)
  else { static_cast<void>(value); return std::tuple<>(); }
}

#undef RONDO_TIE

}  // namespace rondo::detail
