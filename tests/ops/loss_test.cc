#include <rondo/ops/loss.h>

#include <gtest/gtest.h>

#include <cmath>

#include <rondo/ops/random.h>

namespace rondo::ops {
namespace {

template <class T>
Tensor<T> drawn(Shape shape, std::uint32_t number, double bound = 2) {
  Tensor<T> t(shape);
  fill_uniform<T>({7, 0, 0, number}, -bound, bound, t);
  return t;
}

Tensor<std::int32_t> some_targets(Dim rows, Dim classes) {
  Tensor<std::int32_t> targets(Shape{rows});
  for (Dim i = 0; i < rows; ++i) targets[i] = static_cast<std::int32_t>(i * 5 % classes);
  return targets;
}

class CrossEntropyTest : public testing::TestWithParam<Dim> {};

TEST_P(CrossEntropyTest, GradientEqualsCentralDifferences) {
  const Executor executor(1);
  const Dim rows = 3, classes = GetParam();
  Tensor<double> x = drawn<double>({rows, classes}, 1), d({rows, classes}), losses({rows});
  const auto targets = some_targets(rows, classes);
  const double scale = 0.25;
  const double loss = softmax_cross_entropy<double>(executor, x, targets, scale, losses, d);
  EXPECT_NEAR(loss, losses[0] + losses[1] + losses[2], 1e-12);
  for (Dim i = 0; i < x.count(); ++i) {
    const double old = x[i], step = 1e-5;
    x[i] = old + step;
    const double up = softmax_cross_entropy<double>(executor, x, targets, scale, losses, {});
    x[i] = old - step;
    const double down = softmax_cross_entropy<double>(executor, x, targets, scale, losses, {});
    x[i] = old;
    ASSERT_NEAR(d[i], scale * (up - down) / (2 * step), 1e-9) << i;
  }
}

TEST_P(CrossEntropyTest, FloatFollowsDoubleAlsoInPlace) {
  const Executor executor(1);
  const Dim rows = 100, classes = GetParam();
  Tensor<double> x = drawn<double>({rows, classes}, 2, 30), d({rows, classes}), losses({rows});
  Tensor<float> fx = drawn<float>({rows, classes}, 2, 30), fl({rows});
  const auto targets = some_targets(rows, classes);
  const double wanted = softmax_cross_entropy<double>(executor, x, targets, 0.01, losses, d);
  const double got = softmax_cross_entropy<float>(executor, fx, targets, 0.01, fl, fx);
  EXPECT_NEAR(got, wanted, 1e-5 * wanted + 1e-5);
  for (Dim i = 0; i < d.count(); ++i) ASSERT_NEAR(fx[i], d[i], 1e-8);
}

INSTANTIATE_TEST_SUITE_P(Widths, CrossEntropyTest, testing::Values(1, 2, 15, 16, 17, 65));

TEST(LossTest, EqualLogitsCostTheLogOfTheirNumber) {
  Tensor<float> x({4, 65}), losses({4});
  const double loss =
      softmax_cross_entropy<float>(Executor(1), x, some_targets(4, 65), 1, losses, {});
  EXPECT_NEAR(loss, 4 * std::log(65.0), 1e-5);
}

TEST(LossTest, SquaredErrorAndItsGradientAreExactOnSmallNumbers) {
  const Executor executor(1);
  Tensor<float> y({3, 1}), target({3, 1}), d({3, 1});
  y[0] = 1, y[1] = 2, y[2] = -3;
  target[0] = 3, target[1] = 2, target[2] = 1;
  EXPECT_EQ(squared_error<float>(executor, y, target, 0.5, d), 4 + 16);
  EXPECT_EQ(d[0], -2);
  EXPECT_EQ(d[1], 0);
  EXPECT_EQ(d[2], -4);
}

TEST(LossTest, SoftmaxSumsToOneAndFollowsTheTemperature) {
  const Executor executor(1);
  const Tensor<float> x = drawn<float>({5, 65}, 3);
  Tensor<float> warm({5, 65}), cold({5, 65});
  softmax<float>(executor, x, 1.0, warm);
  softmax<float>(executor, x, 0.01, cold);
  for (Dim row = 0; row < 5; ++row) {
    double sum = 0;
    float largest = 0;
    for (Dim i = 0; i < 65; ++i) {
      sum += warm[row * 65 + i];
      largest = std::max(largest, cold[row * 65 + i]);
      double all = 0;
      for (Dim j = 0; j < 65; ++j)
        all += std::exp(static_cast<double>(x[row * 65 + j] - x[row * 65 + i]));
      ASSERT_NEAR(warm[row * 65 + i], 1 / all, 1e-6);
    }
    EXPECT_NEAR(sum, 1, 1e-6);
    EXPECT_GT(largest, 0.5F);
  }
}

}  // namespace
}  // namespace rondo::ops
