#include <algorithm>
#include <type_traits>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/io.h>

#include <rondo/base/check.h>
#include <rondo/base/limits.h>
#include <rondo/wire/codec.h>
#include <rondo/wire/fields.h>

#include "message.capnp.h"

namespace rondo::wire {
namespace {

using capnp::Data;
using capnp::Text;

// ---- every field is listed

struct Anything {
  template <class T>
  operator T() const;
};

template <class T, class... A>
consteval std::size_t fields_of() {
  if constexpr (requires { T{A{}..., Anything{}}; })
    return fields_of<T, A..., Anything>();
  else
    return sizeof...(A);
}

#define RONDO_ONE(...) +1
#define RONDO_COUNT(Type)                                                                        \
  static_assert(fields_of<core::Type>() ==                                                       \
                    0 RONDO_FIELDS_##Type(RONDO_ONE, RONDO_ONE, RONDO_ONE, RONDO_ONE, RONDO_ONE, \
                                          RONDO_ONE, RONDO_ONE, RONDO_ONE, RONDO_ONE),           \
                "core::" #Type " has a field that wire/fields.h and message.capnp do not list");
#define RONDO_COUNT_MESSAGE(Type, CONSTANT) RONDO_COUNT(Type)

}  // namespace
}  // namespace rondo::wire

namespace rondo::core {
using rondo::ActorId;    // so that one list of names serves the ids of base too
using rondo::ObjectId;
}  // namespace rondo::core

namespace rondo::wire {
namespace {

RONDO_NOUNS(RONDO_COUNT)
RONDO_MESSAGES(RONDO_COUNT_MESSAGE)
static_assert(fields_of<core::RefEntry>() == 3, "put(RefEntry) and message.capnp miss a field");
static_assert(fields_of<core::Value>() == 5, "put(Value) and message.capnp miss a field");
#define RONDO_ONE_MESSAGE(Type, CONSTANT) +1
static_assert(std::variant_size_v<core::AnyMessage> == 0 RONDO_MESSAGES(RONDO_ONE_MESSAGE),
              "core::Message has a member that wire/fields.h and message.capnp do not list");

// ---- values

template <class To, class From>
To number(const From& from) {
  if constexpr (std::is_enum_v<From>)
    return static_cast<To>(static_cast<std::uint16_t>(from));
  else if constexpr (requires { from.value; })
    return static_cast<To>(from.value);
  else if constexpr (requires { from.ns; })
    return static_cast<To>(from.ns);
  else
    return static_cast<To>(from);
}

Text::Reader text(const std::string& s) { return {s.c_str(), s.size()}; }
Text::Reader bounded(const std::string& s, std::size_t bytes_max) {
  RONDO_CHECK_LE(s.size(), bytes_max);
  return text(s);
}
Data::Reader data_of(ByteView bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}
unsigned count(std::size_t n) { return static_cast<unsigned>(n); }

std::string sentence(const std::string& s) {
  if (s.size() <= limits::kErrorBytesMax) return s;
  std::size_t end = limits::kErrorBytesMax - 3;
  // not inside UTF-8
  while (end > 0 && (static_cast<unsigned char>(s[end]) & 0xC0) == 0x80) --end;
  return s.substr(0, end) + "...";
}

#define RONDO_PUT_N(field, Name) \
  b.set##Name(number<decltype(b.asReader().get##Name())>(m.field));
#define RONDO_PUT_S(field, Name) put(b.init##Name(), m.field);
#define RONDO_PUT_T(field, Name) \
  if (!m.field.empty()) b.set##Name(text(m.field));
#define RONDO_PUT_A(field, Name) \
  if (!m.field.empty()) b.set##Name(bounded(m.field, limits::kAddressBytesMax));
#define RONDO_PUT_W(field, Name) \
  if (!m.field.empty()) b.set##Name(bounded(m.field, limits::kNameBytesMax));
#define RONDO_PUT_E(field, Name) \
  if (!m.field.empty()) b.set##Name(text(sentence(m.field)));
#define RONDO_PUT_D(field, Name, bytes_max)              \
  RONDO_CHECK_LE(m.field.size(), limits::bytes_max);     \
  if (!m.field.empty()) b.set##Name(data_of(m.field));
#define RONDO_PUT_L(field, Name)                              \
  if (!m.field.empty()) {                                     \
    auto list = b.init##Name(count(m.field.size()));          \
    for (unsigned i = 0; i < list.size(); ++i) put(list[i], m.field[i]); \
  }
#define RONDO_PUT_X(field, Name)                              \
  if (!m.field.empty()) {                                     \
    auto list = b.init##Name(count(m.field.size()));          \
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, text(m.field[i])); \
  }
#define RONDO_PUT(Type)                                                                      \
  [[maybe_unused]] void put(schema::Type::Builder b, const core::Type& m) {                  \
    RONDO_FIELDS_##Type(RONDO_PUT_N, RONDO_PUT_A, RONDO_PUT_W, RONDO_PUT_E, RONDO_PUT_T,     \
                        RONDO_PUT_S, RONDO_PUT_L, RONDO_PUT_X, RONDO_PUT_D)                  \
  }
