#include <rondo/ops/dropout.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include <rondo/ops/finite.h>

namespace rondo::ops {
namespace {

Tensor<float> ones(Shape shape) {
  Tensor<float> t(shape);
  t.fill(1);
  return t;
}

TEST(DropoutTest, KeepsWhatTheCounterSaysAndScalesIt) {
  const Dim steps = 3, batch = 5, features = 67;
  const DropoutOptions options{.probability = 0.3, .key = {9, 4, 100, 7}, .first_time = 2};
  const Tensor<float> x = ones({steps, batch, features});
  Tensor<float> y(x.shape());
  dropout<float>(Executor(1), options, x, y);
  for (Dim t = 0; t < steps; ++t) {
    for (Dim n = 0; n < batch; ++n) {
      for (Dim f = 0; f < features; ++f) {
        RandomKey key = options.key;
        key.sample += static_cast<std::uint32_t>(n);
        const double u = random_uniform(key, static_cast<std::uint64_t>((2 + t) * 68 + f));
        ASSERT_EQ(y[(t * batch + n) * features + f], u >= 0.3 ? static_cast<float>(1 / 0.7) : 0.0F);
      }
    }
  }
}

TEST(DropoutTest, EveryCuttingKeepsTheSameElements) {
  const Dim steps = 8, batch = 70, features = 50;
  const DropoutOptions options{.probability = 0.5, .key = {1, 2, 0, 3}};
  const Tensor<float> x = ones({steps, batch, features});
  Tensor<float> whole(x.shape()), two(x.shape());
  dropout<float>(Executor(1), options, x, whole);
  dropout<float>(Executor(2), options, x, two);
  const auto bytes = static_cast<std::size_t>(x.count()) * sizeof(float);
  EXPECT_EQ(0, std::memcmp(whole.data(), two.data(), bytes));
  const Dim first = 13, part = 20;   // sequences 13 to 32, times 3 to 7
  DropoutOptions cut = options;
  cut.key.sample = static_cast<std::uint32_t>(first);
  cut.first_time = 3;
  Tensor<float> y = ones({5, part, features});
  dropout<float>(Executor(1), cut, y, y);
  for (Dim t = 0; t < 5; ++t)
    EXPECT_EQ(0, std::memcmp(y.data() + t * part * features,
                             whole.data() + ((3 + t) * batch + first) * features,
                             static_cast<std::size_t>(part * features) * sizeof(float)));
}

TEST(DropoutTest, KeepsTheExpectedShareAndTheMean) {
  const Tensor<float> x = ones({100, 100, 100});
  for (const double p : {0.1, 0.5, 0.9}) {
    Tensor<float> y(x.shape());
    dropout<float>(Executor(2), {.probability = p, .key = {3, 1, 0, 0}}, x, y);
    double sum = 0;
    for (Dim i = 0; i < y.count(); ++i) sum += static_cast<double>(y[i]);
    // One standard deviation of the mean of 1e6 draws is √(p/(1−p))/1000.
    EXPECT_NEAR(sum / 1e6, 1, 5e-3 * std::sqrt(p / (1 - p))) << p;
  }
}

TEST(DropoutTest, EvaluationCopies) {
  const Tensor<float> x = ones({2, 3, 5});
  Tensor<float> y(x.shape());
  dropout<float>(Executor(1), {.probability = 0.5, .training = false}, x, y);
  for (Dim i = 0; i < y.count(); ++i) ASSERT_EQ(y[i], 1);
}

// y is linear in x, so the gradient of Σ y·dy is dropout(dy): checked by differences in double.
TEST(DropoutTest, TheGradientIsTheSameFunction) {
  const DropoutOptions options{.probability = 0.4, .key = {5, 6, 7, 8}};
  Tensor<double> x({2, 3, 9}), dy({2, 3, 9}), dx({2, 3, 9}), y({2, 3, 9});
  fill_uniform<double>({1, 0, 0, 1}, -1, 1, x);
  fill_uniform<double>({1, 0, 0, 2}, -1, 1, dy);
  dropout<double>(Executor(1), options, dy, dx);
  const auto objective = [&] {
    dropout<double>(Executor(1), options, x, y);
    double sum = 0;
    for (Dim i = 0; i < y.count(); ++i) sum += y[i] * dy[i];
    return sum;
  };
  for (Dim i = 0; i < x.count(); ++i) {
    const double old = x[i];
    x[i] = old + 0.5;
    const double up = objective();
    x[i] = old - 0.5;
    const double down = objective();
    x[i] = old;
    ASSERT_NEAR(dx[i], up - down, 1e-12);
  }
}

TEST(DropoutTest, ADroppedInfinityIsZero) {
  Tensor<float> x({1, 1, 64}), y({1, 1, 64});
  x.fill(std::numeric_limits<float>::infinity());
  dropout<float>(Executor(1), {.probability = 0.5}, x, y);
  for (Dim i = 0; i < 64; ++i) ASSERT_FALSE(std::isnan(y[i]));
}

TEST(FiniteTest, NamesTensorStepAndElement) {
  const Executor executor(2);
  Tensor<float> x({50, 40, 33});
  fill_uniform<float>({1, 0, 0, 1}, -1, 1, x);
  x[7] = std::numeric_limits<float>::max();
  x[8] = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(not_finite<float>(executor, "input x", x), "");
  x[49 * 40 * 33 + 5] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(not_finite<float>(executor, "input x", x),
            "input x holds -infinity at step 49, element 5 of that step");
  x[30 * 40 * 33 + 17] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(not_finite<float>(executor, "input x", x),
            "input x holds NaN at step 30, element 17 of that step");
  Tensor<double> w({20});
  w[19] = std::numeric_limits<double>::infinity();
  EXPECT_EQ(not_finite<double>(executor, "bias", w), "bias holds infinity at element 19");
}

}  // namespace
}  // namespace rondo::ops
