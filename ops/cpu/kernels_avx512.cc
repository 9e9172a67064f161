// Compiled for AVX512 (see CMakeLists.txt); runs only after the processor was asked.
#define RONDO_OPS_ISA isa_avx512
#include <rondo/ops/cpu/fill_table.h>

namespace rondo::ops {

void fill_avx512(KernelTable<float>& table) {
  isa_avx512::fill_table<isa_avx512::Float16>(table, "avx512");
}

}  // namespace rondo::ops
