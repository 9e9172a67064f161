#pragma once

#include <cstddef>

#include <rondo/actors/collective/nccl_collective.h>
#include <rondo/ops/gpu_buffer.h>

// The device of a NcclCollective on a GPU: NCCL's work goes in line on the stream of the Gpu's
// context, behind the ops that made the data and before those that read the result, so nothing else
// need wait. Sums of the fixed tree are added by the module's kernel.
//
// The Gpu and this outlive the collective; one thread uses all three. Data of a collective are
// device memory: GpuBuffers, say. A fault of the device is kUnavailable, in its words, and ends the
// incarnation.

namespace rondo::collective {

class NcclGpu {
 public:
  explicit NcclGpu(ops::Gpu& gpu) : gpu_(gpu) {}
  NcclGpu(const NcclGpu&) = delete;
  NcclGpu& operator=(const NcclGpu&) = delete;

  [[nodiscard]] Result<NcclDevice> device();

 private:
  [[nodiscard]] Result<bool> is_idle() const;
  [[nodiscard]] Result<void*> scratch(std::size_t bytes);
  [[nodiscard]] Result<void> copy(void* to, const void* from, std::size_t bytes) const;
  [[nodiscard]] Result<void> combine(const Operation& op, const void* left, const void* right,
                                     std::size_t count, void* out) const;

  ops::Gpu& gpu_;
  ops::GpuBuffer scratch_;
};

}  // namespace rondo::collective
