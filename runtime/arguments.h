#pragma once

#include <string>
#include <tuple>

#include <rondo/registry.h>
#include <rondo/session.h>
#include <rondo/signature.h>

// The caller's side of a call: its arguments, converted to the parameters' types, become one
// payload.
//
// A value is written inline; one above limits::kInlineBytesMax is put into the store first and
// travels as a ref. A Ref where a value is wanted becomes a dependency. What does not fit is
// refused at compile time, in words; a constructor's arguments are checked when spawn is called,
// against what was registered.
//
// Users do not call this.

namespace rondo::detail {

// Collects arguments in two passes: each value is counted, then all are written into one payload.
class ArgumentWriter {
 public:
  explicit ArgumentWriter(Client& client) : client_(client) {}

  struct Slot {
    std::size_t bytes = 0;         // inline: of the value
    std::uint32_t first_ref = 0;   // inline: number of its first ref; else number of the ref
    bool is_ref = false;
  };
  template <class V>
  Slot measure(const V& value) {
    const auto first = static_cast<std::uint32_t>(arguments_.refs.size());
    Writer count(arguments_.refs);
    Codec<V>::write(count, value);
    if (is_large(count.size()))
      return put_large(count.size(), first, [&value](std::span<std::byte> to) {
        Writer out(to, 0);
        Codec<V>::write(out, value);
        out.finish();
      });
    payload_bytes_ += padded(count.size());
    return {count.size(), first, false};
  }
  Slot depend(const CellRef& cell);

  void begin() { arguments_.payload.resize(payload_bytes_); }
  template <class V>
  void write(const Slot& slot, const V& value) {
    Writer out(next(slot), slot.first_ref);
    Codec<V>::write(out, value);
    out.finish();
  }
  void write(const Slot& slot) { next(slot); }   // a ref
  EncodedArguments take() { return std::move(arguments_); }

 private:
  static std::size_t padded(std::size_t bytes);            // with its header
  static bool is_large(std::size_t bytes);
  Slot put_large(std::size_t bytes, std::uint32_t first_ref,
                 const std::function<void(std::span<std::byte>)>& fill);
  std::span<std::byte> next(const Slot& slot);             // writes the header

  Client& client_;
  EncodedArguments arguments_;
  std::size_t payload_bytes_ = 0;
  std::size_t at_ = 0;
};

template <class A, class V>
concept FlatRange = requires(const A& a) { std::span<const typename V::value_type>(a); };

// How an argument of type A reaches a parameter P.
template <class P, class A>
consteval bool check_argument() {
  using V = travelling_t<P>;
  if constexpr (is_ref<A> && !is_ref<V>) {
    constexpr bool exact = std::is_same_v<typename A::Value, V>;
    static_assert(exact,
                  "rondo: a Ref<U> fits only where U is exactly the parameter's type, or the "
                  "parameter is Ref<U>: a ref's value is not converted");
    return exact;
  } else if constexpr (is_ref<A>) {
    constexpr bool exact = std::is_same_v<A, V>;
    static_assert(exact, "rondo: this parameter takes a Ref of another type");
    return exact;
  } else if constexpr (is_const_span<std::remove_cvref_t<P>>) {
    constexpr bool fits = std::is_convertible_v<const A&, V> || FlatRange<A, V>;
    static_assert(fits,
                  "rondo: a std::span<const T> parameter takes a vector of T, a Ref to one, or "
                  "another contiguous range of T");
    return fits;
  } else {
    constexpr bool fits = std::is_convertible_v<const A&, V> || std::is_convertible_v<A&&, V>;
    static_assert(fits, "rondo: an argument does not convert to its parameter's type");
    return fits;
  }
}

// One argument, converted if need be, between the two passes.
template <class P, class A>
struct Prepared {
  using V = travelling_t<P>;
  using Plain = std::remove_cvref_t<A>;
  static constexpr bool kDepends = is_ref<Plain> && !is_ref<V>;
  static constexpr bool kSame = std::is_same_v<Plain, V>;
  using Held = std::conditional_t<kDepends || kSame, const Plain&, V>;

  explicit Prepared(A&& argument) : held(hold(std::forward<A>(argument))) {}
  static Held hold(A&& argument) {
    if constexpr (kDepends || kSame) return argument;
    else if constexpr (std::is_convertible_v<A&&, V>)
      return static_cast<V>(std::forward<A>(argument));
    else {
      const std::span<const typename V::value_type> range(argument);
      return V(range.begin(), range.end());
    }
  }
  void measure(ArgumentWriter& out) {
    if constexpr (kDepends) slot = out.depend(held.cell());
    else slot = out.measure<V>(held);
  }
  void write(ArgumentWriter& out) const {
    if constexpr (kDepends) {
      out.write(slot);
    } else if (slot.is_ref) {
      out.write(slot);
    } else {
      out.write<V>(slot, held);
    }
  }

