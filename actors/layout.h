#pragma once

#include <vector>

#include <rondo/actors/model.h>

// Where a run's work lies: replicas x stages x microbatches.
//
// A *slice* is a replica's part of the batch: its gradient is one addend of the sum, whoever
// computes it. A slice is cut into *microbatches*, which follow one another through the *stages*
// (consecutive layers). Parts that do not divide evenly differ by one, the earlier ones being
// larger. A run's result is a function of its layout, so the layout is stored in every checkpoint
// and reused on resume.
//
// Plain values; any thread.

namespace rondo::actors {

struct Layout {
  int replicas = 1;
  int stages = 1;
  int microbatches = 1;

  bool operator==(const Layout&) const = default;
};

// Rows [first, first + count) of something.
struct Span {
  int first = 0;
  int count = 0;
};

// Part `index` of `total` rows cut into `parts`. Requires: 0 <= index < parts <= total.
[[nodiscard]] Span part_of(int total, int parts, int index);

// The rows of the global batch that microbatch `microbatch` of slice `slice` works on.
[[nodiscard]] Span rows_of(const Layout& layout, int batch, int slice, int microbatch);

[[nodiscard]] LayerRange layers_of(const Layout& layout, int layers, int stage);

// 1F1B: the order in which a stage does its forwards (+m + 1) and backwards (-m - 1), m counted
// from 0. A stage keeps at most `stages - stage` activations (Narayanan et al. 2019,
// PipeDream-flush). Backwards come in ascending m.
[[nodiscard]] std::vector<int> one_forward_one_backward(const Layout& layout, int stage);

}  // namespace rondo::actors
