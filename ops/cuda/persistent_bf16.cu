// The persistent kernels with products in bf16.

#include <rondo/ops/cuda/persistent_kernel.h>

namespace rondo::ops::cuda {

PersistentKernels persistent_bf16(std::int32_t cell, int units) {
  return persistent_kernels<InBf16>(cell, units);
}

}  // namespace rondo::ops::cuda
