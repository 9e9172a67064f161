#include <type_traits>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include <rondo/base/limits.h>
#include <rondo/wire/codec.h>
#include <rondo/wire/fields.h>

#include "message.capnp.h"

namespace rondo::wire {
namespace {

using capnp::Data;
using capnp::Text;

// What is known of the message being read. The first error stays; reading goes on with empty
// values.
struct Reading {
  std::size_t words = 0;          // of the whole message: no list can have more elements
  const char* error = nullptr;
  void fail(const char* why) {
    if (error == nullptr) error = why;
  }
};

constexpr bool is_valid(core::Role v) { return v <= core::Role::kClient; }
constexpr bool is_valid(core::ActorState v) { return v <= core::ActorState::kDead; }
constexpr bool is_valid(ErrorCode v) {
  return v >= ErrorCode::kTaskFailed && v <= ErrorCode::kUnavailable;
}

template <class To, class From>
void number(Reading& reading, To& to, const From& from) {
  if constexpr (std::is_enum_v<To>) {
    const auto raw = static_cast<std::uint16_t>(from);
    if (raw > 0xff || !is_valid(static_cast<To>(raw)))
      reading.fail("an enumerator that does not exist");
    else
      to = static_cast<To>(raw);
  } else if constexpr (requires { to.value; }) {
    to.value = from;
  } else if constexpr (requires { to.ns; }) {
    to.ns = from;
  } else {
    to = static_cast<To>(from);
  }
}

void text(Reading& reading, std::string& to, Text::Reader from, std::size_t bytes_max) {
  if (from.size() > bytes_max) return reading.fail("a text longer than its limit");
  to.assign(from.begin(), from.size());
}

ByteView view(Data::Reader from) {
  return {reinterpret_cast<const std::byte*>(from.begin()), from.size()};
}

template <class List>
unsigned count(Reading& reading, const List& list) {
  if (list.size() <= reading.words) return list.size();
  reading.fail("a list with more elements than the message has words");
  return 0;
}

#define RONDO_GET_N(field, Name) number(reading, m.field, r.get##Name());
#define RONDO_GET_S(field, Name) get(reading, m.field, r.get##Name());
#define RONDO_GET_T(field, Name) text(reading, m.field, r.get##Name(), limits::kFrameBytesMax);
#define RONDO_GET_A(field, Name) text(reading, m.field, r.get##Name(), limits::kAddressBytesMax);
#define RONDO_GET_W(field, Name) text(reading, m.field, r.get##Name(), limits::kNameBytesMax);
#define RONDO_GET_E(field, Name) text(reading, m.field, r.get##Name(), limits::kErrorBytesMax);
#define RONDO_GET_D(field, Name, bytes_max)                \
  {                                                        \
    const ByteView bytes = view(r.get##Name());            \
    if (bytes.size() > limits::bytes_max)                  \
      reading.fail("bytes beyond their limit");            \
    else                                                   \
      m.field = to_bytes(bytes);                           \
  }
#define RONDO_GET_L(field, Name)                           \
  {                                                        \
    const auto list = r.get##Name();                       \
    m.field.resize(count(reading, list));                  \
    for (unsigned i = 0; i < m.field.size() && !reading.error; ++i) \
      get(reading, m.field[i], list[i]);                   \
  }
#define RONDO_GET_X(field, Name)                           \
  {                                                        \
    const auto list = r.get##Name();                       \
    m.field.resize(count(reading, list));                  \
    for (unsigned i = 0; i < m.field.size() && !reading.error; ++i) \
      text(reading, m.field[i], list[i], limits::kFrameBytesMax); \
  }
#define RONDO_GET(Type)                                                                      \
  [[maybe_unused]] void get(Reading& reading, core::Type& m, schema::Type::Reader r) {       \
    RONDO_FIELDS_##Type(RONDO_GET_N, RONDO_GET_A, RONDO_GET_W, RONDO_GET_E, RONDO_GET_T,     \
                        RONDO_GET_S, RONDO_GET_L, RONDO_GET_X, RONDO_GET_D)                  \
  }
#define RONDO_GET_MESSAGE(Type, CONSTANT) RONDO_GET(Type)

}  // namespace
}  // namespace rondo::wire