  Held held;
  ArgumentWriter::Slot slot;
};

template <class... P, class... A>
EncodedArguments encode_all(Client& client, Parameters<P...>*, A&&... argument) {
  ArgumentWriter out(client);
  std::tuple<Prepared<P, A>...> prepared(std::forward<A>(argument)...);
  std::apply(
      [&](auto&... one) {
        (one.measure(out), ...);
        out.begin();
        (one.write(out), ...);
      },
      prepared);
  return out.take();
}

// Arguments of a call of a function with signature S.
template <class S, class... A>
EncodedArguments encode_call(Client& client, A&&... argument) {
  using Takes = typename S::Takes;
  static_assert(
      Takes::kCount == sizeof...(A),
      "rondo: wrong number of arguments for this task or method (its Context& is not counted, and "
      "default arguments do not exist through a pointer)");
  if constexpr (Takes::kCount == sizeof...(A)) {
    constexpr bool fits = []<class... P>(Parameters<P...>*) {
      return (true && ... && check_argument<P, std::remove_cvref_t<A>>());
    }(static_cast<Takes*>(nullptr));
    if constexpr (fits)
      return encode_all(client, static_cast<Takes*>(nullptr), std::forward<A>(argument)...);
  }
  return {};
}

// ---- constructors ----------------------------------------------------------------------------

// Text becomes std::string; everything else is itself.
template <class A>
using spawn_value_t = std::conditional_t<std::is_convertible_v<const A&, std::string_view> &&
                                             !is_ref<std::decay_t<A>>,
                                         std::string, std::decay_t<A>>;
template <class A>
decltype(auto) spawn_value(const A& argument) {
  if constexpr (std::is_same_v<spawn_value_t<A>, A>) return (argument);
  else return spawn_value_t<A>(argument);
}

struct Number {                  // any arithmetic value, to be converted if it fits
  enum class Kind : std::uint8_t { kNone, kSigned, kUnsigned, kReal };
  Kind kind = Kind::kNone;
  std::int64_t whole = 0;        // kSigned; kUnsigned: its bits
  double real = 0;
};
template <class V>
Number number_of(const V& value) {
  if constexpr (!std::is_arithmetic_v<V> || std::is_same_v<V, bool>) return {};
  else if constexpr (std::is_floating_point_v<V>)
    return {Number::Kind::kReal, 0, static_cast<double>(value)};
  else if constexpr (std::is_signed_v<V>)
    return {Number::Kind::kSigned, static_cast<std::int64_t>(value), 0};
  else return {Number::Kind::kUnsigned, static_cast<std::int64_t>(value), 0};
}
// The bytes of the number as the structural type `to` ("i32", "f64"); empty: no number type, or it
// does not fit.
[[nodiscard]] Bytes convert_number(const Number& from, std::string_view to);

// One argument of spawn: checks it against the registered type, writes it or makes it a dependency.
class SpawnWriter {
 public:
  // Throws kInvalid for a wrong count.
  SpawnWriter(const RegisteredClass& target, std::size_t count);

  template <class V>
  void add(const V& value) {
    const std::string mine = type_name<V>();
    const std::string& wanted = target_.constructor[next_];
    if constexpr (is_ref<V>) {
      if (wanted != mine) {
        if (wanted != type_name<typename V::Value>()) mismatch(mine);
        depend(value.cell());
        return;
      }
    }
    if (wanted == mine) {
      const auto first = static_cast<std::uint32_t>(arguments_.refs.size());
      Writer count(arguments_.refs);
      Codec<V>::write(count, value);
      Bytes bytes(count.size());
      Writer out(std::span<std::byte>(bytes), first);
      Codec<V>::write(out, value);
      out.finish();
      inline_value(bytes);
      return;
    }
    const Bytes converted = convert_number(number_of(value), wanted);
    if (converted.empty()) mismatch(mine);
    inline_value(converted);
  }
  EncodedArguments take();

 private:
  [[noreturn]] void mismatch(const std::string& mine) const;
  void depend(const CellRef& cell);
  void inline_value(const Bytes& bytes);

  const RegisteredClass& target_;
  EncodedArguments arguments_;
  std::size_t next_ = 0;
};

}  // namespace rondo::detail
