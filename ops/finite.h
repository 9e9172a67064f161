#pragma once

#include <string>
#include <string_view>

#include <rondo/ops/executor.h>
#include <rondo/ops/tensor.h>

// Looks for NaN and infinity: one pass over a tensor at memory speed, meant for inputs, losses and
// gradients when something went wrong or a user asks for it; no op calls it by itself.
//
// The first dimension of the tensor is taken for time when it has two or more. Reads only; any
// thread; never fails.

namespace rondo::ops {

// Empty if all elements are finite. Otherwise one sentence with the first bad element, such as
// "input x holds NaN at step 3, element 17 of that step" or, without time, "weight_ih_l0 holds
// -infinity at element 9".
template <class T>
[[nodiscard]] std::string not_finite(const Executor&, std::string_view name, View<const T> x);

}  // namespace rondo::ops
