#pragma once

#include <string>

// The numeric profile names what this machine's bits depend on; it is stored with a layout and a
// checkpoint. "canonical-1": every kernel follows the canonical arithmetic, whatever the
// processor, so bits are equal everywhere. The rest after ';' is information only: library and
// vector width in use.

namespace rondo::ops {

[[nodiscard]] std::string numeric_profile();   // "canonical-1"
[[nodiscard]] std::string kernel_summary();    // "libxsmm 1.17 skx, pointwise avx512"

}  // namespace rondo::ops
