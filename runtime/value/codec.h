#pragma once

#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <rondo/value/aggregate.h>
#include <rondo/value/reader.h>
#include <rondo/value/type_name.h>
#include <rondo/value/writer.h>

// Codec<T> turns a T into bytes and back. The library knows arithmetic types, enums, strings, the
// standard containers and vocabulary types (containers.h), Ref, Actor, and plain aggregates. For
// any other type:
//
//   template <> struct rondo::Codec<Money> {
// May be left out.
//     static void type(rondo::detail::TypeName& name) { name.text += "money"; }
//     static void write(rondo::Writer& out, const Money& m) { out.put(m.cents()); }
//     static Money read(rondo::Reader& in) { return Money(in.get<std::int64_t>()); }
//   };
//
// `write` runs twice (writer.h). `read` throws what it likes for bytes that it refuses. Numbers
// travel as they lie in memory; arrays of numbers are one copy, aligned to 16 from the value's
// start.

namespace rondo {

namespace detail {

template <class T>
constexpr bool always_false = false;

template <class T>
constexpr bool is_bool_enum = false;
template <class T>
  requires std::is_enum_v<T>
constexpr bool is_bool_enum<T> = std::is_same_v<std::underlying_type_t<T>, bool>;

// Bytes in memory are the value: may be copied in bulk.
template <class T>
constexpr bool is_flat =
    (std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, long double>) ||
    (std::is_enum_v<T> && !is_bool_enum<T>);

template <class T>
void read_into(Reader& in, T& out) {
  if constexpr (std::is_array_v<T>) {
    using Element = std::remove_extent_t<T>;
    if constexpr (is_flat<Element>) {
      std::memcpy(out, in.bytes(sizeof out).data(), sizeof out);
    } else {
      for (Element& element : out) read_into(in, element);
    }
  } else {
    out = Codec<T>::read(in);
  }
}

template <class T>
constexpr bool is_view = false;   // string_view and span: containers.h

template <class T>
std::string scalar_name() {
  using Plain = typename std::conditional_t<std::is_enum_v<T>, std::underlying_type<T>,
                                            std::type_identity<T>>::type;
  const std::string bits = std::to_string(sizeof(T) * 8);
  std::string name = std::is_enum_v<T> ? "enum " : "";
  if (std::is_same_v<Plain, bool>) return name + "bool";
  if (std::is_same_v<Plain, char>) return name + "char";
  if (std::is_floating_point_v<Plain>) return name + "f" + bits;
  return name + (std::is_signed_v<Plain> ? "i" : "u") + bits;
}

}  // namespace detail

// Plain aggregates, and the words for what cannot travel.
template <class T>
struct Codec {
  static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T> && !std::is_null_pointer_v<T>,
                "rondo: a pointer cannot travel to another process: pass the value, or a Ref");
  static_assert(
      !detail::is_view<T>,
      "rondo: a view cannot travel inside a value or as a result: use the container, as in "
      "std::string or std::vector (std::span<const T> works as a parameter)");
  static_assert(
      detail::is_view<T> || std::is_aggregate_v<T> || std::is_pointer_v<T>,
      "rondo: this type cannot travel by itself: it is no plain aggregate (it has constructors, "
      "private fields or virtual functions); specialise rondo::Codec<T>");
  static_assert(
      !std::is_aggregate_v<T> || !detail::has_base<T>(),
      "rondo: an aggregate with a base class cannot travel by itself: make the base a field, or "
      "specialise rondo::Codec<T>");
  static_assert(!std::is_aggregate_v<T> || std::is_default_constructible_v<T>,
                "rondo: an aggregate that travels must be default-constructible");
  static_assert(
      detail::field_count<T>() <= detail::kFieldsMax,
      "rondo: an aggregate that travels by itself has at most 32 fields: nest some, or specialise "
      "rondo::Codec<T>");
  using Fields = decltype(detail::tie_fields(std::declval<T&>()));   // std::tuple<F&...>

