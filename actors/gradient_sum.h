#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <rondo/actors/meeting.h>
#include <rondo/base/result.h>

// GradientSum: one replica's part in summing the gradients of a stage over all replicas, while the
// backward pass still makes them.
//
// The gradient lies in `memory()`, in parts that the backward pass completes from the last one on.
// ready(part) hands one over; its sum begins beside the pass (collective/bucketer.h). finish()
// waits for all of them. Sums are formed in the fixed tree over replicas, so neither the way nor
// the moment shows in the bits. Between processes of one machine the gradients lie in memory that
// they share and nothing is copied; otherwise they travel over ZeroMQ. A gradient that is born on a
// GPU can stay there (MeetingPlan::on_gpus): then NCCL sums it in device memory, and the replicas
// are together over one of the other ways only to compare calls and to see deaths.
//
// Replicas meet once in each incarnation of the group (meeting.h). The first failure ends the
// incarnation for all of them, in words; the next one begins with open(). A replica that will not
// finish a step must say so by give_up() or leave by close(), so that nobody waits for it. Where
// memory is shared a killed one is seen at once; of all others (over ZeroMQ; on a node that fell
// silent) the trainer hears, and ends the waits by Meeting::end().
//
// Owned by a StageActor; one thread. An Error is lasting: a new incarnation would meet it again.

namespace rondo::collective {
class Bucketer;
class Collective;
class NcclGpu;
class ZmqPost;
}  // namespace rondo::collective

namespace rondo::actors {

class GpuGradient;

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
  // `parts`: floats of each part, as they lie one after another. `device`: where the gradient is
  // born on a GPU; outlives this. Requires: 1 < replicas.
  GradientSum(int replica, int replicas, std::vector<std::size_t> parts,
              GpuGradient* device = nullptr);
  ~GradientSum();
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;

  // Leaves what it was in. `way`: kShm; kZmq to listen for replicas elsewhere; kNccl as kShm, and
  // says what a sum on the GPU needs.
  Result<MeetingPlace> open(std::uint64_t group, SumWay way);
  // Waits until the others have joined too. Requires: open() of the same incarnation.
  Result<SumOutcome> meet(const MeetingPlan& plan);
  [[nodiscard]] bool has_met() const { return bucketer_ != nullptr; }
  // Gradient and sum are the device's; memory() and sum() are empty.
  [[nodiscard]] bool is_on_device() const { return on_gpu_ != nullptr; }

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
  Result<void> join(const MeetingPlan& plan);
  Result<void> join_shared(const MeetingPlan& plan);
  Result<void> join_zmq(const MeetingPlan& plan);
  Result<void> join_nccl();
  [[nodiscard]] std::size_t floats() const;

  int replica_;
  int replicas_;
  std::vector<std::size_t> parts_;
  GpuGradient* device_;
  std::uint64_t group_ = 0;
  std::unique_ptr<collective::ZmqPost> post_;     // until joined
  std::vector<float> own_;                        // where memory is not shared
  std::span<float> memory_;
  std::span<float> sum_;
  std::unique_ptr<collective::NcclGpu> on_gpu_;   // where the device has them
  std::unique_ptr<collective::Collective> collective_;
  std::unique_ptr<collective::Bucketer> bucketer_;   // uses the four above
};

}  // namespace rondo::actors
