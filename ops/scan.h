#pragma once

#include <rondo/ops/executor.h>
#include <rondo/ops/tensor.h>

// The linear recurrence h_t = a_t·h_{t−1} + b_t over T steps of M independent lanes, and its
// gradient.
//
// Two steps in a row are one step of the same kind: (a1,b1) then (a2,b2) is (a1·a2, a2·b1 + b2). So
// time is cut into blocks of 256 steps: each block's own (a,b) is found without knowing what came
// before, the blocks' carries follow one after another, and each block then runs from its carry.
// Threads take blocks, lanes or both. Nothing is ever divided by a product of a's, so a product
// that underflows only means that the past is forgotten: no logarithms are needed.
//
// Bits: the carries are always combined from blocks of 256, whoever computes them, so the result
// depends on T alone, not on M, threads or the instruction set. It differs from the plain loop by
// rounding. The caller owns all memory; wrong shapes abort.

namespace rondo::ops {

inline constexpr Dim kScanBlock = 256;   // steps; part of the definition of the bits

// a, b [T,M] read; h [T+1,M]: h[0] is given, the rest is written. No aliasing.
template <class T>
void linear_scan_forward(const Executor&, In<T> a, In<T> b, View<T> h, Tensor<T>& scratch);

// With g_t = dh_t + a_{t+1}·g_{t+1}: db_t = g_t, da_t = g_t·h_{t−1}, dfirst = a_1·g_1.
//   dh [T,M] read; da, db [T,M] written (da may be a, db may be dh); carry [M] in: the gradient of
//   the last h beyond dh (or zeros), out: that of h[0].
template <class T>
struct LinearScanBackward {
  View<const T> a, h, dh;
  View<T> da, db, carry;
};
template <class T>
void linear_scan_backward(const Executor&, const LinearScanBackward<T>&, Tensor<T>& scratch);

}  // namespace rondo::ops