  static void type(detail::TypeName& name) {
    if (!name.enter(typeid(T))) return;
    [&]<class... F>(const std::type_identity<std::tuple<F&...>>&) {
      name.list<F...>("{", "}");
    }(std::type_identity<Fields>());
    name.leave();
  }
  static void write(Writer& out, const T& value) {
    // Every value has a byte.
    if constexpr (detail::field_count<T>() == 0) out.put(std::uint8_t{0});
    std::apply(
        [&](const auto&... field) {
          (Codec<std::remove_cvref_t<decltype(field)>>::write(out, field), ...);
        },
        detail::tie_fields(value));
  }
  static T read(Reader& in) {
    const Reader::Level level(in);
    if constexpr (detail::field_count<T>() == 0) in.bytes(1);
    T value{};
    std::apply([&](auto&... field) { (detail::read_into(in, field), ...); },
               detail::tie_fields(value));
    return value;
  }
};

// ---- numbers, enums, C arrays, strings -------------------------------------------------------

template <class T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
struct Codec<T> {
  static void type(detail::TypeName& name) { name.text += detail::scalar_name<T>(); }
  static void write(Writer& out, const T& value) {
    if constexpr (std::is_same_v<T, long double>) {   // its padding is left out
      const std::size_t used = std::numeric_limits<T>::digits == 64 ? 10 : sizeof value;
      out.bytes(&value, used);
    } else if constexpr (std::is_same_v<T, bool>) {
      out.put(static_cast<std::uint8_t>(value));
    } else {
      out.put(value);
    }
  }
  static T read(Reader& in) {
    if constexpr (std::is_same_v<T, long double>) {
      T value = 0;
      const std::size_t used = std::numeric_limits<T>::digits == 64 ? 10 : sizeof value;
      std::memcpy(&value, in.bytes(used).data(), used);
      return value;
    } else if constexpr (std::is_same_v<T, bool>) {
      return in.flag();
    } else if constexpr (detail::is_bool_enum<T>) {
      return static_cast<T>(in.flag());
    } else {
      return in.get<T>();
    }
  }
};

template <class T, std::size_t N>
struct Codec<T[N]> {   // a field of an aggregate; read_into reads it
  static void type(detail::TypeName& name) {
    name.list<T>("array<", "," + std::to_string(N) + ">");
  }
  static void write(Writer& out, const T (&value)[N]) {
    if constexpr (detail::is_flat<T>) {
      out.bytes(value, sizeof value);
    } else {
      for (const T& element : value) Codec<T>::write(out, element);
    }
  }
};

template <class C, class Traits, class Allocator>
struct Codec<std::basic_string<C, Traits, Allocator>> {
  using String = std::basic_string<C, Traits, Allocator>;
  static void type(detail::TypeName& name) {
    name.text += sizeof(C) == 1 ? "string" : "string" + std::to_string(sizeof(C) * 8);
  }
  static void write(Writer& out, const String& value) {
    out.count(value.size());
    out.bytes(value.data(), value.size() * sizeof(C));
  }
  static String read(Reader& in) {
    const std::size_t n = in.count(sizeof(C));
    String value(n, C{});
    if (n != 0) std::memcpy(value.data(), in.bytes(n * sizeof(C)).data(), n * sizeof(C));
    return value;
  }
};

// Immutable bytes, shared with the memory that they were read from.
template <>
struct Codec<Buffer> {
  static void type(detail::TypeName& name) { name.text += "bytes"; }
  static void write(Writer& out, const Buffer& value) {
    out.count(value.size());
    out.align(16);
    out.bytes(value.view().data(), value.size());
  }
  static Buffer read(Reader& in) {
    const std::size_t n = in.count();
    in.align(16);
    return in.share(n);
  }
};

// ---- whole values ----------------------------------------------------------------------------

namespace detail {

// The value that `buffer` holds, all of it. Throws kInvalid, naming the type, for anything else.
template <class T>
T decode(const Buffer& buffer, std::span<const CellRef> refs, const Session* session) {
  try {
    Reader in(buffer, refs, session);
    T value = Codec<T>::read(in);
    if (in.remaining() != 0) Reader::fail("bytes are left over");
    return value;
  } catch (const Malformed& malformed) {
    throw_malformed(malformed.why, &type_name<T>);
  }
}

}  // namespace detail
}  // namespace rondo