namespace rondo::core {
using rondo::ActorId;    // so that one list of names serves the ids of base too
using rondo::ObjectId;
}  // namespace rondo::core

namespace rondo::wire {
namespace {

RONDO_NOUNS(RONDO_GET)

void get(Reading& reading, core::RefEntry& m, schema::RefEntry::Reader r) {
  m.id = {ProcessId{r.getOwner()}, r.getIndex(), r.getGeneration()};
  m.owner_node.value = r.getOwnerNode();
  text(reading, m.owner, r.getAddress(), limits::kAddressBytesMax);
}

void get(Reading& reading, core::Value& m, schema::Value::Reader r) {
  if (r.getRefs().size() > limits::kEnvelopeRefsMax) return reading.fail("too many refs");
  RONDO_GET_L(refs, Refs)
  switch (r.which()) {
    case schema::Value::INLINE:
      m.kind = core::Value::Kind::kInline;
      m.bytes = share(to_bytes(view(r.getInline())));
      return;
    case schema::Value::STORED:
      m.kind = core::Value::Kind::kStored;
      return get(reading, m.place, r.getStored());
    case schema::Value::FAILED:
      m.kind = core::Value::Kind::kFailed;
      return get(reading, m.failure, r.getFailed());
  }
  reading.fail("a value of a kind that does not exist");
}

RONDO_MESSAGES(RONDO_GET_MESSAGE)

#define RONDO_READ(Type, CONSTANT)                                                  \
  void read_##Type(Reading& reading, core::Message& to, schema::Message::Reader root) { \
    core::Type& m = to.emplace<core::Type>();                                       \
    if (reading.words * sizeof(capnp::word) > message_bytes_max(to))                \
      return reading.fail("longer than such a message may be");                     \
    get(reading, m, root.get##Type());                                              \
  }
RONDO_MESSAGES(RONDO_READ)

using ReadOne = void (*)(Reading&, core::Message&, schema::Message::Reader);

// By the union's number.
constexpr ReadOne kReaders[] = {
#define RONDO_READER(Type, CONSTANT) read_##Type,
    RONDO_MESSAGES(RONDO_READER)};
#define RONDO_SAME_NUMBER(Type, CONSTANT) \
  static_assert(kReaders[static_cast<std::size_t>(schema::Message::CONSTANT)] == read_##Type);
RONDO_MESSAGES(RONDO_SAME_NUMBER)

Result<core::Message> read(kj::ArrayPtr<const capnp::word> words) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = words.size() * 4 + 64;
  options.nestingLimit = 16;
  capnp::FlatArrayMessageReader reader(words, options);
  const auto root = reader.getRoot<schema::Message>();
  const auto which = static_cast<std::size_t>(root.which());
  if (which >= std::size(kReaders))
    return Error(ErrorCode::kInvalid, "a message of a kind that this version does not know");
  Reading reading{.words = words.size()};
  core::Message message;
  kReaders[which](reading, message, root);
  if (reading.error != nullptr)
    return Error(ErrorCode::kInvalid, std::string("a message with ") + reading.error);
  return message;
}

}  // namespace

Result<core::Message> decode(ByteView bytes) {
  constexpr std::size_t kWord = sizeof(capnp::word);
  if (bytes.size() < kWord || bytes.size() % kWord != 0 || bytes.size() > limits::kFrameBytesMax)
    return Error(ErrorCode::kInvalid, "a message of an impossible length");
  try {
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kWord == 0)
      return read({reinterpret_cast<const capnp::word*>(bytes.data()), bytes.size() / kWord});
    auto aligned = kj::heapArray<capnp::word>(bytes.size() / kWord);
    std::memcpy(aligned.begin(), bytes.data(), bytes.size());
    return read(aligned);
  } catch (const kj::Exception& e) {
    return Error(ErrorCode::kInvalid,
                 std::string("a message that is not well formed: ") + e.getDescription().cStr());
  }
}

}  // namespace rondo::wire
