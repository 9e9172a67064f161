#pragma once

#include <rondo/ops/executor.h>
#include <rondo/ops/recurrent.h>
#include <rondo/ops/tensor.h>

// Layer normalisation over features (PyTorch's nn.LayerNorm of the last dimension):
//
//   y = (x − mean) / √(variance + ε) · weight + bias      per row, variance over F (not F − 1)
//
// R rows, F features. The caller owns all memory, also mean and inverse of every row, which
// forward leaves for backward. Bits: a row's sums are four chains of 16 lanes, joined in a fixed
// tree; the gradients of weight and bias are sums over ascending rows inside blocks of 64 rows,
// the blocks ascending. So they do not depend on threads or on the instruction set. One call at a
// time on one scratch. Wrong shapes and ε <= 0 abort.

namespace rondo::ops {

inline constexpr double kLayerNormEpsilon = 1e-5;   // PyTorch's

// LayerNormParams<const T>: the parameters. LayerNormParams<T>: their gradients.
template <class T>
struct LayerNormParams {
  View<T> weight, bias;   // [F]
};

// mean and inverse [R]: mean and 1 / √(variance + ε) of every row.
template <class T>
struct LayerNormRows {
  View<T> mean, inverse;
};

// x [R,F] read, y [R,F] written; y may be x itself if backward does not follow.
template <class T>
void layer_norm_forward(const Executor&, const LayerNormParams<const T>&, double epsilon, In<T> x,
                        View<T> y, const LayerNormRows<T>& rows);

template <class T>
struct LayerNormBackward {
  LayerNormParams<const T> params;
  LayerNormRows<const T> rows;   // as forward wrote them
  View<const T> x, dy;           // [R,F]
  View<T> dx;                    // [R,F], written; may be dy itself
  LayerNormParams<T> grads;      // written or added to
  GradientMode mode = GradientMode::kWrite;
};

// The scratch grows at the first call of a shape and is kept by the caller.
template <class T>
void layer_norm_backward(const Executor&, const LayerNormBackward<T>&, Tensor<T>& scratch);

}  // namespace rondo::ops
