// Compiled for AVX2 (see CMakeLists.txt); runs only after the processor was asked.
#define RONDO_OPS_ISA isa_avx2
#include <rondo/ops/cpu/fill_table.h>

namespace rondo::ops {

void fill_avx2(KernelTable<float>& table) {
  isa_avx2::fill_table<isa_avx2::Float16>(table, "avx2");
}

}  // namespace rondo::ops
