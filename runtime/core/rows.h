#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <rondo/base/bytes.h>
#include <rondo/core/types.h>

// Rows: what a head writes down so that the next one knows it. Little-endian, length-prefixed,
// opened by a format number; a row that does not read back exactly is refused as a whole.

namespace rondo::core {

struct ActorRow {
  ActorSpec spec;
  Incarnation incarnation;      // the last that was given out
  ActorState state = ActorState::kPending;
  NodeId node;                  // where that incarnation was sent; 0: nowhere
  std::int32_t restarts = 0;
  std::string cause;
  ErrorCode code = ErrorCode::kActorDied;
  auto operator<=>(const ActorRow&) const = default;
};

struct JobRow {
  JobSpec spec;
  std::int64_t started_wall_ns = 0;
  auto operator<=>(const JobRow&) const = default;
};

[[nodiscard]] std::string actor_key(ActorId);      // "actor/…"
[[nodiscard]] std::string job_key(JobId);          // "job/…"
[[nodiscard]] std::string node_key(NodeId);        // "node/…": the NodeInfo of a member
[[nodiscard]] std::string dead_node_key(NodeId);   // "dead/…": its NodeInfo
inline constexpr std::string_view kHeadKey = "head";   // the incarnation of the last head

[[nodiscard]] Bytes encode(const ActorRow&);
[[nodiscard]] Bytes encode(const JobRow&);
[[nodiscard]] Bytes encode(const NodeInfo&);
[[nodiscard]] Bytes encode(Incarnation);
[[nodiscard]] std::optional<ActorRow> decode_actor(ByteView);
[[nodiscard]] std::optional<JobRow> decode_job(ByteView);
[[nodiscard]] std::optional<NodeInfo> decode_node(ByteView);
[[nodiscard]] std::optional<Incarnation> decode_incarnation(ByteView);

}  // namespace rondo::core
