#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// How the replicas of a stage come together for the sums of one incarnation (gradient_sum.h).
// Everybody says its place; the trainer chooses the way, makes a Meeting of the places, tells all
// the plan, and they join. On GPUs the sum may stay on the devices: then what is met over shared
// memory or ZeroMQ is a small group that compares calls and sees deaths, and NCCL carries the
// gradients.
//
// The trainer owns the Meeting, which must live as long as its incarnation; one thread. It ends the
// waits of replicas that have not seen why nobody comes any more. Not for anything but the trainer
// and its stages: places travel inside calls.

namespace rondo::actors {

inline constexpr int kReplicasMax = 64;

enum class SumWay : unsigned char { kAuto, kShm, kZmq, kNccl };
[[nodiscard]] std::string_view to_string(SumWay way);
[[nodiscard]] bool parse(std::string_view text, SumWay& out);

// Where a replica can be met. It travels to the trainer and back to all.
struct MeetingPlace {
  std::string machine;   // this_machine(): equal where memory can be shared
  std::int64_t pid = 0;
  std::string address;   // ZeroMQ; empty: only shared memory will do
  // Asked for by SumWay::kNccl.
  std::string gpu;       // GpuGradient::gpu(): equal on the same device; empty: none
  std::string nccl;      // its version; empty:
  std::string no_nccl;   // why it cannot be loaded
};

// What all replicas are told.
struct MeetingPlan {
  std::uint64_t group = 0;            // incarnation
  std::uint64_t key = 0;              // random: frames without it are not ours
  std::int64_t pid = 0, memory = -1;  // whose descriptor the shared memory is; -1: over ZeroMQ
  bool on_gpus = false;               // NCCL carries the gradients
  std::vector<MeetingPlace> places;   // by replica
};

// Why the replicas of a stage cannot sum on their GPUs, in one sentence; empty: they can. `places`:
// by replica, as asked for by SumWay::kNccl.
[[nodiscard]] std::string why_not_on_gpus(const std::vector<MeetingPlace>& places);

// The trainer's side: the memory lives as long as the Meeting.
class Meeting {
 public:
  struct Options {
    std::uint64_t group = 0;
    std::size_t floats = 0;   // of a replica's gradient
    bool on_gpus = false;
  };
  // kOverloaded: there is no room for the memory.
  static Result<Meeting> make(const Options& options, std::vector<MeetingPlace> places);
  [[nodiscard]] const MeetingPlan& plan() const { return plan_; }
  // Ends the waits in its sums. `waits`: by replica, who may still be in one; may be repeated,
  // since a word over ZeroMQ may be lost.
  void end(const std::vector<bool>& waits, const std::string& reason) const;

 private:
  MeetingPlan plan_;
  OwnedFd memory_;
};

// Of the memory that replicas share: for the gradients of so many floats.
[[nodiscard]] std::size_t arena_bytes(std::size_t floats);

}  // namespace rondo::actors
