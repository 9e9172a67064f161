#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <rondo/actors/stage.h>
#include <rondo/ops/gpu_buffer.h>

// GpuGradient: the gradient that a stage's backward pass makes on a GPU, and its way into the sum
// over replicas.
//
// The pass writes it part by part and says when it has put the last work of a part in line;
// hand_over() then waits for one part after the other and tells the sink. To a sink in host memory
// each part is copied beside the pass. For a sink on the device nothing is copied: the sum is
// formed in sum(), by a second line of work beside the pass, which belongs to whoever sums.
//
// Owned by the stage, one thread; but line(), made() and sum() are the summing thread's from the
// first part that the sink hears of until the sum is waited for. The Gpu outlives it. Throws
// ops::GpuFault. Not for stages on the cores: their gradient is born where the others read it.

namespace rondo::actors {

class GpuGradient {
 public:
  // `parts`: floats of each, as they lie one after another.
  GpuGradient(ops::Gpu& gpu, std::vector<std::size_t> parts);
  GpuGradient(const GpuGradient&) = delete;
  GpuGradient& operator=(const GpuGradient&) = delete;

  // Device memory of all parts.
  [[nodiscard]] float* f() const { return made_.f(); }
  void get(std::span<float> to) const { made_.get(to); }

  void send_to(Stage::GradientSink sink);
  [[nodiscard]] bool is_sent() const { return sink_.ready != nullptr; }
  // All work that makes the part is in line.
  void part_is_made(std::size_t part);
  // The last part first. Requires: all parts were made, a sink. `beside`: a sum on the device may
  // begin while parts are still being made. A library's kernel that waits for another GPU holds
  // processors, so not beside kernels whose own blocks wait for one another.
  void hand_over(bool beside);
  // What an update reads, in device memory: the sum in `host`; where that is empty the sum on the
  // device, which must be complete; without a sink this gradient itself.
  [[nodiscard]] const float* summed(std::span<const float> host);

  // For a sum on the device. The same name: the same device.
  [[nodiscard]] const std::string& gpu() const { return name_; }
  [[nodiscard]] ops::Gpu& line();   // the second one, opened when first asked for
  [[nodiscard]] std::span<float> made() const { return {made_.f(), floats_}; }
  [[nodiscard]] std::span<float> sum() const { return {sum_.f(), floats_}; }

 private:
  [[nodiscard]] const ops::cuda::Entries& api() const { return gpu_.entries(); }
  [[nodiscard]] ops::cuda::Context* context() const { return gpu_.context(); }

  ops::Gpu& gpu_;
  std::string name_;
  std::vector<std::size_t> parts_;
  std::size_t floats_ = 0;
  std::unique_ptr<ops::Gpu> line_;
  ops::GpuBuffer made_, sum_;
  ops::GpuHostBuffer copies_;            // on their way to the sink
  std::vector<std::uint64_t> numbers_;   // by part: of its copy, or of its end in the line
  Stage::GradientSink sink_;
};

}  // namespace rondo::actors
