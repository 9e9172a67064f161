#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <rondo/base/limits.h>
#include <rondo/base/prng.h>
#include <rondo/core/message.h>
#include <rondo/wire/fields.h>

// Any message with random contents in every field, and its comparison field by field: both follow
// wire/fields.h, which the encoder holds complete.

namespace rondo::core {
using rondo::ActorId;
using rondo::ObjectId;
}  // namespace rondo::core

namespace rondo::wire::test {

inline std::string random_text(Prng& prng, std::size_t bytes_max) {
  std::string text(prng.below(bytes_max + 1), ' ');
  for (char& c : text) c = static_cast<char>(prng.below(256));
  return text;
}

inline Bytes random_bytes(Prng& prng, std::size_t bytes_max) {
  Bytes bytes(prng.below(bytes_max + 1));
  for (std::byte& b : bytes) b = static_cast<std::byte>(prng.below(256));
  return bytes;
}

template <class T>
void fill_number(Prng& prng, T& to) {
  if constexpr (std::is_same_v<T, ErrorCode>)
    to = static_cast<ErrorCode>(1 + prng.below(9));
  else if constexpr (std::is_same_v<T, core::Role>)
    to = static_cast<core::Role>(prng.below(5));
  else if constexpr (std::is_same_v<T, core::ActorState>)
    to = static_cast<core::ActorState>(prng.below(6));
  else if constexpr (std::is_same_v<T, bool>)
    to = prng.one_in(2);
  else if constexpr (requires { to.value; })
    to.value = prng.next();
  else if constexpr (requires { to.ns; })
    to.ns = static_cast<std::int64_t>(prng.next());
  else
    to = static_cast<T>(prng.next());
}

inline void fill(Prng& prng, core::RefEntry& m) {
  m.id = {ProcessId{prng.next()}, static_cast<std::uint32_t>(prng.next()),
          static_cast<std::uint32_t>(prng.next())};
  m.owner = random_text(prng, limits::kAddressBytesMax);
  m.owner_node.value = prng.next();
}

#define TEST_FILL_N(field, Name) fill_number(prng, m.field);
#define TEST_FILL_A(field, Name) m.field = random_text(prng, limits::kAddressBytesMax);
#define TEST_FILL_W(field, Name) m.field = random_text(prng, limits::kNameBytesMax);
#define TEST_FILL_E(field, Name) m.field = random_text(prng, 400);
#define TEST_FILL_T(field, Name) m.field = random_text(prng, 400);
#define TEST_FILL_S(field, Name) fill(prng, m.field);
#define TEST_FILL_L(field, Name) \
  m.field.resize(prng.below(4)); \
  for (auto& one : m.field) fill(prng, one);
#define TEST_FILL_X(field, Name) \
  m.field.resize(prng.below(4)); \
  for (auto& one : m.field) one = random_text(prng, 90);
#define TEST_FILL_D(field, Name, bytes_max) m.field = random_bytes(prng, 3'000);
#define TEST_FILL(Type)                                                                    \
  inline void fill([[maybe_unused]] Prng& prng, core::Type& m) {                           \
    RONDO_FIELDS_##Type(TEST_FILL_N, TEST_FILL_A, TEST_FILL_W, TEST_FILL_E, TEST_FILL_T,   \
                        TEST_FILL_S, TEST_FILL_L, TEST_FILL_X, TEST_FILL_D)                \
  }
#define TEST_FILL_MESSAGE(Type, CONSTANT) TEST_FILL(Type)

RONDO_NOUNS(TEST_FILL)

inline void fill(Prng& prng, core::Value& m) {
  m.kind = static_cast<core::Value::Kind>(prng.below(3));
  if (m.kind == core::Value::Kind::kInline) m.bytes = share(random_bytes(prng, 500));
  if (m.kind == core::Value::Kind::kStored) fill(prng, m.place);
  if (m.kind == core::Value::Kind::kFailed) fill(prng, m.failure);
  m.refs.resize(prng.below(4));
  for (core::RefEntry& ref : m.refs) fill(prng, ref);
}

RONDO_MESSAGES(TEST_FILL_MESSAGE)

template <class T>
bool same(const T& a, const T& b) { return a == b; }

inline bool same(const core::Value& a, const core::Value& b) {
  const bool bytes = (!a.bytes && !b.bytes) || (a.bytes && b.bytes && *a.bytes == *b.bytes);
  return bytes && a.kind == b.kind && a.place == b.place && a.failure == b.failure &&
         a.refs == b.refs;
}

#define TEST_SAME(field, ...) &&same(a.field, b.field)
#define TEST_SAME_L(field, Name) &&same_list(a.field, b.field)
template <class T>
bool same_list(const std::vector<T>& a, const std::vector<T>& b);

#define TEST_SAME_TYPE(Type)                                                               \
  inline bool same(const core::Type& a, const core::Type& b) {                             \
    return true RONDO_FIELDS_##Type(TEST_SAME, TEST_SAME, TEST_SAME, TEST_SAME, TEST_SAME, \
                                    TEST_SAME, TEST_SAME_L, TEST_SAME, TEST_SAME);         \
  }
#define TEST_SAME_MESSAGE(Type, CONSTANT) TEST_SAME_TYPE(Type)

TEST_SAME_TYPE(BegunMark)
template <class T>
bool same_list(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!same(a[i], b[i])) return false;
  return true;
}

RONDO_MESSAGES(TEST_SAME_MESSAGE)

inline bool same(const core::Message& a, const core::Message& b) {
  return a.index() == b.index() &&
         std::visit(
             [&](const auto& m) { return same(m, std::get<std::decay_t<decltype(m)>>(b)); }, a);
}

template <std::size_t I = 0>
core::Message random_message(Prng& prng, std::size_t index) {
  if constexpr (I < std::variant_size_v<core::AnyMessage>) {
    if (index != I) return random_message<I + 1>(prng, index);
    std::variant_alternative_t<I, core::AnyMessage> m;
    fill(prng, m);
    return m;
  } else {
    return core::Shutdown{};
  }
}

constexpr std::size_t kMessageKinds = std::variant_size_v<core::AnyMessage>;

}  // namespace rondo::wire::test
