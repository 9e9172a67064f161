#pragma once

#include <algorithm>

#include <rondo/ops/executor.h>
#include <rondo/ops/tensor.h>

// How elementwise ops share their work over threads: in ranges that depend on the count alone, so
// that the result does not depend on who computed which. Any thread; `body` must not throw.

namespace rondo::ops {

// Cuts [0, count) into ranges of 32768 (a multiple of every block that a reduction uses):
// body(from, to).
template <class Body>
void for_flat(const Executor& executor, Dim count, const Body& body) {
  constexpr Dim kRange = 32768;
  executor.run(static_cast<int>((count + kRange - 1) / kRange), [&](int part) {
    body(part * kRange, std::min(count, (part + 1) * kRange));
  });
}

}  // namespace rondo::ops
