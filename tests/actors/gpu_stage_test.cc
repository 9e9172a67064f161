// Stages on a GPU, here an emulated one: they follow the CPU's, and promise the same bits to
// themselves. The module's own checks are in tests/ops/cuda.

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <memory>

#include <sys/wait.h>
#include <unistd.h>

#include <rondo/ops/gpu_buffer.h>

#include "on_gpu.h"
#include "one_step.h"
#include "program.h"

namespace rondo::actors {
namespace {

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
  for (std::uint64_t number = 1; number <= 3; ++number) {
    const double wanted = learn(*cpu, number);
    EXPECT_NEAR(learn(*first, number), wanted, 1e-4 * wanted);
    cpu->swap();
    first->swap();
    if (number == 2) second->restore(first->current().copy().view());
  }
  EXPECT_LE(relative_error(first->current().copy().parameters, cpu->current().copy().parameters),
            1e-4);
  learn(*second, 3);
  learn(*second, 3);  // prepared twice, never committed in between
  second->swap();
  const StageSnapshot a = first->current().copy(), b = second->current().copy();
  EXPECT_TRUE(same_bits(a.parameters, b.parameters));
  EXPECT_TRUE(same_bits(a.moments, b.moments));
  EXPECT_TRUE(same_bits(a.states, b.states));
}

// Every layer that a model can have.
class GpuModels : public testing::TestWithParam<ModelSpec> {};
constexpr auto kTokens = DataKind::kTokens, kSeries = DataKind::kSeries;
constexpr auto kTanh = Activation::kTanh;
INSTANTIATE_TEST_SUITE_P(
    Layers, GpuModels,
    testing::Values(
        ModelSpec{CellKind::kRnn, Activation::kSigmoid, kTokens, 3, 7, 5, 5, true, 0.4},
        ModelSpec{CellKind::kLstm, kTanh, kTokens, 3, 6, 5, 5, false, 0, 4},
        ModelSpec{CellKind::kLstm, kTanh, kTokens, 3, 7, 5, 5, true, 0.25, 5, 3},
        ModelSpec{CellKind::kLstm, kTanh, kSeries, 3, 6, 1, 1, true, 0.2, 3},
        ModelSpec{CellKind::kGru, kTanh, kTokens, 3, 6, 5, 5, false, 0.5, 0, 4},
        ModelSpec{CellKind::kMinGru, kTanh, kTokens, 3, 6, 5, 5},
        ModelSpec{CellKind::kMinGru, kTanh, kTokens, 3, 7, 5, 5, true, 0.3, 0, 4},
        ModelSpec{CellKind::kMinLstm, kTanh, kTokens, 3, 6, 5, 5, true, 0.3},
        ModelSpec{CellKind::kMinLstm, kTanh, kSeries, 3, 6, 1, 1}),
    [](const testing::TestParamInfo<ModelSpec>& model) {
      return std::string(model.param.data == kSeries ? "series_" : "text_") +
             std::to_string(model.index);
    });

TEST_P(GpuModels, LossAndGradientFollowTheCpus) {
  const OnGpu gpu;
  for (const Layout& layout : {Layout{1, 1, 1}, Layout{2, 2, 3}}) {
    const RunSpec spec = small(GetParam(), layout);
    std::vector<float> weights(parameter_count(spec.model, {0, spec.model.layers}));
    for (std::size_t i = 0; i < weights.size(); ++i)   // far from the small first ones
      weights[i] = static_cast<float>((i * 7919) % 1601) * 1e-3F - 0.8F;
    const Outcome wanted = one_step(spec, 1, weights, 9);
    const Outcome got = one_step(on_gpu(spec), 1, weights, 9);
    EXPECT_NEAR(got.loss, wanted.loss, 1e-5 * wanted.loss);
    ASSERT_EQ(got.gradient.size(), wanted.gradient.size());
    EXPECT_LE(relative_error(got.gradient, wanted.gradient), 1e-5);
  }
}

TEST_P(GpuModels, CuttingLayersIntoStagesChangesNoBit) {
  const OnGpu gpu;
  const Outcome one = one_step(on_gpu(small(GetParam(), {2, 1, 3})), 1);
  const Outcome three = one_step(on_gpu(small(GetParam(), {2, 3, 3})), 1);
  EXPECT_EQ(one.loss, three.loss);
  EXPECT_TRUE(same_bits(one.gradient, three.gradient));
}

// The copy of a version runs beside the next step: nobody waits for it before its reader does, and
// the version that it shows is its own.
TEST(GpuStage, AVersionIsCopiedWhileTheNextStepRuns) {
  const OnGpu gpu;
  RunSpec spec = on_gpu(small(CellKind::kLstm, {1, 1, 2}));
  spec.optimizer = ops::Optimizer::kAdam;
  const ops::Executor executor(1);
  const auto waits = make_stage({spec, 0, 0}, executor);
  const auto goes_on = make_stage({spec, 0, 0}, executor);
  const auto passes = [&](Stage& stage) {
    for (int m = 0; m < 2; ++m) {
      const Span rows = rows_of(spec.layout, spec.batch, 0, m);
      const Feed inputs = feed(spec, rows, 0), targets = feed(spec, rows, 1);
      stage.forward(m, spec.seq, {&inputs, {}});
      stage.loss(m, targets, 0.01);
      stage.backward(m, {});
    }
  };
  for (std::uint64_t number = 1; number <= 3; ++number) {
    waits->begin(number == 1, number);
    passes(*waits);
    waits->apply({}, 1e-2, number);
    const StageSnapshot wanted = waits->prepared().copy();
    waits->swap();
    if (number == 1) goes_on->begin(true, number);
    if (number == 1) passes(*goes_on);
    goes_on->apply({}, 1e-2, number);
    goes_on->go_on(false, number + 1);
    passes(*goes_on);
    const StageSnapshot got = goes_on->prepared().copy();
    goes_on->swap();
    EXPECT_TRUE(same_bits(got.parameters, wanted.parameters)) << number;
    EXPECT_TRUE(same_bits(got.moments, wanted.moments)) << number;
    EXPECT_TRUE(same_bits(got.states, wanted.states)) << number;
  }
}

// Each part is there when it is said to be, the last one first.
class GpuLinesOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Lines, GpuLinesOf, testing::Values("1", "3"));

