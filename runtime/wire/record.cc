#include <rondo/wire/record.h>

#include <cstring>
#include <limits>

#include <rondo/base/check.h>
#include <rondo/base/limits.h>
#include <rondo/wire/codec.h>

namespace rondo::wire {
namespace {

struct RefHead {
  std::uint64_t owner = 0;
  std::uint64_t owner_node = 0;
  std::uint32_t index = 0;
  std::uint32_t generation = 0;
  std::uint32_t address_bytes = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(RefHead) == 32);

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }
constexpr std::byte kZeros[8] = {};

void append(Bytes& out, const void* from, std::size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(from);
  out.insert(out.end(), begin, begin + bytes);
}

void append_padded(Bytes& out, ByteView view) {
  append(out, view.data(), view.size());
  append(out, kZeros, padded(view.size()) - view.size());
}

std::size_t bytes_of(std::span<const core::RefEntry> refs) {
  std::size_t bytes = 0;
  for (const core::RefEntry& ref : refs) bytes += sizeof(RefHead) + padded(ref.owner.size());
  return bytes;
}

// The head and a small payload in one step: the common call costs one append.
template <class Header>
void write(Bytes& out, RecordKind kind, Header header, ByteView payload,
           std::span<const core::RefEntry> refs) {
  RONDO_CHECK_LE(refs.size(), std::numeric_limits<std::uint16_t>::max());
  header.payload_bytes = static_cast<std::uint32_t>(payload.size());
  header.ref_count = static_cast<std::uint16_t>(refs.size());
  const std::size_t bytes =
      sizeof(RecordHead) + sizeof(Header) + padded(payload.size()) + bytes_of(refs);
  RONDO_CHECK_LE(bytes, limits::kFrameBytesMax);
  struct {
    RecordHead head;
    Header header;
  } both{{static_cast<std::uint32_t>(bytes), kind, 0}, header};
  static_assert(sizeof(both) == sizeof(RecordHead) + sizeof(Header));
  append(out, &both, sizeof(both));
  append_padded(out, payload);
  for (const core::RefEntry& ref : refs) {
    RONDO_CHECK_LE(ref.owner.size(), limits::kAddressBytesMax);
    const RefHead head{ref.id.owner.value,  ref.owner_node.value, ref.id.index,
                       ref.id.generation, static_cast<std::uint32_t>(ref.owner.size()), 0};
    append(out, &head, sizeof(head));
    append_padded(out, as_bytes(ref.owner));
  }
}

}  // namespace

std::size_t record_bytes(std::size_t payload_bytes, std::span<const core::RefEntry> refs) {
  return sizeof(RecordHead) + sizeof(core::CallHeader) + padded(payload_bytes) + bytes_of(refs);
}

void RecordWriter::call(core::CallHeader header, ByteView payload,
                        std::span<const core::RefEntry> refs) {
  write(out_, RecordKind::kCall, header, payload, refs);
}

void RecordWriter::reply(core::ReplyHeader header, ByteView payload,
                         std::span<const core::RefEntry> refs) {
  write(out_, RecordKind::kReply, header, payload, refs);
}

void RecordWriter::control(const core::Message& message) {
  const std::size_t at = out_.size();
  out_.resize(at + sizeof(RecordHead));
  encode(message, out_);
  const RecordHead head{static_cast<std::uint32_t>(out_.size() - at), RecordKind::kControl, 0};
  std::memcpy(out_.data() + at, &head, sizeof(head));
}

void RecordWriter::introduction(const core::Address& address, NodeId home) {
  RONDO_CHECK_LE(address.size(), limits::kAddressBytesMax);
  const std::size_t bytes = padded(address.size());
  const RecordHead head{static_cast<std::uint32_t>(sizeof(RecordHead) + sizeof(home) + bytes),
                        RecordKind::kIntroduction,
                        static_cast<std::uint16_t>(bytes - address.size())};
  append(out_, &head, sizeof(head));
  append(out_, &home, sizeof(home));
  append_padded(out_, as_bytes(address));
}

RecordReader::Next RecordReader::bad(const char* why) {
  why_ = why;
  rest_ = {};
  return Next::kBad;
}

bool RecordReader::read_refs(ByteView rest, std::size_t count) {
  if (count > rest.size() / sizeof(RefHead)) return false;
  if (refs_.size() < count) refs_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (rest.size() < sizeof(RefHead)) return false;
    RefHead head;
    std::memcpy(&head, rest.data(), sizeof(head));
    rest = rest.subspan(sizeof(head));
    if (head.address_bytes > limits::kAddressBytesMax || padded(head.address_bytes) > rest.size())
      return false;
    core::RefEntry& ref = refs_[i];
    ref.id = {ProcessId{head.owner}, head.index, head.generation};
    ref.owner_node = NodeId{head.owner_node};
    ref.owner.assign(as_text(rest.first(head.address_bytes)));
    rest = rest.subspan(padded(head.address_bytes));
  }
  ref_count_ = count;
  return rest.empty();
}

template <class Header>
bool RecordReader::read_body(ByteView body, Header& header) {
  if (body.size() < sizeof(Header)) return false;
  std::memcpy(&header, body.data(), sizeof(Header));
  body = body.subspan(sizeof(Header));
  const std::size_t bytes = padded(header.payload_bytes);
  if (bytes > body.size()) return false;
  payload_ = body.first(header.payload_bytes);
  if (header.ref_count == 0) return bytes == body.size();
  return read_refs(body.subspan(bytes), header.ref_count);
}

RecordReader::Next RecordReader::next() {
  ref_count_ = 0;
  if (rest_.empty()) return why_[0] == '\0' ? Next::kEnd : Next::kBad;
  if (rest_.size() < sizeof(RecordHead)) return bad("a record cut short");
  RecordHead head;
  std::memcpy(&head, rest_.data(), sizeof(head));
  if (head.bytes < sizeof(head) || head.bytes > rest_.size() || head.bytes % 8 != 0)
    return bad("a record of an impossible length");
  ByteView body = rest_.subspan(sizeof(head), head.bytes - sizeof(head));
  rest_ = rest_.subspan(head.bytes);
  switch (head.kind) {
    case RecordKind::kCall:
      if (!read_body(body, call_)) return bad("a call whose sizes do not add up");
      if (call_.kind != core::CallKind::kTask && call_.kind != core::CallKind::kActor)
        return bad("a call of a kind that does not exist");
      return Next::kCall;
    case RecordKind::kReply:
      if (!read_body(body, reply_)) return bad("a reply whose sizes do not add up");
      if (reply_.status < core::ReplyStatus::kOk || reply_.status > core::ReplyStatus::kReturned)
        return bad("a reply with a status that does not exist");
      return Next::kReply;
    case RecordKind::kControl: payload_ = body; return Next::kControl;
    case RecordKind::kIntroduction:
      if (body.size() < sizeof(home_)) return bad("an introduction without a node");
      std::memcpy(&home_, body.data(), sizeof(home_));
      body = body.subspan(sizeof(home_));
      if (head.padding > 7 || head.padding > body.size() ||
          body.size() - head.padding > limits::kAddressBytesMax)
        return bad("an introduction with an impossible address");
      payload_ = body.first(body.size() - head.padding);
      return Next::kIntroduction;
  }
  return bad("a record of a kind that does not exist");
}

}  // namespace rondo::wire
