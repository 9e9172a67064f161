// double, compiled for the baseline processor: for checks. Beside float's, so that two can compile.
#define RONDO_OPS_ISA isa_generic
#include <rondo/ops/cpu/fill_table.h>

namespace rondo::ops {

void fill_generic_double(KernelTable<double>& table) {
  isa_generic::fill_table<isa_generic::Double16>(table, "generic");
}

}  // namespace rondo::ops
