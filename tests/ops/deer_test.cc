#include <rondo/ops/deer.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cases.h"

// The loop is the reference: RecurrentLayer, whose own gradients answer to central differences.

namespace rondo::ops {
namespace {

using cases::RecurrentCase;
using cases::RecurrentProblem;

struct DeerCase {
  RecurrentCase problem;
  DeerForm form;
};

std::vector<DeerCase> deer_cases() {
  std::vector<DeerCase> all;
  for (const Cell cell : cases::kCells) {
    for (const DeerForm form : {DeerForm::kFull, DeerForm::kDiagonal}) {
      const std::string name =
          cases::cell_name(cell) + (form == DeerForm::kFull ? "_full" : "_diagonal");
      all.push_back({{name + "_narrow", {cell, 3, 5, false}, {7, 2}}, form});
      all.push_back({{name + "_one_step", {cell, 3, 5, false}, {1, 3}}, form});
      all.push_back({{name + "_ids", {cell, 6, 18, true}, {20, 1}}, form});
      // More than one block of the dense scan.
      all.push_back({{name + "_long", {cell, 2, 4, false}, {150, 2}}, form});
    }
  }
  return all;
}

template <class T>
struct Solved {
  Solved(RecurrentProblem<T>& p, const Executor& executor, const DeerOptions& options)
      : layer(p.spec, executor, options), a(p.spec, p.shape) {
    layer.pack(p.weights());
    const View<const T> none;
    const View<T> nothing;
    forward = layer.forward(p.input(), {p.h0, p.lstm() ? View<const T>(p.c0) : none}, a,
                            {p.h_last, p.lstm() ? p.c_last.view() : nothing});
    p.y = Tensor<T>(p.dy.shape());
    std::copy_n(a.y().data(), p.y.count(), p.y.data());
    backward = layer.backward({.x = p.input(), .dy = p.dy,
                               .dlast = {p.dh_last, p.lstm() ? View<const T>(p.dc_last) : none},
                               .dx = p.dx,
                               .dfirst = {p.dh_first, p.lstm() ? p.dc_first.view() : nothing},
                               .grads = {p.g_ih, p.g_hh, p.gb_ih, p.gb_hh, p.g_hr}},
                              a);
  }
  DeerLayer<T> layer;
  DeerActivations<T> a;
  DeerReport forward, backward;
};

template <class T>
void expect_near(RecurrentProblem<T>& got, RecurrentProblem<T>& wanted, double slack) {
  const auto ours = got.results(), theirs = wanted.results();
  for (std::size_t k = 0; k < ours.size(); ++k) {
    const Tensor<T>&a = *ours[k].second, &b = *theirs[k].second;
    double scale = 1;
    for (Dim i = 0; i < b.count(); ++i) scale = std::max<double>(scale, std::abs(b[i]));
    for (Dim i = 0; i < a.count(); ++i)
      ASSERT_NEAR(a[i], b[i], slack * scale) << ours[k].first << " element " << i;
  }
}

template <class T>
void expect_same_bytes(RecurrentProblem<T>& got, RecurrentProblem<T>& wanted) {
  const auto ours = got.results(), theirs = wanted.results();
  for (std::size_t k = 0; k < ours.size(); ++k)
    EXPECT_EQ(0, std::memcmp(ours[k].second->data(), theirs[k].second->data(),
                             static_cast<std::size_t>(ours[k].second->count()) * sizeof(T)))
        << ours[k].first;
}

class DeerTest : public testing::TestWithParam<DeerCase> {};

TEST_P(DeerTest, AgreesWithTheLoopForwardAndBackward) {
  const Executor executor(2);
  RecurrentProblem<double> loop(GetParam().problem), deer(GetParam().problem);
  loop.run(executor);
  const Solved<double> s(deer, executor, {GetParam().form, 1e-12, 200});
  EXPECT_TRUE(s.forward.converged) << s.forward.words;
  EXPECT_TRUE(s.backward.converged) << s.backward.words;
  EXPECT_LE(s.forward.residual, 1e-12);
  expect_near(deer, loop, 1e-9);
}

TEST_P(DeerTest, AgreesInFloatAndGivesTheSameBitsOnTwoThreads) {
  const Executor one(1), two(2);
  RecurrentProblem<float> loop(GetParam().problem), a(GetParam().problem), b(GetParam().problem);
  loop.run(one);
  const DeerOptions options{GetParam().form, 1e-5, 200};
  const Solved<float> of_one(a, one, options), of_two(b, two, options);
  EXPECT_TRUE(of_one.forward.converged) << of_one.forward.words;
  EXPECT_TRUE(of_one.backward.converged) << of_one.backward.words;
  expect_near(a, loop, 1e-3);
  expect_same_bytes(a, b);
}

INSTANTIATE_TEST_SUITE_P(Cases, DeerTest, testing::ValuesIn(deer_cases()),
                         [](const auto& param) { return param.param.problem.name; });

// With weights that let the past fade; a chaotic layer may take as many iterations as steps.
TEST(DeerLayerTest, ConvergesInFewIterations) {
  const Executor executor(2);
  for (const Cell cell : cases::kCells) {
    RecurrentProblem<float> p({"", {cell, 16, 48, false}, {300, 1}});
    for (Dim i = 0; i < p.w_hh.count(); ++i) p.w_hh[i] *= 0.3F;
    const Solved<float> s(p, executor, {DeerForm::kFull, 1e-5, 100});
    EXPECT_TRUE(s.forward.converged && s.backward.converged) << s.forward.words;
    EXPECT_LE(s.forward.iterations, 12) << cases::cell_name(cell);
    EXPECT_LE(s.backward.iterations, 2);   // linear: one, and one more if rounding asks for it
  }
}

TEST(DeerLayerTest, RunsTheLoopInWordsWhenItDoesNotConverge) {
  const Executor executor(1);
  for (const Cell cell : {Cell::kTanh, Cell::kLstm, Cell::kGru}) {
    const RecurrentCase c{"", {cell, 3, 20, false}, {40, 2}};
    RecurrentProblem<float> loop(c), deer(c);
    loop.run(executor);
    const Solved<float> s(deer, executor, {DeerForm::kDiagonal, 1e-6, 1});
    EXPECT_FALSE(s.forward.converged);
    EXPECT_NE(s.forward.words.find("the loop ran instead"), std::string::npos) << s.forward.words;
    expect_same_bytes(deer, loop);
  }
}

TEST(DeerLayerTest, LeavesNotANumberToTheLoop) {
  const Executor executor(1);
  const RecurrentCase c{"", {Cell::kTanh, 3, 5, false}, {9, 1}};
  RecurrentProblem<float> deer(c);
  deer.x[7] = std::numeric_limits<float>::quiet_NaN();
  const Solved<float> s(deer, executor, {});
  EXPECT_FALSE(s.forward.converged);
  EXPECT_FALSE(s.forward.words.empty());
  EXPECT_FALSE(std::isnan(deer.y[0]));
  EXPECT_TRUE(std::isnan(deer.y[8 * 5]));
}

}  // namespace
}  // namespace rondo::ops
