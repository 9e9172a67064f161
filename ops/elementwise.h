#pragma once

#include <span>

#include <rondo/ops/executor.h>
#include <rondo/ops/tensor.h>

// Sums, norms and clipping over flat buffers. The caller owns all memory; unequal counts abort.
//
// Order of reductions: the buffer is cut into blocks
// of 1024; inside a block lane l of 16 takes elements l, l+16, … in turn, the lanes are added
// pairwise (8, 4, 2, 1), and the blocks are added pairwise in double. So the same bits on every
// machine and for every number of threads.

namespace rondo::ops {

template <class T>
[[nodiscard]] double squared_norm(const Executor&, View<const T> x);   // Σ x²

// Adds values pairwise in a fixed binary tree: ((0+1)+(2+3))+…; a power-of-two block is a subtree.
[[nodiscard]] double tree_sum(std::span<const double> values);

template <class T>
void add(const Executor&, In<T> a, In<T> b, View<T> out);   // out = a + b; may alias either
template <class T>
void scale(const Executor&, In<T> a, double factor, View<T> out);   // a·T(factor); may alias
template <class T>
void clip_value(const Executor&, In<T> a, double limit, View<T> out);   // [−limit, limit]

// The factor that brings a gradient of this squared norm (summed over all tensors) to `limit`; 1
// if it is shorter.
[[nodiscard]] double clip_norm_factor(double squared_norm, double limit);

}  // namespace rondo::ops
