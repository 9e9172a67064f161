#pragma once

#include <cstdint>
#include <vector>

#include <rondo/core/types.h>

// Calls and replies: the path that carries a million a second. Fixed-layout records, 8-byte aligned, followed by their
// payload; a frame holds many, after a head in Cap'n Proto. Written by the sender's Process, validated in one pass by
// wire/record.h, read in place by the receiver's Process. Integers are little-endian.

namespace rondo::core {

// A call's target in the receiving process.
enum class CallKind : std::uint16_t { kTask = 1, kActor = 2 };

struct CallHeader {
  std::uint32_t payload_bytes = 0;
  std::uint16_t ref_count = 0;         // RefEntries behind the payload (wire/record.h)
  CallKind kind = CallKind::kTask;
  std::uint32_t slot = 0;              // the result's ObjectId: owner = the sending process
  std::uint32_t generation = 0;
  std::uint32_t function = 0;          // the registered number of the task or method
  std::uint32_t attempt = 0;
  std::uint64_t number = 0;            // ascending per (sender, receiver): what a BegunMark speaks of
  std::uint64_t target = 0;            // kTask: the lease; kActor: the actor's incarnation
  std::uint64_t caller = 0;            // 0: the process; else the number of the calling actor
};
static_assert(sizeof(CallHeader) == 48);

enum class ReplyStatus : std::uint16_t {
  kOk = 1,        // payload: the result's bytes
  kStored = 2,    // payload: extent u32, generation u32, bytes u64: in the store of the replier's node
  kFailed = 3,    // payload: code u8, then the sentence
  kReturned = 4,  // not begun and given back: the worker waits, ends, or the lease is revoked
};

struct ReplyHeader {
  std::uint32_t payload_bytes = 0;
  std::uint16_t ref_count = 0;
  ReplyStatus status = ReplyStatus::kOk;
  std::uint32_t slot = 0;              // of the receiver
  std::uint32_t generation = 0;
  std::uint32_t attempt = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(ReplyHeader) == 24);

// Arguments inside a payload: one head each, then its bytes padded to 8.
enum class ArgumentKind : std::uint32_t {
  kInline = 0,    // `size` bytes
  kRef = 1,       // the value of the call's ref number `size`: resolved before the call leaves its caller, if inline
  kStored = 2,    // a Place (wire layout: node, extent, generation, bytes, ref number): opened by the executing process
};
struct ArgumentHeader {
  std::uint32_t size = 0;
  ArgumentKind kind = ArgumentKind::kInline;
};
static_assert(sizeof(ArgumentHeader) == 8);

}  // namespace rondo::core
