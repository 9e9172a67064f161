#pragma once

#include <string>

// The numeric profile names what this machine's bits depend on; it is stored with a layout and a
// checkpoint, and a run resumed under another profile says that its bits may differ.
// "canonical-1": every kernel follows the canonical arithmetic, whatever the processor, so bits are
// equal everywhere. The summary is for people: which library and which vector width are in use.
// Any thread; both answers are constant for the life of the process.

namespace rondo::ops {

[[nodiscard]] std::string numeric_profile();   // "canonical-1"
[[nodiscard]] std::string kernel_summary();    // "libxsmm 1.17 skx, pointwise avx512"

}  // namespace rondo::ops
