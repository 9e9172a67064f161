#include <rondo/ops/gpu_buffer.h>

#include <utility>

#include <rondo/ops/check.h>

namespace rondo::ops {

void must(cuda::Fault fault) {
  if (fault != nullptr) throw GpuFault(fault);
}

cuda::OptimizerStep gpu_optimizer_step(const OptimizerOptions& o) {
  auto step = with_constants<cuda::OptimizerStep>(o);
  step.rule = static_cast<std::int32_t>(o.rule);
  return step;
}

GpuBuffer::GpuBuffer(Gpu& gpu, std::size_t bytes) : gpu_(&gpu), bytes_(bytes) {
  if (bytes > 0) must(gpu.entries().allocate(gpu.context(), bytes, &data_));
}

GpuBuffer::~GpuBuffer() {
  if (data_ != nullptr) (void)gpu_->entries().release(gpu_->context(), data_);
}

GpuBuffer::GpuBuffer(GpuBuffer&& other) noexcept
    : gpu_(other.gpu_),
      bytes_(std::exchange(other.bytes_, 0)),
      data_(std::exchange(other.data_, nullptr)) {}

GpuBuffer& GpuBuffer::operator=(GpuBuffer&& other) noexcept {
  std::swap(gpu_, other.gpu_);
  std::swap(bytes_, other.bytes_);
  std::swap(data_, other.data_);
  return *this;
}

void GpuBuffer::fill(int byte) {
  if (bytes_ > 0) must(gpu_->entries().fill(gpu_->context(), data_, byte, bytes_));
}

void GpuBuffer::copy_in(const void* from, std::size_t bytes) {
  OPS_CHECK(bytes <= bytes_);
  if (bytes > 0) must(gpu_->entries().copy_in(gpu_->context(), data_, from, bytes));
}

void GpuBuffer::copy_out(void* to, std::size_t bytes) const {
  OPS_CHECK(bytes <= bytes_);
  if (bytes > 0) must(gpu_->entries().copy_out(gpu_->context(), to, data_, bytes));
}

GpuHostBuffer::GpuHostBuffer(Gpu& gpu, std::size_t bytes) : gpu_(&gpu), bytes_(bytes) {
  if (bytes > 0) must(gpu.entries().allocate_host(gpu.context(), bytes, &data_));
}

GpuHostBuffer::~GpuHostBuffer() {
  if (data_ != nullptr) (void)gpu_->entries().release_host(gpu_->context(), data_);
}

GpuHostBuffer::GpuHostBuffer(GpuHostBuffer&& other) noexcept
    : gpu_(other.gpu_),
      bytes_(std::exchange(other.bytes_, 0)),
      data_(std::exchange(other.data_, nullptr)) {}

GpuHostBuffer& GpuHostBuffer::operator=(GpuHostBuffer&& other) noexcept {
  std::swap(gpu_, other.gpu_);
  std::swap(bytes_, other.bytes_);
  std::swap(data_, other.data_);
  return *this;
}

}  // namespace rondo::ops
