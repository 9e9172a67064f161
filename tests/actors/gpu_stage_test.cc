// Stages on a GPU, here an emulated one: they follow the CPU's, and promise the same bits to
// themselves. The module's own checks are in tests/ops/cuda.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "one_step.h"
#include "program.h"

namespace rondo::actors {
namespace {

// The emulated module for this process and those that it starts.
class OnGpu {
 public:
  explicit OnGpu(const char* kind = "") {
    setenv("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE, 1);
    setenv("RONDO_EMULATED_GPU", kind, 1);
  }
  ~OnGpu() {
    unsetenv("RONDO_CUDA_MODULE");
    unsetenv("RONDO_EMULATED_GPU");
  }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;
};

RunSpec on_gpu(RunSpec spec) {
  spec.device = Device::kGpu;
  return spec;
}

double relative_error(const std::vector<float>& got, const std::vector<float>& wanted) {
  if (got.size() != wanted.size()) return HUGE_VAL;
  double error = 0, size = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double want = static_cast<double>(wanted[i]);
    error += (static_cast<double>(got[i]) - want) * (static_cast<double>(got[i]) - want);
    size += want * want;
  }
  return std::sqrt(error / size);
}

class GpuStep : public testing::TestWithParam<CellKind> {};
INSTANTIATE_TEST_SUITE_P(Cells, GpuStep,
                         testing::Values(CellKind::kRnn, CellKind::kLstm, CellKind::kGru));

TEST_P(GpuStep, LossAndGradientFollowTheCpus) {
  const OnGpu gpu;
  for (const Layout& layout : {Layout{1, 1, 1}, Layout{2, 2, 2}}) {
    const RunSpec spec = small(GetParam(), layout);
    const Outcome wanted = one_step(spec, 1), got = one_step(on_gpu(spec), 1);
    EXPECT_NEAR(got.loss, wanted.loss, 1e-5 * wanted.loss);
    ASSERT_EQ(got.gradient.size(), wanted.gradient.size());
    EXPECT_LE(relative_error(got.gradient, wanted.gradient), 1e-5);
  }
}

TEST_P(GpuStep, CuttingLayersIntoStagesChangesNoBit) {
  const OnGpu gpu;
  const Outcome one = one_step(on_gpu(small(GetParam(), {2, 1, 2})), 1);
  const Outcome two = one_step(on_gpu(small(GetParam(), {2, 2, 2})), 1);
  EXPECT_EQ(one.loss, two.loss);
  EXPECT_TRUE(same_bits(one.gradient, two.gradient));
}

// Several steps with both kinds of states, an optimiser with two moments, a step thrown away and a
// return to a snapshot.
TEST_P(GpuStep, StepsFollowTheCpusAndASnapshotGivesThemAgainBitForBit) {
  const OnGpu gpu;
  RunSpec spec = small(GetParam(), {1, 1, 1});
  spec.optimizer = ops::Optimizer::kAdam;
  const ops::Executor executor(1);
  const auto cpu = make_stage({spec, 0, 0}, executor);
  const auto first = make_stage({on_gpu(spec), 0, 0}, executor);
  const auto second = make_stage({on_gpu(spec), 0, 0}, executor);
  const Feed inputs = feed(spec, {0, spec.batch}, 0), targets = feed(spec, {0, spec.batch}, 1);
  const auto step = [&](Stage& stage, std::uint64_t number) {
    stage.begin(number == 1, number);
    stage.forward(0, spec.seq, {&inputs, {}});
    const double loss = stage.loss(0, targets, 0.01);
    stage.backward(0, {});
    stage.apply(stage.gradient(), 1e-2, number);
    return loss;
  };
  for (std::uint64_t number = 1; number <= 3; ++number) {
    const double wanted = step(*cpu, number);
    EXPECT_NEAR(step(*first, number), wanted, 1e-4 * wanted);
    cpu->swap();
    first->swap();
    if (number == 2) second->restore(first->current().copy().view());
  }
  EXPECT_LE(relative_error(first->current().copy().parameters, cpu->current().copy().parameters),
            1e-4);
  step(*second, 3);
  step(*second, 3);  // prepared twice, never committed in between
  second->swap();
  const StageSnapshot a = first->current().copy(), b = second->current().copy();
  EXPECT_TRUE(same_bits(a.parameters, b.parameters));
  EXPECT_TRUE(same_bits(a.moments, b.moments));
  EXPECT_TRUE(same_bits(a.states, b.states));
}

TEST(GpuStage, InferenceFollowsTheCpusOverSeveralSegments) {
  const OnGpu gpu;
  const RunSpec spec = small(CellKind::kLstm, {1, 1, 1});
  const ops::Executor executor(1);
  const auto cpu = make_stage({spec, 0, 0}, executor);
  const auto other = make_stage({on_gpu(spec), 0, 0}, executor);
  const Feed inputs = feed(spec, {0, spec.batch}, 0), targets = feed(spec, {0, spec.batch}, 1);
  for (const bool fresh : {true, false, false}) {
    const auto wanted = cpu->infer(0, spec.seq, {&inputs, {}}, fresh);
    const std::vector<float> want(wanted.begin(), wanted.end());
    const auto outputs = other->infer(0, spec.seq, {&inputs, {}}, fresh);
    EXPECT_LE(relative_error({outputs.begin(), outputs.end()}, want), 1e-5);
    EXPECT_NEAR(other->judge(0, targets), cpu->judge(0, targets), 1e-3);
  }
}

// ---- the program -------------------------------------------------------------------------------

std::vector<std::string> tiny(const std::string& text, const std::string& out) {
  return {"--text", text, "--out", out, "--hidden", "8", "--batch", "4", "--seq", "6", "--layers",
          "2", "--stages", "2", "--replicas", "2", "--steps", "12", "--device", "gpu"};
}

TEST(TrainOnGpu, WithoutOneIsOneSentenceAndExitCode5) {
  const OnGpu gpu("none");
  const Scratch scratch;
  const Ran ran = run("rondo-train", tiny(scratch.write("text", small_text(2000)), scratch / "o"));
  EXPECT_EQ(ran.code, 5) << ran.err;
  EXPECT_NE(ran.err.find("--device gpu: GPU not used: no GPU is visible"), std::string::npos)
      << ran.err;
  EXPECT_FALSE(std::filesystem::exists(scratch / "o"));
}

TEST(TrainOnGpu, OneThatIsTooSmallForTheModelEndsTheRunInOneSentence) {
  const OnGpu gpu("small");
  const Scratch scratch;
  const Ran ran = run("rondo-train", tiny(scratch.write("text", small_text(2000)), scratch / "o"));
  EXPECT_EQ(ran.code, 1) << ran.err;
  EXPECT_NE(ran.err.find("the GPU is full"), std::string::npos) << ran.err;
  EXPECT_FALSE(std::filesystem::exists(scratch / "o"));
}

TEST(TrainOnGpu, KillsDoNotChangeTheWeights) {
  const OnGpu gpu;
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(2000));
  const Ran plain = run("rondo-train", tiny(text, scratch / "plain"));
  ASSERT_EQ(plain.code, 0) << plain.err;
  std::vector<std::string> killed = tiny(text, scratch / "killed");
  killed.insert(killed.end(), {"--chaos", "5"});
  const Ran again = run("rondo-train", killed);
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.err.find("chaos: hit: "), std::string::npos) << again.err;
  const std::string wanted = slurp(scratch / "plain/last.safetensors");
  EXPECT_FALSE(wanted.empty());
  EXPECT_TRUE(slurp(scratch / "killed/last.safetensors") == wanted);
}

