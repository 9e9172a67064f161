#pragma once

#include <cstdint>
#include <vector>

#include <rondo/core/types.h>

// Calls and replies: the path that carries a million a second. Fixed-layout records, 8-byte
// aligned, followed by their payload; a frame holds many, after a head in Cap'n Proto. Written by
// the sender's Process, validated in one pass by wire/record.h, read in place by the receiver's
// Process. Integers are little-endian.

namespace rondo::core {

// A call's target in the receiving process.
enum class CallKind : std::uint16_t { kTask = 1, kActor = 2 };

struct CallHeader {
  std::uint32_t payload_bytes = 0;
  std::uint16_t ref_count = 0;  // RefEntries behind the payload (wire/record.h)
  CallKind kind = CallKind::kTask;
  std::uint32_t slot = 0;  // the result's ObjectId: owner = the sending process
  std::uint32_t generation = 0;
  std::uint32_t function = 0;  // the registered number of the task or method
  std::uint32_t attempt = 0;
  std::uint64_t number = 0;  // ascending per (sender, receiver): what a BegunMark speaks of
  std::uint64_t target = 0;  // kTask: the lease; kActor: the actor's incarnation
  std::uint64_t caller = 0;  // 0: the process; else the number of the calling actor
};
static_assert(sizeof(CallHeader) == 48);

enum class ReplyStatus : std::uint16_t {
  kOk = 1,        // payload: the result's bytes
  kStored = 2,    // payload: a StoredResult
  kFailed = 3,    // payload: code u8, then the sentence
  kReturned = 4,  // not begun and given back: the worker waits, ends, or the lease is revoked
};

struct ReplyHeader {
  std::uint32_t payload_bytes = 0;
  std::uint16_t ref_count = 0;
  ReplyStatus status = ReplyStatus::kOk;
  std::uint32_t slot = 0;  // of the receiver
  std::uint32_t generation = 0;
  std::uint32_t attempt = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(ReplyHeader) == 24);

// Arguments inside a payload: one head each, then what the kind says, padded to 8.
enum class ArgumentKind : std::uint32_t {
  kInline = 0,  // `size` bytes; a ref in them is numbered in the call's list
  kRef = 1,  // the value of the call's ref number `size`, nothing follows: never leaves the caller
             // (it is resolved)
  kInlineAt =
      2,  // u64 first, then `size` bytes; a ref in them is numbered from `first` in the call's list
  kStored =
      3,  // a StoredArgument: opened by the executing process; `size` is sizeof(StoredArgument)
};
struct ArgumentHeader {
  std::uint32_t size = 0;
  ArgumentKind kind = ArgumentKind::kInline;
};
static_assert(sizeof(ArgumentHeader) == 8);

struct StoredArgument {
  std::uint64_t node = 0;
  std::uint64_t bytes = 0;
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
  std::uint32_t object_ref = 0;  // the call's ref that is this object
  std::uint32_t first_ref = 0;   // refs inside the value are numbered from here
};
static_assert(sizeof(StoredArgument) == 32);

// Payload of a kStored reply, followed by the text of the address where that node listens.
struct StoredResult {
  std::uint64_t node = 0;
  std::uint64_t bytes = 0;
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
  std::uint64_t node_process = 0;
};
static_assert(sizeof(StoredResult) == 32);

}  // namespace rondo::core
