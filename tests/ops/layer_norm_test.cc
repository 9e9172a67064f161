#include <rondo/ops/layer_norm.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cases.h"
#include "slopes.h"

namespace rondo::ops {
namespace {

using cases::RowCase;
using cases::RowProblem;

class LayerNormTest : public testing::TestWithParam<RowCase> {};
class LayerNormGradientTest : public testing::TestWithParam<RowCase> {};

double objective(const RowProblem<double>& p) {
  Tensor<double> y(p.x.shape()), mean({p.rows}), inverse({p.rows});
  layer_norm_forward<double>(Executor(1), {p.weight, p.bias}, 1e-5, p.x, y, {mean, inverse});
  double sum = 0;
  for (Dim i = 0; i < y.count(); ++i) sum += y[i] * p.dy[i];
  return sum;
}

TEST_P(LayerNormGradientTest, EqualsCentralDifferences) {
  RowProblem<double> p(GetParam());
  p.layer_norm(Executor(1));
  const ValueAndGradient pairs[] = {
      {&p.x, &p.dx}, {&p.weight, &p.dweight}, {&p.bias, &p.dbias}};
  // A row of one feature divides by √ε: its second derivatives are 1e5 times larger.
  const double slack = p.features < 3 ? 1e-4 : 1e-7;
  expect_slopes(pairs, [&] { return objective(p); }, {.slack = slack, .step = 1e-6});
}

TEST_P(LayerNormTest, FloatFollowsDouble) {
  RowProblem<float> f(GetParam());
  RowProblem<double> d(GetParam());
  f.layer_norm(Executor(1));
  d.layer_norm(Executor(1));
  const auto fs = f.results();
  const auto ds = d.results();
  for (std::size_t k = 0; k < fs.size(); ++k) {
    for (Dim i = 0; i < fs[k]->count(); ++i) {
      const double exact = (*ds[k])[i];
      ASSERT_NEAR((*fs[k])[i], exact, 2e-4 + 1e-4 * std::abs(exact)) << "tensor " << k;
    }
  }
}

TEST_P(LayerNormTest, TwoThreadsGiveTheBitsOfOne) {
  RowProblem<float> a(GetParam()), b(GetParam());
  a.layer_norm(Executor(1));
  b.layer_norm(Executor(2));
  const auto as = a.results();
  const auto bs = b.results();
  for (std::size_t k = 0; k < as.size(); ++k)
    EXPECT_EQ(0, std::memcmp(as[k]->data(), bs[k]->data(),
                             static_cast<std::size_t>(as[k]->count()) * sizeof(float)));
}

INSTANTIATE_TEST_SUITE_P(Rows, LayerNormTest, testing::ValuesIn(cases::row_cases()),
                         [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(Rows, LayerNormGradientTest,
                         testing::ValuesIn(cases::small_row_cases()),
                         [](const auto& row) { return row.param.name; });

TEST(LayerNormTest, RowsHaveMeanZeroAndVarianceOne) {
  RowProblem<float> p({"", 5, 300});
  p.weight.fill(1);
  p.bias.fill(0);
  p.layer_norm(Executor(1));
  for (Dim row = 0; row < 5; ++row) {
    double sum = 0, squares = 0;
    for (Dim i = 0; i < 300; ++i) {
      const double y = static_cast<double>(p.y[row * 300 + i]);
      sum += y;
      squares += y * y;
    }
    EXPECT_NEAR(sum / 300, 0, 1e-6);
    EXPECT_NEAR(squares / 300, 1, 1e-4);
  }
}

TEST(LayerNormTest, AddsToGradientsThatAreThere) {
  RowProblem<float> p({"", 70, 40});
  p.layer_norm(Executor(1));
  const Tensor<float> once = p.dweight, bias = p.dbias;
  p.layer_norm(Executor(1), GradientMode::kAdd);
  for (Dim i = 0; i < 40; ++i) ASSERT_EQ(p.dweight[i], once[i] + once[i]);
  for (Dim i = 0; i < 40; ++i) ASSERT_EQ(p.dbias[i], bias[i] + bias[i]);
}

}  // namespace
}  // namespace rondo::ops