TEST(TrainOnGpu, AResumedRunStaysOnItsDeviceAndSaysWhenTheGpuIsAnother) {
  const Scratch scratch;
  const std::string out = scratch / "out";
  const OnGpu gpu;
  const Ran first = run("rondo-train", tiny(scratch.write("text", small_text(2000)), out));
  ASSERT_EQ(first.code, 0) << first.err;
  const Ran moved = run("rondo-train", {"--resume", "--out", out, "--device", "cpu"});
  EXPECT_EQ(moved.code, 2) << moved.err;
  EXPECT_NE(moved.err.find("--device differs from the run"), std::string::npos) << moved.err;
  const Ran same = run("rondo-train", {"--resume", "--out", out, "--steps", "14"});
  EXPECT_EQ(same.code, 0) << same.err;
  EXPECT_EQ(same.err.find("numeric profile"), std::string::npos) << same.err;
  const OnGpu other("other");
  const Ran changed = run("rondo-train", {"--resume", "--out", out, "--steps", "16"});
  EXPECT_EQ(changed.code, 0) << changed.err;
  EXPECT_NE(changed.err.find("was saved under the numeric profile"), std::string::npos)
      << changed.err;
}

// Checkpoints know no device: what a GPU has learnt is sampled and judged on the cores.
TEST(TrainOnGpu, ItsCheckpointsAreSampledOnTheCores) {
  const Scratch scratch;
  const std::string out = scratch / "out";
  {
    const OnGpu gpu;
    const Ran ran = run("rondo-train", tiny(scratch.write("text", small_text(2000)), out));
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  const Ran sample =
      run("rondo-sample", {out + "/last.safetensors", "--length", "20", "--seed", "1"});
  EXPECT_EQ(sample.code, 0) << sample.err;
  EXPECT_GE(sample.out.size(), 20u);
}

}  // namespace
}  // namespace rondo::actors
