// Layouts, stages and the sums over slices: the arithmetic of a step.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include <rondo/actors/layout.h>
#include <rondo/actors/stage.h>

namespace rondo::actors {
namespace {

TEST(Layout, PartsCoverEveryRowOnce) {
  const Layout layout{3, 2, 2};
  std::set<int> seen;
  for (int slice = 0; slice < 3; ++slice) {
    for (int m = 0; m < 2; ++m) {
      const Span rows = rows_of(layout, 11, slice, m);
      for (int row = rows.first; row < rows.first + rows.count; ++row)
        EXPECT_TRUE(seen.insert(row).second);
    }
  }
  EXPECT_EQ(seen.size(), 11u);
}

TEST(Layout, OneForwardOneBackwardKeepsAtMostStagesMinusStage) {
  const Layout layout{1, 4, 7};
  for (int stage = 0; stage < 4; ++stage) {
    int kept = 0, most = 0, last_back = 0;
    const std::vector<int> order = one_forward_one_backward(layout, stage);
    ASSERT_EQ(order.size(), 14u);
    for (int what : order) {
      kept += what > 0 ? 1 : -1;
      most = std::max(most, kept);
      if (what < 0) {
        EXPECT_EQ(-what, ++last_back);
      }
    }
    EXPECT_EQ(kept, 0);
    EXPECT_EQ(most, 4 - stage);
  }
}

RunSpec small(CellKind cell, Layout layout) {
  RunSpec spec;
  spec.model = {cell, Activation::kTanh, DataKind::kTokens, 2, 12, 9, 9};
  spec.seq = 5;
  spec.batch = 7;
  spec.layout = layout;
  return spec;
}

Feed feed(const RunSpec& spec, Span rows, int shift) {
  Feed out;
  for (int t = 0; t < spec.seq; ++t)
    for (int row = rows.first; row < rows.first + rows.count; ++row)
      out.ids.push_back((t * 5 + row * 3 + shift * 4) % spec.model.inputs);
  return out;
}

struct Outcome {
  double loss = 0;
  std::vector<float> gradient;  // of all stages, summed over slices
};

Outcome one_step(const RunSpec& spec, int threads) {
  const ops::Executor executor(threads);
  const Layout& layout = spec.layout;
  Outcome outcome;
  std::vector<std::vector<std::vector<float>>> gradients(static_cast<std::size_t>(layout.stages));
  for (int slice = 0; slice < layout.replicas; ++slice) {
    std::vector<std::unique_ptr<Stage>> stages;
    for (int stage = 0; stage < layout.stages; ++stage) {
      stages.push_back(std::make_unique<Stage>(StageSpec{spec, slice, stage}, executor));
      stages.back()->begin(true);
    }
    for (int m = 0; m < layout.microbatches; ++m) {
      const Span rows = rows_of(layout, spec.batch, slice, m);
      const Feed inputs = feed(spec, rows, 0);
      Stage::Input input{&inputs, {}};
      for (auto& stage : stages) input.activations = stage->forward(m, spec.seq, input);
      outcome.loss += stages.back()->loss(m, feed(spec, rows, 1), 1.0 / (spec.seq * spec.batch));
      std::span<const float> dy;
      for (std::size_t at = stages.size(); at-- > 0;) dy = stages[at]->backward(m, dy);
    }
    for (std::size_t at = 0; at < stages.size(); ++at)
      gradients[at].emplace_back(stages[at]->gradient().begin(), stages[at]->gradient().end());
  }
  for (const auto& slices : gradients) {
    std::vector<std::span<const float>> views(slices.begin(), slices.end());
    std::vector<float> sum;
    sum_slices(executor, views, sum);
    outcome.gradient.insert(outcome.gradient.end(), sum.begin(), sum.end());
  }
  return outcome;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Step : public testing::TestWithParam<CellKind> {};
INSTANTIATE_TEST_SUITE_P(Cells, Step,
                         testing::Values(CellKind::kRnn, CellKind::kLstm, CellKind::kGru));

TEST_P(Step, CuttingLayersIntoStagesChangesNoBit) {
  const Outcome one = one_step(small(GetParam(), {2, 1, 2}), 1);
  const Outcome two = one_step(small(GetParam(), {2, 2, 2}), 1);
  EXPECT_EQ(one.loss, two.loss);
  EXPECT_TRUE(same_bits(one.gradient, two.gradient));
}

TEST_P(Step, ThreadsChangeNoBit) {
  const Outcome one = one_step(small(GetParam(), {2, 2, 3}), 1);
  const Outcome two = one_step(small(GetParam(), {2, 2, 3}), 2);
  EXPECT_EQ(one.loss, two.loss);
  EXPECT_TRUE(same_bits(one.gradient, two.gradient));
}

TEST_P(Step, UnevenSlicesAndMicrobatchesGiveTheGradientOfTheWholeBatch) {
  const Outcome whole = one_step(small(GetParam(), {1, 1, 1}), 1);
  const Outcome parts = one_step(small(GetParam(), {3, 2, 2}), 1);
  EXPECT_NEAR(whole.loss, parts.loss, 1e-4);
  ASSERT_EQ(whole.gradient.size(), parts.gradient.size());
  for (std::size_t i = 0; i < whole.gradient.size(); ++i)
    EXPECT_NEAR(whole.gradient[i], parts.gradient[i], 1e-6);
}

// The loss falls along the gradient as the gradient says: the whole chain of ops is wired rightly.
TEST_P(Step, GradientIsTheSlopeOfTheLoss) {
  const RunSpec spec = small(GetParam(), {1, 1, 1});
  const ops::Executor executor(1);
  Stage stage({spec, 0, 0}, executor);
  const Feed inputs = feed(spec, {0, spec.batch}, 0);
  const Feed targets = feed(spec, {0, spec.batch}, 1);
  const auto loss_at = [&](const StageSnapshot& snapshot) {
    stage.restore(snapshot.view());
    stage.infer(0, spec.seq, {&inputs, {}}, true);
    return stage.judge(0, targets) / (spec.seq * spec.batch);
  };
  const Outcome outcome = one_step(spec, 1);
  const StageSnapshot start = stage.current().copy();
  double slope = 0;
  for (float g : outcome.gradient) slope += static_cast<double>(g) * static_cast<double>(g);
  const float length = static_cast<float>(1e-2 / std::sqrt(slope));
  StageSnapshot ahead = start, behind = start;
  for (std::size_t i = 0; i < outcome.gradient.size(); ++i) {
    ahead.parameters[i] += length * outcome.gradient[i];
    behind.parameters[i] -= length * outcome.gradient[i];
  }
  const double measured = (loss_at(ahead) - loss_at(behind)) / (2 * static_cast<double>(length));
  EXPECT_NEAR(measured / slope, 1, 2e-3);
}

TEST(Stage, AnAbandonedStepLeavesNoTrace) {
  const RunSpec spec = small(CellKind::kLstm, {1, 1, 1});
  const ops::Executor executor(1);
  const Feed inputs = feed(spec, {0, spec.batch}, 0);
  const Feed targets = feed(spec, {0, spec.batch}, 1);
  const auto step = [&](Stage& stage, bool fresh) {
    stage.begin(fresh);
    stage.forward(0, spec.seq, {&inputs, {}});
    static_cast<void>(stage.loss(0, targets, 0.01));
    stage.backward(0, {});
    stage.apply(stage.gradient(), 1e-2, 1);
  };
  Stage plain({spec, 0, 0}, executor), disturbed({spec, 0, 0}, executor);
  step(plain, true);
  plain.swap();
  step(disturbed, true);
  step(disturbed, true);  // prepared twice, never committed in between
  disturbed.swap();
  step(plain, false);
  step(disturbed, false);
  const StageSnapshot a = plain.prepared().copy();
  const StageSnapshot b = disturbed.prepared().copy();
  EXPECT_TRUE(same_bits(a.parameters, b.parameters));
  EXPECT_TRUE(same_bits(a.states, b.states));
}

TEST(SumSlices, IsTheFixedBinaryTree) {
  const ops::Executor executor(1);
  const std::vector<float> values{1e8f, 1.f, -1e8f, 1.f, 3.f};
  std::vector<std::vector<float>> slices;
  std::vector<std::span<const float>> views;
  for (float value : values) slices.push_back({value});
  for (const auto& slice : slices) views.emplace_back(slice);
  std::vector<float> sum;
  sum_slices(executor, views, sum);
  EXPECT_EQ(sum[0], ((values[0] + values[1]) + (values[2] + values[3])) + values[4]);
}

TEST(Stage, ForgetBiasStartsAtOne) {
  const RunSpec spec = small(CellKind::kLstm, {1, 1, 1});
  const StageSnapshot snapshot = first_version({spec, 0, 0});
  for (const TensorSpec& tensor : tensors_of(spec.model, {0, 2})) {
    if (!tensor.name.starts_with("bias_ih")) continue;
    for (std::size_t unit = 0; unit < 12; ++unit) {
      EXPECT_EQ(snapshot.parameters[tensor.offset + 12 + unit], 1.f);
      EXPECT_LE(std::abs(snapshot.parameters[tensor.offset + unit]), 0.08f);
    }
  }
}

}  // namespace
}  // namespace rondo::actors
