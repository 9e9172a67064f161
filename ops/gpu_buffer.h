#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include <rondo/ops/gpu.h>
#include <rondo/ops/optimizer.h>

// Device memory and pinned host memory with an owner, and faults as exceptions.
//
// A GpuBuffer belongs to the thread and the life of its Gpu (gpu.h): it goes before it. Its bytes
// are not cleared. What the GPU refuses (it is full, it was taken away) is thrown as GpuFault, in
// one sentence; a wrong size is a bug and aborts. Copies to and from the host wait for the work
// that is in line before them.

namespace rondo::ops {

class GpuFault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// For calls of cuda::Entries: null is done, anything else is thrown.
void must(cuda::Fault fault);

// A step's rule and constants; the caller adds count and pointers.
[[nodiscard]] cuda::OptimizerStep gpu_optimizer_step(const OptimizerOptions&);

class GpuBuffer {
 public:
  GpuBuffer() = default;   // of no bytes
  GpuBuffer(Gpu& gpu, std::size_t bytes);
  ~GpuBuffer();
  GpuBuffer(GpuBuffer&& other) noexcept;
  GpuBuffer& operator=(GpuBuffer&& other) noexcept;

  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] void* raw() const { return data_; }
  [[nodiscard]] float* f() const { return static_cast<float*>(data_); }
  [[nodiscard]] double* d() const { return static_cast<double*>(data_); }
  [[nodiscard]] std::int32_t* i() const { return static_cast<std::int32_t*>(data_); }

  void fill(int byte);
  template <class T>
  void set(std::span<const T> from) {
    copy_in(from.data(), from.size_bytes());
  }
  template <class T>
  void get(std::span<T> to) const {
    copy_out(to.data(), to.size_bytes());
  }

 private:
  void copy_in(const void* from, std::size_t bytes);   // the first bytes
  void copy_out(void* to, std::size_t bytes) const;
  Gpu* gpu_ = nullptr;
  std::size_t bytes_ = 0;
  void* data_ = nullptr;
};

// Host memory that the GPU copies to beside its other work (Entries::copy_out_later). As GpuBuffer;
// not cleared. Its end waits for the copies.
class GpuHostBuffer {
 public:
  GpuHostBuffer() = default;   // of no bytes
  GpuHostBuffer(Gpu& gpu, std::size_t bytes);
  ~GpuHostBuffer();
  GpuHostBuffer(GpuHostBuffer&& other) noexcept;
  GpuHostBuffer& operator=(GpuHostBuffer&& other) noexcept;

  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] float* f() const { return static_cast<float*>(data_); }

 private:
  Gpu* gpu_ = nullptr;
  std::size_t bytes_ = 0;
  void* data_ = nullptr;
};

}  // namespace rondo::ops
