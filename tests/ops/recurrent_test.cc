#include <rondo/ops/recurrent.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cases.h"
#include "slopes.h"

namespace rondo::ops {
namespace {

using cases::RecurrentCase;
using cases::RecurrentProblem;

// What the gradients are the gradients of: Σ y·dy + h_last·dh_last + c_last·dc_last.
double objective(RecurrentProblem<double>& p, RecurrentLayer<double>& layer,
                 RecurrentActivations<double>& a) {
  layer.pack(p.weights());
  p.forward(layer, a);
  double sum = 0;
  for (Dim i = 0; i < p.dy.count(); ++i) sum += a.y()[i] * p.dy[i];
  for (Dim i = 0; i < p.h0.count(); ++i) sum += p.h_last[i] * p.dh_last[i];
  if (p.lstm())
    for (Dim i = 0; i < p.c0.count(); ++i) sum += p.c_last[i] * p.dc_last[i];
  return sum;
}

class GradientTest : public testing::TestWithParam<RecurrentCase> {};

TEST_P(GradientTest, EqualsCentralDifferences) {
  const Executor executor(1);
  RecurrentProblem<double> p(GetParam());
  p.run(executor);
  RecurrentLayer<double> layer(p.spec, executor);
  RecurrentActivations<double> a(p.spec, p.lengths);
  std::vector<ValueAndGradient> pairs = {
      {&p.w_ih, &p.g_ih}, {&p.w_hh, &p.g_hh}, {&p.b_ih, &p.gb_ih},
      {&p.b_hh, &p.gb_hh}, {&p.h0, &p.dh_first}};
  if (p.lstm()) pairs.push_back({&p.c0, &p.dc_first});
  if (!p.spec.ids) pairs.push_back({&p.x, &p.dx});
  if (p.spec.projection > 0) pairs.push_back({&p.w_hr, &p.g_hr});
  // Central differences err by step²·f''' ≈ 1e-10 and by rounding 1e-15/step = 1e-10.
  expect_slopes(pairs, [&] { return objective(p, layer, a); }, {.slack = 1e-8});
}

std::string name_of(const testing::TestParamInfo<RecurrentCase>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Cells, GradientTest, testing::ValuesIn(cases::gradient_cases()), name_of);

class PassTest : public testing::TestWithParam<RecurrentCase> {};

TEST_P(PassTest, FloatFollowsDouble) {
  const Executor executor(1);
  RecurrentProblem<float> f(GetParam());
  RecurrentProblem<double> d(GetParam());
  f.run(executor);
  d.run(executor);
  auto fs = f.results();
  auto ds = d.results();
  for (std::size_t k = 0; k < fs.size(); ++k) {
    double largest = 0, error = 0;
    for (Dim i = 0; i < fs[k].second->count(); ++i) {
      const double exact = (*ds[k].second)[i];
      largest = std::max(largest, std::abs(exact));
      error = std::max(error, std::abs((*fs[k].second)[i] - exact));
    }
    // Sums of up to 600 addends of this size, each rounded to 6e-8.
    EXPECT_LE(error, 1e-5 + 2e-5 * largest) << fs[k].first;
  }
}

TEST_P(PassTest, TwoThreadsGiveTheBitsOfOne) {
  const Executor one(1), two(2), three(3);
  RecurrentProblem<float> a(GetParam());
  a.run(one);
  for (const Executor* other : {&two, &three}) {
    RecurrentProblem<float> b(GetParam());
    b.run(*other);
    auto as = a.results();
    auto bs = b.results();
    for (std::size_t k = 0; k < as.size(); ++k)
      EXPECT_EQ(0, std::memcmp(as[k].second->data(), bs[k].second->data(),
                               static_cast<std::size_t>(as[k].second->count()) * sizeof(float)))
          << as[k].first;
  }
}

INSTANTIATE_TEST_SUITE_P(Cells, PassTest, testing::ValuesIn(cases::pass_cases()), name_of);

TEST(RecurrentTest, AddsGradientsToWhatIsThere) {
  const Executor executor(1);
  for (const Cell cell : cases::kCells) {
    RecurrentProblem<float> p({"", {cell, 9, 21, false}, {3, 4}});
    p.run(executor);
    const Tensor<float> once = p.g_ih, bias = p.gb_hh;
    RecurrentLayer<float> layer(p.spec, executor);
    RecurrentActivations<float> a(p.spec, p.shape);
    layer.pack(p.weights());
    p.forward(layer, a);
    p.backward(layer, a, GradientMode::kAdd);
    for (Dim i = 0; i < once.count(); ++i) ASSERT_EQ(p.g_ih[i], once[i] + once[i]);
    for (Dim i = 0; i < bias.count(); ++i) ASSERT_EQ(p.gb_hh[i], bias[i] + bias[i]);
  }
}

TEST(RecurrentTest, TwoBlocksEqualOneSequence) {
  const Executor executor(1);
  for (const Cell cell : cases::kCells) {
    const RecurrentSpec spec{cell, 5, 20, false};
    RecurrentProblem<float> p({"", spec, {8, 3}});
    RecurrentLayer<float> layer(spec, executor);
    RecurrentActivations<float> whole(spec, {8, 3}), half(spec, {4, 3});
    layer.pack(p.weights(), PackFor::kForward);
    p.forward(layer, whole);
    Tensor<float> h = p.h0, c = p.c0;
    for (Dim block = 0; block < 2; ++block) {
      const View<const float> x(p.x.data() + block * 4 * 3 * 5, {4, 3, 5});
      const Tensor<float> h_in = h, c_in = c;
      layer.forward({.dense = x, .ids = {}}, {h_in, c_in}, half, {h, c});
      EXPECT_EQ(0, std::memcmp(half.y().data(), whole.y().data() + block * 4 * 3 * 20,
                               4 * 3 * 20 * sizeof(float)));
    }
    EXPECT_EQ(0, std::memcmp(h.data(), p.h_last.data(), 3 * 20 * sizeof(float)));
  }
}

TEST(RecurrentTest, IdsEqualTheOneHotProduct) {
  const Executor executor(1);
  for (const Cell cell : cases::kCells) {
    RecurrentProblem<float> ids({"", {cell, 11, 19, true}, {5, 3}});
    RecurrentProblem<float> dense({"", {cell, 11, 19, false}, {5, 3}});
    dense.x.fill(0);
    for (Dim i = 0; i < ids.ids.count(); ++i) dense.x[i * 11 + ids.ids[i]] = 1;
    ids.run(executor);
    dense.run(executor);
    for (Dim i = 0; i < ids.y.count(); ++i) ASSERT_EQ(ids.y[i], dense.y[i]);
    for (Dim i = 0; i < ids.g_ih.count(); ++i) ASSERT_EQ(ids.g_ih[i], dense.g_ih[i]);
  }
}

TEST(RecurrentTest, SaysItsBytesBeforeItIsMade) {
  const RecurrentSpec spec{Cell::kLstm, 10, 128, false};
  EXPECT_EQ(RecurrentActivations<float>::bytes(spec, {50, 50}),
            4U * (8 * 2500 * 64 + 51 * 50 * 128 + 8 * (2 * 2500 + 50) * 16));
}

}  // namespace
}  // namespace rondo::ops