TEST_P(GpuLinesOf, AGradientIsHandedOverPartByPartInTheBitsOfTheWhole) {
  const OnGpu gpu;
  const Variable lines("RONDO_GPU_LINES", GetParam());
  RunSpec spec = on_gpu(small(CellKind::kGru, {1, 1, 2}));
  spec.model.layers = 3;
  spec.model.embedding = 4;
  const ops::Executor executor(1);
  const auto stage = make_stage({spec, 0, 0}, executor);
  std::vector<float> memory;
  std::vector<std::vector<float>> seen;
  for (const std::size_t count : stage->gradient_parts()) memory.resize(memory.size() + count);
  stage->send_gradient({memory, [&](std::size_t part) {
                          EXPECT_EQ(part + seen.size() + 1, 3u);
                          seen.push_back(memory);
                        }});
  stage->begin(true, 1);
  for (int m = 0; m < 2; ++m) {
    const Span rows = rows_of(spec.layout, spec.batch, 0, m);
    const Feed inputs = feed(spec, rows, 0), targets = feed(spec, rows, 1);
    stage->forward(m, spec.seq, {&inputs, {}});
    stage->loss(m, targets, 0.01);
    stage->backward(m, {});
  }
  const auto whole = stage->gradient();
  const std::vector<float> wanted(whole.begin(), whole.end());
  EXPECT_TRUE(same_bits(memory, wanted));
  ASSERT_EQ(seen.size(), 3u);
  std::size_t at = memory.size();
  for (std::size_t part = 3; part-- > 0;) {
    at -= stage->gradient_parts()[part];
    const std::vector<float>& then = seen[2 - part];
    EXPECT_TRUE(std::equal(then.begin() + static_cast<std::ptrdiff_t>(at), then.end(),
                           wanted.begin() + static_cast<std::ptrdiff_t>(at)))
        << part;
  }
}

