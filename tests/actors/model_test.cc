// Layouts, stages and the sums over slices: the arithmetic of a step.

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include <rondo/actors/layout.h>

#include "one_step.h"

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
  const std::unique_ptr<Stage> owned = make_stage({spec, 0, 0}, executor);
  Stage& stage = *owned;
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
    stage.begin(fresh, fresh ? 1 : 2);
    stage.forward(0, spec.seq, {&inputs, {}});
    static_cast<void>(stage.loss(0, targets, 0.01));
    stage.backward(0, {});
    stage.apply({}, 1e-2, 1);
  };
  const auto first = make_stage({spec, 0, 0}, executor);
  const auto second = make_stage({spec, 0, 0}, executor);
  Stage &plain = *first, &disturbed = *second;
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

// What the stage of a run of one slice does between two calls of begin or go_on and apply.
void run_passes(Stage& stage) {
  const RunSpec& spec = stage.spec().run;
  for (int m = 0; m < spec.layout.microbatches; ++m) {
    const Span rows = rows_of(spec.layout, spec.batch, 0, m);
    const Feed inputs = feed(spec, rows, 0), targets = feed(spec, rows, 1);
    stage.forward(m, spec.seq, {&inputs, {}});
    static_cast<void>(stage.loss(m, targets, 0.01));
    stage.backward(m, {});
  }
}

void expect_same(const StageSnapshot& a, const StageSnapshot& b, std::uint64_t step) {
  EXPECT_TRUE(same_bits(a.parameters, b.parameters)) << step;
  EXPECT_TRUE(same_bits(a.moments, b.moments)) << step;
  EXPECT_TRUE(same_bits(a.states, b.states)) << step;
}

TEST_P(Step, PassesAheadOfTheSwapGiveTheSameBits) {
  RunSpec spec = small(GetParam(), {1, 1, 2});
  spec.optimizer = ops::Optimizer::kAdam;
  const ops::Executor executor(1);
  const auto waits = make_stage({spec, 0, 0}, executor), ahead = make_stage({spec, 0, 0}, executor);
  for (std::uint64_t number = 1; number <= 6; ++number) {
    waits->begin(number == 1, number);
    run_passes(*waits);
    waits->apply({}, 1e-2, number);
    const StageSnapshot wanted = waits->prepared().copy();
    waits->swap();

    if (number == 1) ahead->begin(true, number);
    if (number == 1) run_passes(*ahead);
    ahead->apply({}, 1e-2, number);
    ahead->go_on(false, number + 1);
    if (number % 2 == 1) run_passes(*ahead);
    expect_same(ahead->prepared().copy(), wanted, number);
    ahead->swap();
    if (number % 2 == 0) run_passes(*ahead);
    expect_same(ahead->current().copy(), wanted, number);
  }
}

TEST_P(Step, PassesAheadAreThrownAwayWithTheVersionBelowThem) {
  const RunSpec spec = small(GetParam(), {1, 1, 2});
  const ops::Executor executor(1);
  const auto plain = make_stage({spec, 0, 0}, executor);
  const auto disturbed = make_stage({spec, 0, 0}, executor);
  for (std::uint64_t number = 1; number <= 4; ++number) {
    for (Stage* stage : {plain.get(), disturbed.get()}) {
      stage->begin(number == 1, number);
      run_passes(*stage);
      stage->apply({}, 1e-2, number);
      if (stage == plain.get()) continue;
      stage->go_on(false, number + 1);
      run_passes(*stage);
      stage->begin(number == 1, number);
      run_passes(*stage);
      stage->apply({}, 1e-2, number);
    }
    expect_same(disturbed->prepared().copy(), plain->prepared().copy(), number);
    plain->swap();
    disturbed->swap();
  }
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
