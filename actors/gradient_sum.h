#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// GradientSum: one replica's part in summing the gradients of a stage over all replicas, while the
// backward pass still makes them.
//
// The gradient lies in `memory()`, in parts that the backward pass completes from the last one on.
// ready(part) hands one over; its sum begins beside the pass (collective/bucketer.h). finish()
// waits for all of them. Sums are formed in the fixed tree over replicas, so neither the way nor
// the moment shows in the bits. Between processes of one machine the gradients lie in memory that
// they share and nothing is copied; otherwise they travel over ZeroMQ.
//
// Replicas meet once in each incarnation of the group: everybody says its place, the trainer makes
// a Meeting of them, tells all, and they join. The first failure ends the incarnation for all of
// them, in words; the next one begins with open(). A replica that will not finish a step must say
// so by give_up() or leave by close(), so that nobody waits for it. Where memory is shared a killed
// one is seen at once; of all others (over ZeroMQ; on a node that fell silent) the trainer hears,
// and ends the waits by Meeting::end().
//
// Owned by a StageActor; one thread. An Error is lasting: a new incarnation would meet it again.

namespace rondo::collective {
class Bucketer;
class Collective;
class ZmqPost;
}  // namespace rondo::collective

namespace rondo::actors {

inline constexpr int kReplicasMax = 64;

enum class SumWay : unsigned char { kAuto, kShm, kZmq };
[[nodiscard]] std::string_view to_string(SumWay way);
[[nodiscard]] bool parse(std::string_view text, SumWay& out);

// Where a replica can be met. It travels to the trainer and back to all.
struct MeetingPlace {
  std::string machine;   // equal where memory can be shared
  std::int64_t pid = 0;
  std::string address;   // ZeroMQ; empty: only shared memory will do
};
[[nodiscard]] std::string this_machine();

// What all replicas are told.
struct MeetingPlan {
  std::uint64_t group = 0;            // incarnation
  std::uint64_t key = 0;              // random: frames without it are not ours
  std::int64_t pid = 0, memory = -1;  // whose descriptor the shared memory is; -1: over ZeroMQ
  std::vector<MeetingPlace> places;   // by replica
};

// The trainer's side: the memory lives as long as the Meeting.
class Meeting {
 public:
  // `floats`: of a replica's gradient. kOverloaded: there is no room for the memory.
  static Result<Meeting> make(std::uint64_t group, std::vector<MeetingPlace> places,
                              std::size_t floats);
  [[nodiscard]] const MeetingPlan& plan() const { return plan_; }
  // Ends the waits in its sums. `waits`: by replica, who may still be in one; may be repeated,
  // since a word over ZeroMQ may be lost.
  void end(const std::vector<bool>& waits, const std::string& reason) const;

 private:
  MeetingPlan plan_;
  OwnedFd memory_;
};

// How a step's sum ended for a replica.
enum class SumEnd : unsigned char {
  kDone,
  kGivenUp,   // here or by another replica, because something else had failed
  kLost       // a new incarnation may succeed
};
struct SumOutcome {
  SumEnd end = SumEnd::kDone;
  std::string why;
};

class GradientSum {
 public:
  // `parts`: floats of each part, as they lie one after another. Requires: 1 < replicas.
  GradientSum(int replica, int replicas, std::vector<std::size_t> parts);
  ~GradientSum();
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;

  // Leaves what it was in. `way`: kShm, or kZmq to listen for replicas elsewhere.
  Result<MeetingPlace> open(std::uint64_t group, SumWay way);
  // Waits until the others have joined too. Requires: open() of the same incarnation.
  Result<SumOutcome> meet(const MeetingPlan& plan);
  [[nodiscard]] bool has_met() const { return bucketer_ != nullptr; }

  // Valid until close() or open(). Requires: has_met().
  [[nodiscard]] std::span<float> memory() const { return memory_; }
  void ready(std::size_t part);
  // When it is done, sum() is laid out as memory() and valid until the next step's first ready().
  // Requires: all parts were handed over.
  Result<SumOutcome> finish();
  [[nodiscard]] std::span<const float> sum() const { return sum_; }
  // The step will not be finished here: ends the others' waits.
  void give_up(const std::string& reason);
  void close();

 private:
  Result<void> join_shared(const MeetingPlan& plan);
  Result<void> join_zmq(const MeetingPlan& plan);
  [[nodiscard]] std::size_t floats() const;

  int replica_;
  int replicas_;
  std::vector<std::size_t> parts_;
  std::uint64_t group_ = 0;
  std::unique_ptr<collective::ZmqPost> post_;     // until joined
  std::vector<float> own_;                        // where memory is not shared
  std::span<float> memory_;
  std::span<float> sum_;
  std::unique_ptr<collective::Collective> collective_;
  std::unique_ptr<collective::Bucketer> bucketer_;   // uses the three above
};

}  // namespace rondo::actors
