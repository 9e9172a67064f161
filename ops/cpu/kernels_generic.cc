// Compiled for the baseline processor: float where nothing better runs.
#define RONDO_OPS_ISA isa_generic
#include <rondo/ops/cpu/fill_table.h>

namespace rondo::ops {

void fill_generic(KernelTable<float>& table) {
  isa_generic::fill_table<isa_generic::Float16>(table, "generic");
}

}  // namespace rondo::ops
