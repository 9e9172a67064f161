#pragma once

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include <rondo/actors/run_spec.h>

#include "../ops/cuda/variable.h"

// Runs on the emulated GPU, for tests.

namespace rondo::actors {

// The emulated module for this process and those that it starts.
class OnGpu {
 public:
  explicit OnGpu(const char* kind = "") {
    setenv("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE, 1);
    setenv("RONDO_EMULATED_GPU", kind, 1);
  }
  ~OnGpu() {
    unsetenv("RONDO_CUDA_MODULE");
    unsetenv("RONDO_EMULATED_GPU");
  }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;
};

inline RunSpec on_gpu(RunSpec spec) {
  spec.device = Device::kGpu;
  return spec;
}

inline double relative_error(const std::vector<float>& got, const std::vector<float>& wanted) {
  if (got.size() != wanted.size()) return HUGE_VAL;
  double error = 0, size = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double want = static_cast<double>(wanted[i]);
    error += (static_cast<double>(got[i]) - want) * (static_cast<double>(got[i]) - want);
    size += want * want;
  }
  return std::sqrt(error / size);
}

}  // namespace rondo::actors
