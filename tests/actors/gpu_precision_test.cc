// rondo train --precision: products of a GPU with rounded inputs, here on the emulated device, and
// the option on its way through command line, checkpoint and resume.

#include <gtest/gtest.h>

#include <rondo/actors/checkpoint.h>
#include <rondo/actors/stage.h>

#include "on_gpu.h"
#include "one_step.h"
#include "program.h"

namespace rondo::actors {
namespace {

using ops::cuda::Precision;
constexpr auto kTokens = DataKind::kTokens;
constexpr auto kTanh = Activation::kTanh;

class GpuPrecision : public testing::TestWithParam<ModelSpec> {};
INSTANTIATE_TEST_SUITE_P(
    Models, GpuPrecision,
    testing::Values(ModelSpec{CellKind::kRnn, kTanh, kTokens, 3, 40, 5, 5},
                    ModelSpec{CellKind::kLstm, kTanh, kTokens, 3, 40, 5, 5, true, 0.25, 0, 8},
                    ModelSpec{CellKind::kLstm, kTanh, kTokens, 3, 24, 5, 5, false, 0, 10},
                    ModelSpec{CellKind::kGru, kTanh, kTokens, 3, 40, 5, 5}),
    [](const testing::TestParamInfo<ModelSpec>& model) { return std::to_string(model.index); });

// Far from the small first weights, where rounding would hardly show.
Outcome step_in(Precision precision, const ModelSpec& model) {
  const OnGpu gpu;
  RunSpec spec = on_gpu(small(model, {2, 1, 2}));
  spec.seq = 11;
  spec.precision = precision;
  std::vector<float> weights(parameter_count(spec.model, {0, spec.model.layers}));
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = static_cast<float>((i * 7919) % 1601) * 2.5e-4f - 0.2f;
  return one_step(spec, 1, weights, 9);
}

// Inputs of products keep 10 bits of float32's 23 in TF32, 7 in bf16: a step's gradient is off by
// some of their last bits, less than a hundred of them, and never by nothing at all.
TEST_P(GpuPrecision, GradientsStayNearThoseOfFloat32AndRepeatBitForBit) {
  const Outcome wanted = step_in(Precision::kFloat32, GetParam());
  for (const auto& [precision, most] :
       {std::pair{Precision::kTf32, 4e-3}, std::pair{Precision::kBf16, 4e-2}}) {
    const Outcome got = step_in(precision, GetParam()), again = step_in(precision, GetParam());
    EXPECT_NEAR(got.loss, wanted.loss, most * wanted.loss);
    EXPECT_LE(relative_error(got.gradient, wanted.gradient), most);
    EXPECT_FALSE(same_bits(got.gradient, wanted.gradient));
    EXPECT_EQ(got.loss, again.loss);
    EXPECT_TRUE(same_bits(got.gradient, again.gradient));
  }
}

TEST(RunSpecPrecision, IsPartOfACheckpointAndUnknownOnesAreRefused) {
  RunSpec spec = on_gpu(small(CellKind::kLstm, {1, 1, 1}));
  spec.precision = Precision::kBf16;
  spec.data.vocabulary.kind = TokenKind::kChar;
  for (char token = 'a'; token < 'a' + spec.model.inputs; ++token)
    spec.data.vocabulary.tokens.emplace_back(1, token);
  auto metadata = to_metadata(spec);
  const auto back = from_metadata(metadata);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back.value().precision, Precision::kBf16);
  const auto with = [&](const std::string& was, const std::string& is) {
    auto other = metadata;
    std::string& run = other["run"];
    run.replace(run.find(was), was.size(), is);
    return from_metadata(other);
  };
  const auto older = with(",\"precision\":\"bf16\"", "");
  ASSERT_TRUE(older.ok());
  EXPECT_EQ(older.value().precision, Precision::kFloat32);
  EXPECT_NE(std::string(with("bf16", "fp8").error().what()).find("its precision is unknown"),
            std::string::npos);
  EXPECT_NE(std::string(with("\"gpu\"", "\"cpu\"").error().what())
                .find("its precision is not one of the CPU"),
            std::string::npos);
}

std::vector<std::string> tiny(const std::string& text, const std::string& out,
                              const std::vector<std::string>& more) {
  std::vector<std::string> all = {"--text", text, "--out", out, "--hidden", "8", "--batch", "4",
                                  "--seq", "6", "--layers", "2", "--steps", "6"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(TrainPrecision, WhatTheCoresLackAndWhatNobodyKnowsIsOneSentence) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(2000)), out = scratch / "o";
  const Ran cores = run("rondo-train", tiny(text, out, {"--precision", "bf16"}));
  EXPECT_EQ(cores.code, 2);
  EXPECT_NE(cores.err.find("--precision bf16 goes with --device gpu: the cores compute in "
                           "float32"),
            std::string::npos)
      << cores.err;
  const Ran odd = run("rondo-train", tiny(text, out, {"--precision", "fp8", "--device", "gpu"}));
  EXPECT_EQ(odd.code, 2);
  EXPECT_NE(odd.err.find("--precision 'fp8'"), std::string::npos) << odd.err;
  EXPECT_NE(odd.err.find("float32, tf32, bf16"), std::string::npos) << odd.err;
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(TrainPrecision, IsPrintedWithTheLayoutAndKeptByAResumedRun) {
  const OnGpu gpu;
  const Scratch scratch;
  const std::string out = scratch / "out", text = scratch.write("text", small_text(2000));
  const Ran first =
      run("rondo-train", tiny(text, out, {"--device", "gpu", "--precision", "bf16"}));
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_NE(first.out.find("LSTM 8 bf16 persistent"), std::string::npos) << first.out;
  EXPECT_NE(first.out.find("(bf16); into "), std::string::npos) << first.out;
  const Ran changed = run("rondo-train", {"--resume", "--out", out, "--precision", "tf32"});
  EXPECT_EQ(changed.code, 2);
  EXPECT_NE(changed.err.find("--precision differs from the run"), std::string::npos)
      << changed.err;
  const Ran same = run("rondo-train", {"--resume", "--out", out, "--steps", "8"});
  ASSERT_EQ(same.code, 0) << same.err;
  EXPECT_NE(same.out.find("(bf16); into "), std::string::npos) << same.out;
  const auto saved = load_run(out + "/last.safetensors");
  ASSERT_TRUE(saved.ok());
  EXPECT_EQ(saved.value().spec.precision, Precision::kBf16);
}

}  // namespace
}  // namespace rondo::actors
