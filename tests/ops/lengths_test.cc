#include <rondo/ops/lengths.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "cases.h"

namespace rondo::ops {
namespace {

using cases::RecurrentCase;
using cases::RecurrentProblem;

TEST(LengthsTest, RefusesABadLengthByItsIndex) {
  const std::vector<Dim> zero = {3, 2, 0}, above = {3, 9}, negative = {-1}, good = {3, 1, 3};
  EXPECT_EQ(Lengths::fault(zero, 8), "lengths[2] is 0: a sequence has at least one step");
  EXPECT_EQ(Lengths::fault(above, 8), "lengths[1] is 9: the batch has only 8 steps");
  EXPECT_EQ(Lengths::fault(negative, 8), "lengths[0] is -1: a sequence has at least one step");
  EXPECT_EQ(Lengths::fault({}, 8), "no lengths are given: a batch has at least one sequence");
  EXPECT_EQ(Lengths::fault(good, 3), "");
}

TEST(LengthsTest, SortsLongestFirstAndKeepsTheOrderOfEquals) {
  const Lengths l(std::vector<Dim>{2, 4, 1, 4});
  const Dim sequences[] = {1, 3, 0, 2}, counts[] = {4, 3, 2, 2};
  for (Dim k = 0; k < 4; ++k) EXPECT_EQ(l.sequence(k), sequences[k]);
  for (Dim t = 0; t < 4; ++t) EXPECT_EQ(l.count(t), counts[t]);
  EXPECT_EQ(l.rows(), 11);
  EXPECT_EQ(l.steps(), 4);
  EXPECT_EQ(l.groups().size(), 3U);
  EXPECT_FALSE(l.equal());
  EXPECT_EQ(l.cut(0, 2), 0);
  EXPECT_EQ(l.cut(2, 2), 4);
}

TEST(LengthsTest, PacksUnpacksAndReverses) {
  const Lengths l(std::vector<Dim>{2, 3, 1});
  const Executor executor(2);
  Tensor<std::int32_t> padded({4, 3, 1}), packed(Shape{6}), reversed(Shape{6}), back({4, 3, 1});
  for (Dim t = 0; t < 4; ++t)
    for (Dim n = 0; n < 3; ++n) padded[t * 3 + n] = static_cast<std::int32_t>(10 * n + t + 1);
  pack_rows<std::int32_t>(executor, l, padded, packed);
  const std::int32_t wanted[] = {11, 1, 21, 12, 2, 13}, backwards[] = {13, 2, 21, 12, 1, 11};
  for (Dim i = 0; i < 6; ++i) EXPECT_EQ(packed[i], wanted[i]);
  reverse_rows<std::int32_t>(executor, l, packed, reversed);
  for (Dim i = 0; i < 6; ++i) EXPECT_EQ(reversed[i], backwards[i]);
  back.fill(99);
  unpack_rows<std::int32_t>(executor, l, packed, back);
  const Dim lengths[] = {2, 3, 1};
  for (Dim t = 0; t < 4; ++t)
    for (Dim n = 0; n < 3; ++n)
      EXPECT_EQ(back[t * 3 + n], t < lengths[n] ? padded[t * 3 + n] : 0);
}

template <class T>
void expect_row(const T* got, const T* wanted, Dim width, const char* name) {
  if (width == 0) return;  // a cell without this state: no tensor, a null pointer
  EXPECT_EQ(0, std::memcmp(got, wanted, static_cast<std::size_t>(width) * sizeof(T))) << name;
}

// The sequences of one length as a batch of their own, with everything that belongs to them.
template <class T>
RecurrentProblem<T> group_of(const RecurrentProblem<T>& p, const Lengths::Group& group) {
  RecurrentProblem<T> g({"", p.spec, {group.length, group.count}});
  for (auto [to, from] : {std::pair{&g.w_ih, &p.w_ih}, {&g.w_hh, &p.w_hh}, {&g.b_ih, &p.b_ih},
                          {&g.b_hh, &p.b_hh}, {&g.w_hr, &p.w_hr}})
    *to = *from;
  const Dim state = p.spec.state(), hidden = p.spec.hidden, inputs = p.spec.inputs;
  for (Dim k = 0; k < group.count; ++k) {
    const Dim n = p.lengths.sequence(group.place + k);
    std::copy_n(p.h0.data() + n * state, state, g.h0.data() + k * state);
    std::copy_n(p.dh_last.data() + n * state, state, g.dh_last.data() + k * state);
    std::copy_n(p.c0.data() + n * hidden, hidden, g.c0.data() + k * hidden);
    std::copy_n(p.dc_last.data() + n * hidden, hidden, g.dc_last.data() + k * hidden);
    for (Dim t = 0; t < group.length; ++t) {
      const Dim from = p.lengths.at(t) + group.place + k, to = t * group.count + k;
      std::copy_n(p.dy.data() + from * state, state, g.dy.data() + to * state);
      if (p.spec.ids) g.ids[to] = p.ids[from];
      if (!p.spec.ids) std::copy_n(p.x.data() + from * inputs, inputs, g.x.data() + to * inputs);
    }
  }
  return g;
}

template <class T>
void expect_group(const RecurrentProblem<T>& p, const RecurrentProblem<T>& g,
                  const Lengths::Group& group) {
  const Dim state = p.spec.state(), hidden = p.spec.hidden, inputs = p.spec.inputs;
  for (Dim k = 0; k < group.count; ++k) {
    const Dim n = p.lengths.sequence(group.place + k);
    expect_row(p.h_last.data() + n * state, g.h_last.data() + k * state, state, "h_last");
    expect_row(p.dh_first.data() + n * state, g.dh_first.data() + k * state, state, "dh_first");
    if (p.lstm()) {
      expect_row(p.c_last.data() + n * hidden, g.c_last.data() + k * hidden, hidden, "c_last");
      expect_row(p.dc_first.data() + n * hidden, g.dc_first.data() + k * hidden, hidden, "dc");
    }
    for (Dim t = 0; t < group.length; ++t) {
      const Dim row = p.lengths.at(t) + group.place + k, of_group = t * group.count + k;
      expect_row(p.y.data() + row * state, g.y.data() + of_group * state, state, "y");
      if (!p.spec.ids)
        expect_row(p.dx.data() + row * inputs, g.dx.data() + of_group * inputs, inputs, "dx");
    }
  }
}

class LengthsPassTest : public testing::TestWithParam<RecurrentCase> {};

TEST_P(LengthsPassTest, EqualsPaddingFreeRunsOfEachGroupBitForBit) {
  for (const int threads : {1, 2}) {
    const Executor executor(threads);
    RecurrentProblem<float> p(GetParam());
    p.run(executor);
    Tensor<float> sums[5];
    for (const Lengths::Group& group : p.lengths.groups()) {
      RecurrentProblem<float> g = group_of(p, group);
      g.run(executor);
      expect_group(p, g, group);
      const Tensor<float>* grads[] = {&g.g_ih, &g.g_hh, &g.gb_ih, &g.gb_hh, &g.g_hr};
      for (int i = 0; i < 5; ++i) {
        if (group.place == 0) {
          sums[i] = *grads[i];
        } else {
          for (Dim e = 0; e < sums[i].count(); ++e) sums[i][e] = sums[i][e] + (*grads[i])[e];
        }
      }
    }
    const Tensor<float>* grads[] = {&p.g_ih, &p.g_hh, &p.gb_ih, &p.gb_hh, &p.g_hr};
    for (int i = 0; i < 5; ++i)
      expect_row(grads[i]->data(), sums[i].data(), sums[i].count(), "parameters");
  }
}

std::vector<RecurrentCase> cases_with_lengths() {
  std::vector<RecurrentCase> all = cases::pass_cases();
  for (const Cell cell : cases::kCells)
    all.push_back({cases::cell_name(cell) + "_lengths_ids", {cell, 9, 34, true}, {300, 3},
                   {1, 300, 41}});
  std::erase_if(all, [](const RecurrentCase& c) { return c.lengths.empty(); });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cells, LengthsPassTest, testing::ValuesIn(cases_with_lengths()),
                         [](const auto& which) { return which.param.name; });

TEST(LengthsPassTest, PaddingIsNotRead) {
  const RecurrentSpec spec{Cell::kGru, 5, 20, false};
  const std::vector<Dim> lengths = {3, 1, 2};
  const Executor executor(1);
  RecurrentProblem<float> p({"", spec, {3, 3}, lengths});
  Tensor<float> padded({3, 3, 5}), packed(p.x.shape());
  unpack_rows<float>(executor, p.lengths, p.x, padded);
  for (Dim t = 1; t < 3; ++t)
    std::fill_n(padded.data() + (t * 3 + 1) * 5, 5, std::numeric_limits<float>::quiet_NaN());
  pack_rows<float>(executor, p.lengths, padded, packed);
  expect_row(packed.data(), p.x.data(), p.x.count(), "x");
}

}  // namespace
}  // namespace rondo::ops
