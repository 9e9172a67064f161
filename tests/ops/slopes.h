#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <span>
#include <utility>

#include <rondo/ops/tensor.h>

// The check that every backward pass answers to: each element of a gradient is the slope of the
// objective by central differences, in double. Tests only.

namespace rondo::ops {

using ValueAndGradient = std::pair<Tensor<double>*, Tensor<double>*>;

struct SlopeCheck {
  double slack = 0;
  double step = 1e-5;   // the error is about step²·f''' + 1e-16·|f|/step
  Dim stride = 1;       // every so many elements
};

inline void expect_slopes(std::span<const ValueAndGradient> pairs,
                          const std::function<double()>& objective, const SlopeCheck& how) {
  int which = 0;
  for (const auto& [value, gradient] : pairs) {
    for (Dim i = 0; i < value->count(); i += how.stride) {
      const double old = (*value)[i];
      (*value)[i] = old + how.step;
      const double up = objective();
      (*value)[i] = old - how.step;
      const double down = objective();
      (*value)[i] = old;
      ASSERT_NEAR((*gradient)[i], (up - down) / (2 * how.step), how.slack)
          << "tensor " << which << " element " << i;
    }
    ++which;
  }
}

}  // namespace rondo::ops
