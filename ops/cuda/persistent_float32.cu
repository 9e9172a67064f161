// The persistent kernels with products in float32.

#include <rondo/ops/cuda/persistent_kernel.h>

namespace rondo::ops::cuda {

PersistentKernels persistent_float32(std::int32_t cell, int units) {
  return persistent_kernels<InFloat32>(cell, units);
}

}  // namespace rondo::ops::cuda
