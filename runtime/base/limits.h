#pragma once

#include <cstddef>
#include <cstdint>

#include <rondo/base/time.h>

// Every bound of the runtime, with its unit last. Full is an answer (kOverloaded), never growth and
// never a silent drop.

namespace rondo::limits {

constexpr std::uint32_t kProtocolVersion = 1;

// Messages
constexpr std::size_t kControlBytesMax = std::size_t{1} << 20;  // one control message
constexpr std::size_t kFrameBytesMax = std::size_t{8} << 20;    // one frame on a link
constexpr std::size_t kFrameBytesGoal = std::size_t{64}
                                        << 10;  // a batch is sent when it reaches this
constexpr std::size_t kInlineBytesMax = std::size_t{64} << 10;  // larger values live in the store
constexpr std::size_t kChunkBytes = std::size_t{1} << 20;  // a piece of an object between nodes
constexpr std::size_t kSpawnBytesMax = std::size_t{512}
                                       << 10;  // constructor arguments, kept for restarts
constexpr std::size_t kAddressBytesMax = 200;
constexpr std::size_t kNameBytesMax = 200;
constexpr std::size_t kErrorBytesMax = std::size_t{16} << 10;
constexpr std::size_t kEnvelopeRefsMax = 100'000;  // refs inside one value

// Queues
constexpr std::size_t kCallsQueuedMax =
    4'000'000;  // calls and tasks of one process that wait to be sent
constexpr std::size_t kCallsInFlightMax = 65'536;  // sent to one peer and not answered
constexpr std::size_t kCallBytesInFlightMax = std::size_t{64} << 20;
constexpr std::size_t kTasksPerLeaseMax = 256;     // pipelined to one leased worker
constexpr std::size_t kFramesUnackedMax = 65'536;  // kept by a link for resending
constexpr std::size_t kFramesAheadMax = 4'096;  // kept by a link while an earlier frame is missing
constexpr std::size_t kWaitingTasksMax =
    1'024;  // of one worker; then a wait fails with kOverloaded
constexpr std::size_t kProbesPassedMax = 256;  // remembered by one wait
constexpr std::size_t kNodesMax = 4'096;

// Time
constexpr DurationNs kHeartbeatEvery = milliseconds(500);
constexpr DurationNs kSuspectAfter = seconds(2);
constexpr DurationNs kMembershipTerm = seconds(5);
constexpr DurationNs kClockDrift = milliseconds(250);  // two clocks over one term
constexpr DurationNs kResendAfter = milliseconds(200);
constexpr DurationNs kResendAfterMax = seconds(2);
constexpr DurationNs kAckAfter = milliseconds(20);
constexpr DurationNs kLeaseIdle = milliseconds(20);  // an idle lease goes back after this
constexpr DurationNs kWorkerIdle = seconds(10);      // an idle worker process ends after this
constexpr DurationNs kWorkerStart = seconds(30);     // from fork to Hello
constexpr DurationNs kWaitProbeAfter = seconds(1);
constexpr DurationNs kAskAfter = seconds(1);   // an owner that says nothing: does it live?

static_assert(kInlineBytesMax < kControlBytesMax && kControlBytesMax < kFrameBytesMax);
static_assert(kSpawnBytesMax < kControlBytesMax);
static_assert(kChunkBytes < kFrameBytesMax);
static_assert(kHeartbeatEvery < kSuspectAfter && kSuspectAfter < kMembershipTerm);

}  // namespace rondo::limits
