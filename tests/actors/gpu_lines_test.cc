// A GPU stage's layers as a wavefront over lines of work, on the emulated device: its streams do
// their work as late as their waits allow.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <rondo/actors/stage.h>

#include "on_gpu.h"
#include "one_step.h"

namespace rondo::actors {
namespace {

// Two steps of a stage of all layers in so many lines, and what it says between them without
// learning.
struct Lines {
  std::vector<float> gradient, outputs;
  StageSnapshot version;
};

Lines in_lines(const RunSpec& spec, int count, const char* device = "") {
  const OnGpu gpu(device);
  const Variable lines("RONDO_GPU_LINES", std::to_string(count));
  const ops::Executor executor(1);
  const auto stage = make_stage({spec, 0, 0}, executor);
  Lines out;
  for (std::uint64_t number = 1; number <= 2; ++number) {
    stage->begin(number == 1, number);
    for (int m = 0; m < spec.layout.microbatches; ++m) {
      const Span rows = rows_of(spec.layout, spec.batch, 0, m);
      const Feed inputs = feed(spec, rows, 0), targets = feed(spec, rows, 1);
      stage->forward(m, spec.seq, {&inputs, {}});
      stage->loss(m, targets, 0.01);
      stage->backward(m, {});
    }
    const auto gradient = stage->gradient();
    out.gradient.insert(out.gradient.end(), gradient.begin(), gradient.end());
    stage->apply({}, 1e-2, number);
    stage->swap();
    for (const bool fresh : {true, false}) {
      const Feed inputs = feed(spec, rows_of(spec.layout, spec.batch, 0, 1), 0);
      const auto said = stage->infer(1, spec.seq, {&inputs, {}}, fresh);
      out.outputs.insert(out.outputs.end(), said.begin(), said.end());
    }
  }
  out.version = stage->current().copy();
  return out;
}

RunSpec stack_of(const ModelSpec& model) {
  RunSpec spec = on_gpu(small(model, {1, 1, 2}));
  spec.seq = 23;   // in four parts, one of them shorter
  return spec;
}

bool all_finite(const std::vector<float>& numbers) {
  return std::all_of(numbers.begin(), numbers.end(), [](float v) { return std::isfinite(v); });
}

// Every recurrent layer that a model can have.
class GpuLinesOf : public testing::TestWithParam<ModelSpec> {};
constexpr auto kTokens = DataKind::kTokens, kSeries = DataKind::kSeries;
constexpr auto kTanh = Activation::kTanh;
INSTANTIATE_TEST_SUITE_P(
    Layers, GpuLinesOf,
    testing::Values(
        ModelSpec{CellKind::kRnn, Activation::kSigmoid, kTokens, 4, 7, 5, 5, true, 0.4},
        ModelSpec{CellKind::kLstm, kTanh, kTokens, 4, 6, 5, 5, false, 0, 4},
        ModelSpec{CellKind::kLstm, kTanh, kTokens, 4, 7, 5, 5, true, 0.25, 5, 3},
        ModelSpec{CellKind::kLstm, kTanh, kSeries, 4, 6, 1, 1, true, 0, 0},
        ModelSpec{CellKind::kGru, kTanh, kTokens, 4, 6, 5, 5, false, 0.5, 0, 4},
        ModelSpec{CellKind::kGru, kTanh, kTokens, 4, 40, 5, 5}),
    [](const testing::TestParamInfo<ModelSpec>& model) { return std::to_string(model.index); });

TEST_P(GpuLinesOf, TheNumberOfLinesChangesNoBit) {
  const RunSpec spec = stack_of(GetParam());
  const Lines wanted = in_lines(spec, 1);
  EXPECT_TRUE(all_finite(wanted.gradient));
  for (const int count : {3, 4}) {   // two layers share a line, and none does
    const Lines got = in_lines(spec, count);
    EXPECT_TRUE(same_bits(got.gradient, wanted.gradient)) << count;
    EXPECT_TRUE(same_bits(got.outputs, wanted.outputs)) << count;
    EXPECT_TRUE(same_bits(got.version.parameters, wanted.version.parameters)) << count;
    EXPECT_TRUE(same_bits(got.version.moments, wanted.version.moments)) << count;
    EXPECT_TRUE(same_bits(got.version.states, wanted.version.states)) << count;
  }
}

TEST(GpuLines, StagesOfSeveralLinesExchangeTheSameBits) {
  RunSpec spec = stack_of({CellKind::kLstm, kTanh, kTokens, 4, 12, 9, 9, true, 0.3});
  spec.layout = {2, 2, 3};
  const OnGpu gpu;
  const auto step = [&](const char* count) {
    const Variable lines("RONDO_GPU_LINES", count);
    return one_step(spec, 1);
  };
  const Outcome wanted = step("1"), got = step("2");
  EXPECT_EQ(got.loss, wanted.loss);
  EXPECT_TRUE(same_bits(got.gradient, wanted.gradient));
}

// That the bits are the same says something only where lines that do not wait have others.
TEST(GpuLines, LinesThatDoNotWaitForOneAnotherShow) {
  const RunSpec spec = stack_of({CellKind::kGru, kTanh, kTokens, 4, 12, 9, 9});
  const Lines wanted = in_lines(spec, 1);
  EXPECT_TRUE(same_bits(in_lines(spec, 1, "deaf").gradient, wanted.gradient));
  EXPECT_FALSE(same_bits(in_lines(spec, 4, "deaf").gradient, wanted.gradient));
}

}  // namespace
}  // namespace rondo::actors