// ---- stages in processes of their own ----------------------------------------------------------

// A stage in a child process, one call at a time.
class StageInAChild {
 public:
  enum class Call : int { kBegin, kLearn, kGradient };
  explicit StageInAChild(const RunSpec& spec, int stage) {
    EXPECT_EQ(pipe(to_) | pipe(from_), 0);
    pid_ = fork();
    if (pid_ != 0) return;
    const ops::Executor executor(1);
    const auto mine = make_stage({spec, 0, stage}, executor);
    while (true) serve(*mine, spec);
  }
  ~StageInAChild() {
    kill();
    for (const int end : {to_[0], to_[1], from_[0], from_[1]}) close(end);
  }
  StageInAChild(const StageInAChild&) = delete;
  StageInAChild& operator=(const StageInAChild&) = delete;

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    EXPECT_EQ(waitpid(pid_, nullptr, 0), pid_);
    pid_ = -1;
  }
  std::vector<float> call(Call what, int microbatch, std::span<const float> floats) {
    put(to_[1], what, microbatch, floats);
    return take(from_[0]).floats;
  }

 private:
  struct Letter {
    Call what;
    int microbatch;
    std::vector<float> floats;
  };
  static void put(int to, Call what, int microbatch, std::span<const float> floats) {
    const std::size_t count = floats.size();
    must_write(to, &what, sizeof what);
    must_write(to, &microbatch, sizeof microbatch);
    must_write(to, &count, sizeof count);
    must_write(to, floats.data(), floats.size_bytes());
  }
  static Letter take(int from) {
    Letter letter{};
    std::size_t count = 0;
    must_read(from, &letter.what, sizeof letter.what);
    must_read(from, &letter.microbatch, sizeof letter.microbatch);
    must_read(from, &count, sizeof count);
    letter.floats.resize(count);
    must_read(from, letter.floats.data(), count * sizeof(float));
    return letter;
  }
  static void must_write(int to, const void* data, std::size_t bytes) {
    if (write(to, data, bytes) != static_cast<ssize_t>(bytes)) _exit(1);
  }
  static void must_read(int from, void* data, std::size_t bytes) {
    for (std::size_t done = 0; done < bytes;) {
      const ssize_t got = read(from, static_cast<char*>(data) + done, bytes - done);
      if (got <= 0) _exit(0);
      done += static_cast<std::size_t>(got);
    }
  }
  void serve(Stage& stage, const RunSpec& spec) {
    const Letter letter = take(to_[0]);
    std::span<const float> answer;
    if (letter.what == Call::kBegin) stage.rejoin(), stage.begin(true, 1);
    if (letter.what == Call::kGradient) answer = stage.gradient();
    if (letter.what == Call::kLearn) {
      const Span rows = rows_of(spec.layout, spec.batch, 0, letter.microbatch);
      stage.forward(letter.microbatch, spec.seq, {nullptr, letter.floats});
      stage.loss(letter.microbatch, feed(spec, rows, 1), 1.0 / (spec.seq * spec.batch));
      answer = stage.backward(letter.microbatch, {});
    }
    put(from_[1], letter.what, letter.microbatch, answer);
  }

  int to_[2], from_[2];
  pid_t pid_ = -1;
};

// The gradients of both stages, and how long the parcels to the child were.
struct TwoStages {
  std::vector<float> gradient;
  std::vector<std::size_t> parcels;
};

