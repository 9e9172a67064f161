#include <rondo/ops/min_recurrent.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cases.h"
#include "slopes.h"

namespace rondo::ops {
namespace {

using cases::MinCase;
using cases::MinProblem;

double dot(const Tensor<double>& a, const Tensor<double>& b) {
  double sum = 0;
  for (Dim i = 0; i < a.count(); ++i) sum += a[i] * b[i];
  return sum;
}

class MinGradientTest : public testing::TestWithParam<MinCase> {};

TEST_P(MinGradientTest, EqualsCentralDifferences) {
  const Executor executor(1);
  MinProblem<double> p(GetParam());
  p.run(executor);
  MinLayer<double> layer(p.spec, executor);
  MinActivations<double> a(p.spec, p.shape);
  const auto objective = [&] {
    p.forward(layer, a);
    return dot(p.y, p.dy) + dot(p.last, p.dlast);
  };
  const ValueAndGradient pairs[] = {
      {&p.weight, &p.dweight}, {&p.bias, &p.dbias}, {&p.x, &p.dx}, {&p.first, &p.dfirst}};
  // The long cases sum some hundred steps, each with a rounding of 1e-16/step.
  expect_slopes(pairs, objective, {.slack = 1e-7});
}

const auto kName = [](const testing::TestParamInfo<MinCase>& c) { return c.param.name; };
INSTANTIATE_TEST_SUITE_P(Cells, MinGradientTest, testing::ValuesIn(cases::min_cases(true)), kName);

class MinPassTest : public testing::TestWithParam<MinCase> {};

// The paper's formulas, one step after another, in double.
TEST_P(MinPassTest, FloatFollowsTheLoopInDouble) {
  MinProblem<float> f(GetParam());
  MinProblem<double> d(GetParam());
  f.run(Executor(1));
  const Dim hidden = d.spec.hidden, inputs = d.spec.inputs, gates = gate_count(d.spec.cell);
  const auto logistic = [](double v) { return 1 / (1 + std::exp(-v)); };
  Tensor<double> h = d.first;
  for (Dim row = 0; row < d.shape.steps * d.shape.batch; ++row) {
    for (Dim u = 0; u < hidden; ++u) {
      double sum[3] = {};
      for (Dim q = 0; q < gates; ++q) {
        sum[q] = d.bias[q * hidden + u];
        for (Dim i = 0; i < inputs; ++i)
          sum[q] += d.weight[(q * hidden + u) * inputs + i] * d.x[row * inputs + i];
      }
      const double first = logistic(sum[0]), second = logistic(sum[1]);
      double& state = h[row % d.shape.batch * hidden + u];
      state = gates == 2 ? (1 - first) * state + first * sum[1]
                         : (first * state + second * sum[2]) / (first + second);
      ASSERT_NEAR(f.y[row * hidden + u], state, 2e-5) << row << " " << u;
    }
  }
}

TEST_P(MinPassTest, GradientsInFloatFollowDouble) {
  MinProblem<float> f(GetParam());
  MinProblem<double> d(GetParam());
  f.run(Executor(2));
  d.run(Executor(1));
  const auto fs = f.results();
  const auto ds = d.results();
  for (std::size_t k = 0; k < fs.size(); ++k) {
    double largest = 0, error = 0;
    for (Dim i = 0; i < fs[k]->count(); ++i) {
      largest = std::max(largest, std::abs((*ds[k])[i]));
      error = std::max(error, std::abs(static_cast<double>((*fs[k])[i]) - (*ds[k])[i]));
    }
    EXPECT_LE(error, 2e-5 + 2e-5 * largest) << "tensor " << k;
  }
}

TEST_P(MinPassTest, EveryNumberOfThreadsGivesTheSameBits) {
  MinProblem<float> one(GetParam());
  one.run(Executor(1));
  for (const int threads : {2, 3}) {
    MinProblem<float> more(GetParam());
    more.run(Executor(threads));
    const auto as = one.results();
    const auto bs = more.results();
    for (std::size_t k = 0; k < as.size(); ++k)
      EXPECT_EQ(0, std::memcmp(as[k]->data(), bs[k]->data(),
                               static_cast<std::size_t>(as[k]->count()) * sizeof(float)))
          << "tensor " << k;
  }
}

INSTANTIATE_TEST_SUITE_P(Cells, MinPassTest, testing::ValuesIn(cases::min_cases(false)), kName);

// A sequence's bits do not depend on who else is in the batch.
TEST(MinTest, ASequenceAloneHasTheBitsItHasInABatch) {
  const MinSpec spec{MinCell::kMinGru, 6, 40};
  MinProblem<float> batch({"", spec, {300, 3}}), alone({"", spec, {300, 1}});
  for (Dim t = 0; t < 300; ++t)
    std::copy_n(batch.x.data() + (t * 3 + 1) * 6, 6, alone.x.data() + t * 6);
  std::copy_n(batch.first.data() + 40, 40, alone.first.data());
  batch.run(Executor(1));
  alone.run(Executor(2));
  for (Dim t = 0; t < 300; ++t)
    ASSERT_EQ(0, std::memcmp(batch.y.data() + (t * 3 + 1) * 40, alone.y.data() + t * 40,
                             40 * sizeof(float)));
}

// Ids are the columns of the weight that a one-hot input picks, in both directions.
TEST(MinTest, IdsGiveWhatOneHotInputsGive) {
  for (const MinCell cell : {MinCell::kMinGru, MinCell::kMinLstm}) {
    const Dim steps = 9, batch = 4, words = 7;
    MinProblem<double> hot({"", {cell, words, 20}, {steps, batch}});
    MinProblem<double> with({"", hot.spec, hot.shape});
    std::vector<std::int32_t> ids;
    hot.x.fill(0);
    for (Dim row = 0; row < steps * batch; ++row) {
      ids.push_back(static_cast<std::int32_t>((row * row + 3 * row) % words));
      hot.x[row * words + ids.back()] = 1;
    }
    const Executor executor(2);
    hot.run(executor);
    MinSpec spec = hot.spec;
    spec.ids = true;
    MinLayer<double> layer(spec, executor);
    MinActivations<double> a(spec, hot.shape);
    const View<const std::int32_t> read{ids.data(), {steps, batch}};
    for (const GradientMode mode : {GradientMode::kWrite, GradientMode::kAdd}) {
      layer.pack({with.weight, with.bias});
      layer.forward_ids(read, with.first, a, with.last);
      MinLayer<double>::Backward back;
      back.ids = read;
      back.dy = with.dy;
      back.dlast = with.dlast;
      back.dfirst = with.dfirst;
      back.grads = {with.dweight, with.dbias};
      back.mode = mode;
      layer.backward(back, a);
    }
    const auto expect_near = [](View<const double> got, View<const double> want, double times) {
      for (Dim i = 0; i < want.count(); ++i) ASSERT_NEAR(got[i], times * want[i], 1e-12) << i;
    };
    expect_near(a.y(), hot.y, 1);
    expect_near(with.last, hot.last, 1);
    expect_near(with.dfirst, hot.dfirst, 1);
    expect_near(with.dweight, hot.dweight, 2);   // written once, then added once
    expect_near(with.dbias, hot.dbias, 2);
  }
}

}  // namespace
}  // namespace rondo::ops
