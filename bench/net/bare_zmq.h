#pragma once

#include <cstddef>
#include <string>

// The roof under every call: two processes over bare ZeroMQ (PULL and PUSH each way, as Rondo uses
// it), nothing else. Others measure it in the same run as their own figure and print the ratio.
// Call these before the process has a ZeroMQ context of its own: they fork.

namespace rondo::bench {

enum class Wire { kIpc, kTcp };

// Nanoseconds from a message of so many bytes to its answer; the median of `rounds`.
double bare_round_trip_ns(Wire wire, std::size_t message_bytes, int rounds);

// Calls and answers a second with `in_flight` calls on the way, `calls_per_frame` in a message.
double bare_calls_per_second(Wire wire, std::size_t call_bytes, int calls_per_frame, int in_flight,
                             int calls);

}  // namespace rondo::bench