TwoStages step_of_two(Stage& first, StageInAChild& second, int until) {
  using Call = StageInAChild::Call;
  const RunSpec& spec = first.spec().run;
  TwoStages out;
  first.rejoin();
  first.begin(true, 1);
  second.call(Call::kBegin, 0, {});
  for (int m = 0; m < until; ++m) {
    const Feed inputs = feed(spec, rows_of(spec.layout, spec.batch, 0, m), 0);
    const auto parcel = first.forward(m, spec.seq, {&inputs, {}});
    out.parcels.push_back(parcel.size());
    first.backward(m, second.call(Call::kLearn, m, parcel));
  }
  const auto mine = first.gradient();
  out.gradient.assign(mine.begin(), mine.end());
  const std::vector<float> theirs = second.call(Call::kGradient, 0, {});
  out.gradient.insert(out.gradient.end(), theirs.begin(), theirs.end());
  return out;
}

// The child's device memory is open here when the child is killed, and a new one takes its place.
TEST(GpuStage, ActivationsStayOnTheDeviceBetweenProcessesAlsoWhenOneIsKilled) {
  const OnGpu gpu;
  const RunSpec spec = on_gpu(small(CellKind::kLstm, {1, 2, 4}));
  auto second = std::make_unique<StageInAChild>(spec, 1);
  const ops::Executor executor(1);
  const auto first = make_stage({spec, 0, 0}, executor);
  const Outcome wanted = one_step(spec, 1);
  const TwoStages whole = step_of_two(*first, *second, 4);
  EXPECT_TRUE(same_bits(whole.gradient, wanted.gradient));
  EXPECT_GT(whole.parcels[0], 64u);   // through host memory, with an offer
  for (const std::size_t m : {1u, 2u, 3u}) EXPECT_LE(whole.parcels[m], 64u) << m;
  step_of_two(*first, *second, 2);
  second->kill();
  second = std::make_unique<StageInAChild>(spec, 1);
  const TwoStages again = step_of_two(*first, *second, 4);
  EXPECT_TRUE(same_bits(again.gradient, wanted.gradient));
  EXPECT_LE(again.parcels[3], 64u);
}

TEST(GpuStage, WhereMemoryCannotBeSharedActivationsGoThroughTheHostInTheSameBits) {
  for (const char* kind : {"no-ipc", "no-ipc-open"}) {
    const OnGpu gpu(kind);
    const RunSpec spec = on_gpu(small(CellKind::kGru, {1, 2, 3}));
    testing::internal::CaptureStderr();
    StageInAChild second(spec, 1);
    const ops::Executor executor(1);
    const auto first = make_stage({spec, 0, 0}, executor);
    const TwoStages got = step_of_two(*first, second, 3);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("r0.s0 to r0.s1 goes through host memory: "), std::string::npos) << said;
    EXPECT_NE(said.find("operation not supported"), std::string::npos) << said;
    EXPECT_TRUE(same_bits(got.gradient, one_step(spec, 1).gradient));
    for (const std::size_t parcel : got.parcels) EXPECT_GT(parcel, 64u);
  }
}

// What a dead process leaves behind may break the GPU for whoever reads it: then this process ends
// too when the group begins anew, and is born again.
TEST(GpuStage, ABrokenGpuEndsTheProcessWhenTheGroupBeginsAnew) {
  const OnGpu gpu;
  const RunSpec spec = on_gpu(small(CellKind::kRnn, {1, 2, 4}));
  EXPECT_EXIT(
      {
        StageInAChild second(spec, 1);
        const ops::Executor executor(1);
        const auto first = make_stage({spec, 0, 0}, executor);
        step_of_two(*first, second, 3);
        const Feed inputs = feed(spec, rows_of(spec.layout, spec.batch, 0, 0), 0);
        const auto parcel = first->forward(0, spec.seq, {&inputs, {}});
        const auto below = second.call(StageInAChild::Call::kLearn, 0, parcel);
        second.kill();
        try {
          first->backward(0, below);   // reads what nobody owns any more
          first->gradient();
        } catch (const ops::GpuFault&) {
        }
        first->rejoin();
        _exit(0);
      },
      testing::ExitedWithCode(1), "stage r0.s0 ends, to be born again: the GPU failed");
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
