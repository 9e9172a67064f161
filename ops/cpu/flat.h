#pragma once

#include <algorithm>
#include <cstdint>

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/executor.h>
#include <rondo/ops/tensor.h>

// How elementwise ops share their work over threads: in ranges that depend on the count alone, so
// that the result does not depend on who computed which. Any thread; `body` must not throw. And
// whether an op's result goes past the caches.

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

// A result of this size leaves the caches before anybody reads it; written past them, its memory
// need not be read first. Rows of `row` elements must then begin on cache lines, and no input may
// lie in the same place.
inline constexpr Dim kStreamedBytes = Dim{16} << 20;

template <class T>
[[nodiscard]] bool is_streamed(const T* out, Dim count, Dim row = kTile) {
  constexpr Dim kLine = 64 / sizeof(T);
  return count * static_cast<Dim>(sizeof(T)) >= kStreamedBytes && row % kLine == 0 &&
         reinterpret_cast<std::uintptr_t>(out) % 64 == 0;
}

}  // namespace rondo::ops
