#include <rondo/actors/collective/nccl_gpu.h>

#include <utility>

namespace rondo::collective {

namespace {

Result<void> done(ops::cuda::Fault fault) {
  if (fault != nullptr) return Error(ErrorCode::kUnavailable, fault);
  return {};
}

}  // namespace

Result<NcclDevice> NcclGpu::device() {
  NcclDevice device;
  if (auto asked = done(gpu_.entries().stream(gpu_.context(), &device.stream)); !asked)
    return asked.error();
  device.is_idle = [this] { return is_idle(); };
  device.scratch = [this](std::size_t bytes) { return scratch(bytes); };
  device.copy = [this](void* to, const void* from, std::size_t bytes) {
    return copy(to, from, bytes);
  };
  device.combine = [this](const Operation& op, const void* left, const void* right,
                          std::size_t count,
                          void* out) { return combine(op, left, right, count, out); };
  return device;
}

Result<bool> NcclGpu::is_idle() const {
  int idle = 0;
  if (auto asked = done(gpu_.entries().idle(gpu_.context(), &idle)); !asked) return asked.error();
  return idle != 0;
}

// Growing waits for what still uses the old memory.
Result<void*> NcclGpu::scratch(std::size_t bytes) {
  if (scratch_.bytes() >= bytes) return scratch_.raw();
  try {
    scratch_ = ops::GpuBuffer();
    scratch_ = ops::GpuBuffer(gpu_, bytes);
  } catch (const ops::GpuFault& fault) {
    return Error(ErrorCode::kUnavailable, fault.what());
  }
  return scratch_.raw();
}

Result<void> NcclGpu::copy(void* to, const void* from, std::size_t bytes) const {
  return done(gpu_.entries().copy(gpu_.context(), to, from, bytes));
}

Result<void> NcclGpu::combine(const Operation& op, const void* left, const void* right,
                              std::size_t count, void* out) const {
  using ops::cuda::Joined;
  using ops::cuda::Number;
  const ops::cuda::Combine both{
      .number = op.dtype == Dtype::kFloat32 ? Number::kFloat32 : Number::kFloat64,
      .how = op.combine == collective::Combine::kSum ? Joined::kSum : Joined::kMax,
      .count = static_cast<ops::cuda::Size>(count),
      .left = left,
      .right = right,
      .out = out};
  return done(gpu_.entries().combine(gpu_.context(), &both));
}

}  // namespace rondo::collective
