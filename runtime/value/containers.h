#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <ratio>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <rondo/value/codec.h>

// How the standard containers and vocabulary types travel. Sequences and maps: a u64 count, then
// the elements in iteration order (unordered ones in theirs: equal contents may be different
// bytes). Arrays of numbers are aligned to 16 and copied whole, so that a std::span can read them
// in place. optional: a flag; variant: the index as u32.

namespace rondo {

namespace detail {

template <class C, class T>
constexpr bool is_view<std::basic_string_view<C, T>> = true;
template <class T, std::size_t N>
constexpr bool is_view<std::span<T, N>> = true;

template <class T>
concept Associative = requires(T t, typename T::value_type v) {
  typename T::key_type;
  t.emplace_hint(t.end(), std::move(v));
  t.size();
};
template <class T>
concept Mapping = Associative<T> && requires { typename T::mapped_type; };

template <class T>
void write_flat(Writer& out, const T* data, std::size_t n) {
  out.count(n);
  out.align(16);
  out.bytes(data, n * sizeof(T));
}
// The bytes of n numbers, in place; `data` may be unaligned if the whole value is.
template <class T>
ByteView read_flat(Reader& in) {
  const std::size_t n = in.count(sizeof(T));
  in.align(16);
  if (n > in.remaining() / sizeof(T)) Reader::fail("a length exceeds the bytes that follow");
  return in.bytes(n * sizeof(T));
}

}  // namespace detail

template <class T, class Allocator>
struct Codec<std::vector<T, Allocator>> {
  using Vector = std::vector<T, Allocator>;
  static void type(detail::TypeName& name) { name.list<T>("vector<", ">"); }
  static void write(Writer& out, const Vector& value) {
    if constexpr (detail::is_flat<T>) {
      detail::write_flat(out, value.data(), value.size());
    } else {
      out.count(value.size());
      for (const T& element : value) Codec<T>::write(out, element);
    }
  }
  static Vector read(Reader& in) {
    Vector value;
    if constexpr (detail::is_flat<T>) {
      const ByteView bytes = detail::read_flat<T>(in);
      value.resize(bytes.size() / sizeof(T));
      if (!bytes.empty()) std::memcpy(value.data(), bytes.data(), bytes.size());
    } else {
      const std::size_t n = in.count();
      // Never more memory than bytes came.
      value.reserve(std::min(n, in.remaining() / sizeof(T) + 1));
      for (std::size_t i = 0; i < n; ++i) value.push_back(Codec<T>::read(in));
    }
    return value;
  }
};

template <class Allocator>
struct Codec<std::vector<bool, Allocator>> {   // eight to a byte
  using Vector = std::vector<bool, Allocator>;
  static void type(detail::TypeName& name) { name.text += "vector<bool>"; }
  static void write(Writer& out, const Vector& value) {
    out.count(value.size());
    for (std::size_t i = 0; i < value.size(); i += 8) {
      unsigned byte = 0;
      for (std::size_t k = i; k < std::min(i + 8, value.size()); ++k)
        byte |= static_cast<unsigned>(value[k]) << (k - i);
      out.put(static_cast<std::uint8_t>(byte));
    }
  }
  static Vector read(Reader& in) {
    const auto n = in.get<std::uint64_t>();
    if (n / 8 + (n % 8 != 0) > in.remaining())
      Reader::fail("a length exceeds the bytes that follow");
    Vector value(static_cast<std::size_t>(n));
    const ByteView bytes = in.bytes(static_cast<std::size_t>(n / 8 + (n % 8 != 0)));
    for (std::size_t i = 0; i < value.size(); ++i)
      value[i] = ((std::to_integer<unsigned>(bytes[i / 8]) >> (i % 8)) & 1U) != 0;
    return value;
  }
};

template <class T, std::size_t N>
struct Codec<std::array<T, N>> {
  static void type(detail::TypeName& name) {
    name.list<T>("array<", "," + std::to_string(N) + ">");
  }
  static void write(Writer& out, const std::array<T, N>& value) {
    if constexpr (N == 0) out.put(std::uint8_t{0});
    else if constexpr (detail::is_flat<T>) out.bytes(value.data(), sizeof value);
    else for (const T& element : value) Codec<T>::write(out, element);
  }
  static std::array<T, N> read(Reader& in) {
    std::array<T, N> value{};
    if constexpr (N == 0) in.bytes(1);
    else if constexpr (detail::is_flat<T>)
      std::memcpy(value.data(), in.bytes(sizeof value).data(), sizeof value);
    else for (T& element : value) detail::read_into(in, element);
    return value;
  }
};

// map, set, their multi and unordered kin, and whatever has emplace_hint.
template <detail::Associative T>
struct Codec<T> {
  static void type(detail::TypeName& name) {
    if constexpr (detail::Mapping<T>)
      name.list<typename T::key_type, typename T::mapped_type>("map<", ">");
    else name.list<typename T::key_type>("set<", ">");
  }
  static void write(Writer& out, const T& value) {
    out.count(value.size());
    for (const auto& element : value) {
      if constexpr (detail::Mapping<T>) {
        Codec<typename T::key_type>::write(out, element.first);
        Codec<typename T::mapped_type>::write(out, element.second);
      } else {
        Codec<typename T::key_type>::write(out, element);
      }
    }
  }
  static T read(Reader& in) {
    T value;
    for (std::size_t n = in.count(); n > 0; --n) {
      auto key = Codec<typename T::key_type>::read(in);
      if constexpr (detail::Mapping<T>)
        value.emplace_hint(value.end(), std::move(key), Codec<typename T::mapped_type>::read(in));
      else
        value.emplace_hint(value.end(), std::move(key));
    }
    return value;
  }
};

template <class A, class B>
struct Codec<std::pair<A, B>> {
  static void type(detail::TypeName& name) { name.list<A, B>("(", ")"); }
  static void write(Writer& out, const std::pair<A, B>& value) {
    Codec<A>::write(out, value.first);
    Codec<B>::write(out, value.second);
  }
  static std::pair<A, B> read(Reader& in) {
    A first = Codec<A>::read(in);
    return {std::move(first), Codec<B>::read(in)};
  }
};

template <class... T>
struct Codec<std::tuple<T...>> {
  static void type(detail::TypeName& name) { name.list<T...>("(", ")"); }
  static void write(Writer& out, const std::tuple<T...>& value) {
    if constexpr (sizeof...(T) == 0) out.put(std::uint8_t{0});
    std::apply([&](const T&... part) { (Codec<T>::write(out, part), ...); }, value);
  }
  static std::tuple<T...> read(Reader& in) {
    if constexpr (sizeof...(T) == 0) in.bytes(1);
    return std::tuple<T...>{Codec<T>::read(in)...};   // braces: from left to right
  }
};

template <class T>
struct Codec<std::optional<T>> {
  static void type(detail::TypeName& name) { name.list<T>("optional<", ">"); }
  static void write(Writer& out, const std::optional<T>& value) {
    out.put(static_cast<std::uint8_t>(value.has_value()));
    if (value) Codec<T>::write(out, *value);
  }
  static std::optional<T> read(Reader& in) {
    if (!in.flag()) return std::nullopt;
    return std::optional<T>(std::in_place, Codec<T>::read(in));
  }
};

template <>
struct Codec<std::monostate> {
  static void type(detail::TypeName& name) { name.text += "monostate"; }
  static void write(Writer& out, const std::monostate&) { out.put(std::uint8_t{0}); }
  static std::monostate read(Reader& in) {
    in.bytes(1);
    return {};
  }
};

template <class... T>
struct Codec<std::variant<T...>> {
  using Variant = std::variant<T...>;
  static void type(detail::TypeName& name) { name.list<T...>("variant<", ">"); }
  static void write(Writer& out, const Variant& value) {
    if (value.valueless_by_exception()) throw_valueless();
    out.put(static_cast<std::uint32_t>(value.index()));
    std::visit([&]<class A>(const A& held) { Codec<A>::write(out, held); }, value);
  }
  static Variant read(Reader& in) {
    const auto index = in.get<std::uint32_t>();
    if (index >= sizeof...(T)) Reader::fail("a variant's index exceeds its alternatives");
    return read_one(in, index, std::index_sequence_for<T...>());
  }

