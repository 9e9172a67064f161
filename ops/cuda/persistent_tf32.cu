// The persistent kernels with products in TF32.

#include <rondo/ops/cuda/persistent_kernel.h>

namespace rondo::ops::cuda {

PersistentKernels persistent_tf32(std::int32_t cell, int units) {
  return persistent_kernels<InTf32>(cell, units);
}

}  // namespace rondo::ops::cuda
