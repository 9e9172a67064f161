#pragma once

#include <cstdint>

#include <rondo/ops/executor.h>
#include <rondo/ops/recurrent.h>
#include <rondo/ops/tensor.h>

// An embedding is a gather of rows, its gradient a scatter-add in ascending order of r: never a
// one-hot product.
//   table [V,E]   ids [R], each in [0,V)   y [R,E]
// For models whose tokens have vectors of their own; a recurrent layer reads ids by itself
// (recurrent.h). The caller owns all memory; an id out of range aborts. Bits do not depend on
// threads.

namespace rondo::ops {

template <class T>
void embedding_forward(const Executor&, In<T> table, View<const std::int32_t> ids, View<T> y);

// dtable [V,E] is written (rows without an id become 0) or added to. May not alias dy.
template <class T>
void embedding_backward(const Executor&, In<T> dy, View<const std::int32_t> ids, View<T> dtable,
                        GradientMode mode = GradientMode::kWrite);

}  // namespace rondo::ops