 private:
  static void throw_valueless() {
    throw Error(ErrorCode::kInvalid, "a std::variant that lost its value cannot travel");
  }
  template <std::size_t... I>
  static Variant read_one(Reader& in, std::uint32_t index, std::index_sequence<I...>) {
    using Read = Variant (*)(Reader&);
    static constexpr Read kReaders[] = {[](Reader& from) {
      return Variant(std::in_place_index<I>,
                     Codec<std::variant_alternative_t<I, Variant>>::read(from));
    }...};
    return kReaders[index](in);
  }
};

template <class Rep, class Period>
struct Codec<std::chrono::duration<Rep, Period>> {
  using Duration = std::chrono::duration<Rep, Period>;
  static void type(detail::TypeName& name) {
    name.list<Rep>("duration<",
                   "," + std::to_string(Period::num) + "/" + std::to_string(Period::den) + ">");
  }
  static void write(Writer& out, const Duration& value) { Codec<Rep>::write(out, value.count()); }
  static Duration read(Reader& in) { return Duration(Codec<Rep>::read(in)); }
};

template <class Clock, class Duration>
struct Codec<std::chrono::time_point<Clock, Duration>> {
  using Point = std::chrono::time_point<Clock, Duration>;
  static void type(detail::TypeName& name) {
    name.text += std::string("time_point<") + typeid(Clock).name() + ",";
    name.list<Duration>("", ">");
  }
  static void write(Writer& out, const Point& value) {
    Codec<Duration>::write(out, value.time_since_epoch());
  }
  static Point read(Reader& in) { return Point(Codec<Duration>::read(in)); }
};

}  // namespace rondo
