#pragma once

#include <cstddef>

#include <rondo/base/bytes.h>
#include <rondo/base/result.h>
#include <rondo/core/message.h>

// Control messages to bytes and back, in Cap'n Proto (message.capnp). The only place that meets
// kj's exceptions: what does not decode is a Result. Every size is judged before it is allocated;
// decoding costs at most a small multiple of the bytes that came. Any thread.

namespace rondo::wire {

// What one message may take: kControlBytesMax; more for those that carry a chunk, a value's refs,
// the whole cluster or a job's environment. Whoever makes one of those from outside input asks
// encoded_bytes() first.
[[nodiscard]] std::size_t message_bytes_max(const core::Message& message);
[[nodiscard]] std::size_t encoded_bytes(const core::Message& message);

// Appends; the size stays a multiple of 8. Sentences are cut at kErrorBytesMax.
// Requires: names, addresses and bytes within their limits, the whole within message_bytes_max.
void encode(const core::Message& message, Bytes& out);
[[nodiscard]] Bytes encode(const core::Message& message);

// The error says what was wrong. Bytes need not be aligned (then they are copied).
[[nodiscard]] Result<core::Message> decode(ByteView bytes);

}  // namespace rondo::wire
