#include <rondo/ops/optimizer.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include <rondo/ops/elementwise.h>
#include <rondo/ops/random.h>

namespace rondo::ops {
namespace {

constexpr Dim kCount = 37;

template <class T>
struct State {
  Tensor<T> w{Shape{kCount}}, m1{Shape{kCount}}, m2{Shape{kCount}};
};

// PyTorch's formulas, one step of one number.
void reference(const OptimizerOptions& o, double g, double& w, double& m1, double& m2) {
  g += o.weight_decay * w;
  if (o.rule == Optimizer::kSgd) {
    w -= o.lr * g;
  } else if (o.rule == Optimizer::kMomentum || o.rule == Optimizer::kNesterov) {
    m1 = o.momentum * m1 + g;
    w -= o.lr * (o.rule == Optimizer::kNesterov ? g + o.momentum * m1 : m1);
  } else if (o.rule == Optimizer::kRmsprop) {
    m1 = o.alpha * m1 + (1 - o.alpha) * g * g;
    w -= o.lr * g / (std::sqrt(m1) + o.epsilon);
  } else {
    const auto t = static_cast<double>(o.step);
    m1 = o.beta1 * m1 + (1 - o.beta1) * g;
    m2 = o.beta2 * m2 + (1 - o.beta2) * g * g;
    w -= o.lr * (m1 / (1 - std::pow(o.beta1, t))) /
         (std::sqrt(m2 / (1 - std::pow(o.beta2, t))) + o.epsilon);
  }
}

template <class T>
void follow_reference(Optimizer rule, double tolerance) {
  const Executor executor(1);
  State<T> now, next;
  fill_uniform<T>({1, 0, 0, 0}, -1, 1, now.w);
  Tensor<double> w(Shape{kCount}), m1(Shape{kCount}), m2(Shape{kCount});
  for (Dim i = 0; i < kCount; ++i) w[i] = static_cast<double>(now.w[i]);
  for (std::uint32_t step = 1; step <= 20; ++step) {
    const OptimizerOptions o{.rule = rule, .lr = 0.01, .weight_decay = 0.1, .step = step};
    Tensor<T> g(Shape{kCount});
    fill_uniform<T>({1, step, 0, 1}, -1, 1, g);
    const Tensor<T> kept = now.w;
    optimizer_step<T>(executor, o, {now.w, g, now.m1, now.m2, next.w, next.m1, next.m2});
    ASSERT_EQ(0, std::memcmp(kept.data(), now.w.data(), kCount * sizeof(T)));   // never in place
    for (Dim i = 0; i < kCount; ++i) reference(o, static_cast<double>(g[i]), w[i], m1[i], m2[i]);
    std::swap(now, next);
  }
  for (Dim i = 0; i < kCount; ++i) ASSERT_NEAR(static_cast<double>(now.w[i]), w[i], tolerance);
}

class OptimizerTest : public testing::TestWithParam<int> {};

TEST_P(OptimizerTest, FollowsItsFormulaForTwentySteps) {
  follow_reference<double>(static_cast<Optimizer>(GetParam()), 1e-13);
  follow_reference<float>(static_cast<Optimizer>(GetParam()), 5e-6);
}

INSTANTIATE_TEST_SUITE_P(Rules, OptimizerTest, testing::Range(0, 5));

TEST(ElementwiseTest, NormAndClipping) {
  const Executor one(1), two(2);
  Tensor<float> x(Shape{100003});
  fill_uniform<float>({4, 0, 0, 0}, -8, 8, x);
  double exact = 0;
  for (const float v : x.view().span()) exact += static_cast<double>(v) * v;
  const double squared = squared_norm<float>(one, x);
  EXPECT_NEAR(squared, exact, 1e-6 * exact);
  EXPECT_EQ(squared, squared_norm<float>(two, x));
  EXPECT_EQ(clip_norm_factor(9, 5), 1.0);
  EXPECT_NEAR(clip_norm_factor(100, 5), 0.5, 1e-15);
  Tensor<float> clipped = x;
  clip_value<float>(one, clipped, 5, clipped);
  for (Dim i = 0; i < x.count(); ++i)
    ASSERT_EQ(clipped[i], std::min(5.0F, std::max(-5.0F, x[i])));
  scale<float>(one, x, clip_norm_factor(squared, 5), clipped);
  EXPECT_NEAR(squared_norm<float>(one, clipped), 25, 1e-3);
  add<float>(two, x, x, clipped);
  for (Dim i = 0; i < x.count(); ++i) ASSERT_EQ(clipped[i], 2 * x[i]);
}

TEST(ElementwiseTest, ClippingKeepsWhatIsNotANumber) {
  Tensor<float> x(Shape{3});
  x[1] = std::nanf("");
  clip_value<float>(Executor(1), x, 5, x);
  EXPECT_TRUE(std::isnan(x[1]));
}

TEST(ElementwiseTest, TheTreeKeepsBlocksOfAPowerOfTwoTogether) {
  const std::vector<double> v = {1e16, 1, -1e16, 1, 3, 4};
  EXPECT_EQ(tree_sum(v), ((1e16 + 1) + (-1e16 + 1)) + (3.0 + 4.0));
  const std::vector<double> left(v.begin(), v.begin() + 4), right(v.begin() + 4, v.end());
  EXPECT_EQ(tree_sum(v), tree_sum(left) + tree_sum(right));
  EXPECT_EQ(tree_sum({}), 0);
}

}  // namespace
}  // namespace rondo::ops