#define RONDO_PUT_MESSAGE(Type, CONSTANT) RONDO_PUT(Type)

RONDO_NOUNS(RONDO_PUT)

void put(schema::RefEntry::Builder b, const core::RefEntry& m) {
  b.setOwner(m.id.owner.value);
  b.setIndex(m.id.index);
  b.setGeneration(m.id.generation);
  b.setOwnerNode(m.owner_node.value);
  b.setAddress(bounded(m.owner, limits::kAddressBytesMax));
}

void put(schema::Value::Builder b, const core::Value& m) {
  RONDO_CHECK_LE(m.refs.size(), limits::kEnvelopeRefsMax);
  RONDO_PUT_L(refs, Refs)
  switch (m.kind) {
    case core::Value::Kind::kInline:
      b.setInline(data_of(m.bytes ? ByteView(*m.bytes) : ByteView()));
      break;
    case core::Value::Kind::kStored: put(b.initStored(), m.place); break;
    case core::Value::Kind::kFailed: put(b.initFailed(), m.failure); break;
  }
}

RONDO_MESSAGES(RONDO_PUT_MESSAGE)

#define RONDO_INIT(Type, CONSTANT) \
  auto start(schema::Message::Builder root, const core::Type&) { return root.init##Type(); }
RONDO_MESSAGES(RONDO_INIT)

// A message being built; small ones stay on the stack.
struct Draft {
  capnp::word scratch[256] = {};
  capnp::MallocMessageBuilder builder{kj::arrayPtr(scratch, 256)};

  explicit Draft(const core::Message& message) {
    const auto root = builder.initRoot<schema::Message>();
    std::visit([&](const auto& m) { put(start(root, m), m); }, message);
  }
  [[nodiscard]] std::size_t bytes() {
    return capnp::computeSerializedSizeInWords(builder) * sizeof(capnp::word);
  }
};

}  // namespace

std::size_t message_bytes_max(const core::Message& message) {
  const bool bulky = std::holds_alternative<core::Chunk>(message) ||
                     std::holds_alternative<core::ObjectReady>(message) ||
                     std::holds_alternative<core::NodeJoin>(message) ||
                     std::holds_alternative<core::ClusterView>(message) ||
                     std::holds_alternative<core::StartJob>(message) ||
                     std::holds_alternative<core::JobInfo>(message) ||
                     std::holds_alternative<core::StartActor>(message) ||
                     std::holds_alternative<core::ProcessDied>(message) ||
                     std::holds_alternative<core::Inspected>(message);
  return bulky ? limits::kFrameBytesMax - (std::size_t{64} << 10) : limits::kControlBytesMax;
}

std::size_t encoded_bytes(const core::Message& message) { return Draft(message).bytes(); }

void encode(const core::Message& message, Bytes& out) {
  Draft draft(message);
  const std::size_t bytes = draft.bytes();
  RONDO_CHECK_LE(bytes, message_bytes_max(message));
  const std::size_t at = out.size();
  out.resize(at + bytes);
  kj::ArrayOutputStream stream(
      kj::arrayPtr(reinterpret_cast<kj::byte*>(out.data() + at), bytes));
  capnp::writeMessage(stream, draft.builder);
}

Bytes encode(const core::Message& message) {
  Bytes out;
  encode(message, out);
  return out;
}

}  // namespace rondo::wire
