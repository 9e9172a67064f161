#include <rondo/ops/bidirectional.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cases.h"
#include "slopes.h"

namespace rondo::ops {
namespace {

using cases::BidirectionalProblem;
using cases::RecurrentCase;

double dot(const Tensor<double>& a, const Tensor<double>& b) {
  double sum = 0;
  for (Dim i = 0; i < a.count(); ++i) sum += a[i] * b[i];
  return sum;
}

double objective(BidirectionalProblem<double>& p, BidirectionalLayer<double>& layer,
                 BidirectionalActivations<double>& a) {
  p.forward(layer, a);
  double sum = dot(p.y, p.dy);
  for (const auto& way : p.ways) {
    sum += dot(way.h_last, way.dh_last);
    if (way.lstm()) sum += dot(way.c_last, way.dc_last);
  }
  return sum;
}

class BidirectionalTest : public testing::TestWithParam<RecurrentCase> {};

TEST_P(BidirectionalTest, GradientEqualsCentralDifferences) {
  const Executor executor(1);
  BidirectionalProblem<double> p(GetParam());
  p.run(executor);
  BidirectionalLayer<double> layer(p.ways[0].spec, executor);
  BidirectionalActivations<double> a(p.ways[0].spec, p.ways[0].lengths);
  std::vector<ValueAndGradient> pairs;
  for (auto& w : p.ways) {
    pairs.insert(pairs.end(), {{&w.w_ih, &w.g_ih}, {&w.w_hh, &w.g_hh}, {&w.b_ih, &w.gb_ih},
                               {&w.b_hh, &w.gb_hh}, {&w.w_hr, &w.g_hr}, {&w.h0, &w.dh_first}});
    if (w.lstm()) pairs.push_back({&w.c0, &w.dc_first});
  }
  if (!p.ways[0].spec.ids) pairs.push_back({&p.ways[0].x, &p.ways[0].dx});
  expect_slopes(pairs, [&] { return objective(p, layer, a); }, {.slack = 1e-8, .stride = 3});
}

INSTANTIATE_TEST_SUITE_P(Cells, BidirectionalTest, testing::ValuesIn(cases::gradient_cases()),
                         [](const auto& which) { return which.param.name; });

// The reverse half of y is what a plain layer gives on the sequence turned round.
TEST(BidirectionalTest, TheReverseHalfStartsAtEachSequencesEnd) {
  const RecurrentCase c{"", {Cell::kLstm, 6, 20, false}, {5, 3}, {2, 5, 4}};
  const Executor executor(1);
  BidirectionalProblem<float> p(c);
  p.run(executor);
  cases::RecurrentProblem<float> turned(c, 2);
  reverse_rows<float>(executor, p.ways[0].lengths, p.ways[0].x, turned.x);
  turned.run(executor);
  Tensor<float> y(turned.y.shape());
  reverse_rows<float>(executor, p.ways[0].lengths, turned.y, y);
  for (Dim row = 0; row < p.rows(); ++row)
    EXPECT_EQ(0, std::memcmp(p.y.data() + row * 40 + 20, y.data() + row * 20, 20 * sizeof(float)));
}

}  // namespace
}  // namespace rondo::ops
