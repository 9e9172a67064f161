#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rondo/ops/cuda/entries.h>

// The door to a GPU. This file and gpu.cc know nothing of CUDA: the module with the kernels
// (librondo_ops_cuda.so) is opened at run time, so the same program runs with and without a GPU.
//
// open_gpu() either gives a Gpu or says in one sentence why the GPU is not used: no driver, no
// device, one that is too old, no module beside the program, a module of another version. Asking is
// cheap where there is no driver. It never throws and never ends the program.
// A Gpu owns one context (a device and a stream) and is used by one thread at a time; buffers and
// layers made from it must go before it. The module stays loaded for the life of the process.
// Where it is looked for: RONDO_CUDA_MODULE (a path), the program's folder, ../lib beside it, then
// where the system looks.

namespace rondo::ops {

class Gpu;

struct GpuOrReason {
  std::unique_ptr<Gpu> gpu;   // or null and
  std::string reason;         // "GPU not used: …"
};

[[nodiscard]] GpuOrReason open_gpu(int device = 0);

class Gpu {
 public:
  Gpu(const cuda::Entries& entries, cuda::Context* context);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  [[nodiscard]] const cuda::Entries& entries() const { return entries_; }
  [[nodiscard]] cuda::Context* context() const { return context_; }
  // What results depend on: GPU, driver, library builds. Part of a run's layout.
  [[nodiscard]] std::string numeric_profile() const;

 private:
  const cuda::Entries& entries_;
  cuda::Context* context_;
};

}  // namespace rondo::ops
