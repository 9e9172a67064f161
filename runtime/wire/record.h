#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <rondo/base/bytes.h>
#include <rondo/core/call.h>
#include <rondo/core/message.h>

// Records: what a frame's payload consists of. Each begins on a multiple of 8 bytes with a
// RecordHead and is as long as that says; calls and replies are core/call.h's headers followed by
// payload and refs, control messages are Cap'n Proto.
//
//   call          RecordHead  CallHeader   payload, padded   refs
//   reply         RecordHead  ReplyHeader  payload, padded   refs
//   control       RecordHead  a message of wire/message.capnp
//   introduction  RecordHead  the sender's node u64 (0: none), its address: first of a link, so
//                             that answers find their way, and who is gone with a node is known
//
//   a ref         owner u64, index u32, generation u32, address_bytes u32, 0 u32, address, padded
//
// The path of a million calls a second: writing appends to one growing Bytes; reading validates in
// one pass and gives views in place. Nothing is allocated for a call without refs. Any thread, one
// at a time.

namespace rondo::wire {

enum class RecordKind : std::uint16_t { kCall = 1, kReply = 2, kControl = 3, kIntroduction = 4 };

struct RecordHead {
  std::uint32_t bytes = 0;         // of the record, this head included: a multiple of 8
  RecordKind kind = RecordKind::kControl;
  std::uint16_t padding = 0;       // of the bytes: how many at the end are padding (kIntroduction)
};
static_assert(sizeof(RecordHead) == 8);

class RecordWriter {
 public:
  // Appends to `out`, whose size must be a multiple of 8 and stays one.
  explicit RecordWriter(Bytes& out) : out_(out) {}

  // The headers' payload_bytes and ref_count are set here. Requires: at most 65,535 refs, addresses
  // within limits.
  void call(core::CallHeader header, ByteView payload, std::span<const core::RefEntry> refs);
  void reply(core::ReplyHeader header, ByteView payload, std::span<const core::RefEntry> refs);
  void control(const core::Message& message);
  void introduction(const core::Address& address, NodeId home);

 private:
  Bytes& out_;
};

// How long a call's or reply's record will be, at most.
[[nodiscard]] std::size_t record_bytes(std::size_t payload_bytes,
                                       std::span<const core::RefEntry> refs);

class RecordReader {
 public:
  enum class Next : std::uint8_t { kCall, kReply, kControl, kIntroduction, kEnd, kBad };

  // The payload must outlive the reader and the views it gives. Views are 8-byte aligned if the
  // payload is.
  explicit RecordReader(ByteView payload) : rest_(payload) {}

  // Steps to the next record and validates it. After kBad there is nothing more, and why() says
  // what was wrong.
  Next next();

  [[nodiscard]] const core::CallHeader& call() const { return call_; }       // after kCall
  [[nodiscard]] const core::ReplyHeader& reply() const { return reply_; }    // after kReply
  // kCall, kReply, kControl; kIntroduction: the address
  [[nodiscard]] ByteView payload() const { return payload_; }
  [[nodiscard]] std::span<const core::RefEntry> refs() const {               // valid until next()
    return {refs_.data(), ref_count_};
  }
  [[nodiscard]] NodeId home() const { return home_; }                        // after kIntroduction
  [[nodiscard]] std::string_view why() const { return why_; }

 private:
  Next bad(const char* why);
  template <class Header>
  bool read_body(ByteView body, Header& header);
  bool read_refs(ByteView rest, std::size_t count);

  ByteView rest_;
  core::CallHeader call_;
  core::ReplyHeader reply_;
  ByteView payload_;
  NodeId home_;
  std::vector<core::RefEntry> refs_;   // reused: grows once
  std::size_t ref_count_ = 0;
  const char* why_ = "";
};

}  // namespace rondo::wire
