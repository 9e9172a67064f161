#pragma once

#include <cstdint>

#include <rondo/ops/executor.h>
#include <rondo/ops/tensor.h>

// Losses, forward and gradient in one pass over hot rows.
//
// Both return the sum in double over rows (ascending pairs of a fixed tree), so that the caller can
// join slices of uneven size: mean = sum / count over all of them. `scale` multiplies the
// gradient: 1 / (tokens of the whole batch) gives the gradient of that mean.

namespace rondo::ops {

// Softmax cross-entropy.   logits [R,V]   targets [R], each in [0,V)
//   row_loss [R]     scratch and result: −ln p(target) of every row, written
//   dlogits  [R,V]   (softmax − one-hot)·scale, written; may be `logits` itself; optional
template <class T>
[[nodiscard]] double softmax_cross_entropy(const Executor&, In<T> logits,
                                           View<const std::int32_t> targets, double scale,
                                           View<T> row_loss, View<T> dlogits);

// Squared error: Σ (y − target)², and dy = 2·(y − target)·scale, written; may be `y` itself;
// optional.
template <class T>
[[nodiscard]] double squared_error(const Executor&, In<T> y, In<T> target, double scale,
                                   View<T> dy);

// probabilities [R,V] = softmax(logits / temperature); may be `logits` itself.
template <class T>
void softmax(const Executor&, In<T> logits, double temperature, View<T> probabilities);

}  // namespace rondo::ops
