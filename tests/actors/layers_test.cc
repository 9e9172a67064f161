// Every layer that a model can have: the whole model's gradient, its bits under every cut of the
// work, and its way through a checkpoint.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <ostream>

#include <unistd.h>

#include <rondo/actors/checkpoint.h>
#include <rondo/actors/evaluate.h>
#include <rondo/ops/random.h>

#include "one_step.h"
#include "reference_model.h"

namespace rondo::actors {
namespace {

struct Case {
  const char* name;
  ModelSpec model;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> cases() {
  constexpr auto tokens = DataKind::kTokens, series = DataKind::kSeries;
  constexpr auto tanh = Activation::kTanh, sigmoid = Activation::kSigmoid;
  std::vector<Case> all{
      {"rnn_norm_dropout", {CellKind::kRnn, sigmoid, tokens, 3, 7, 5, 5, true, 0.4}},
      {"lstm_dropout", {CellKind::kLstm, tanh, tokens, 3, 6, 5, 5, false, 0.3}},
      {"lstm_projection", {CellKind::kLstm, tanh, tokens, 3, 6, 5, 5, false, 0, 4}},
      {"lstm_embedding", {CellKind::kLstm, tanh, tokens, 3, 6, 5, 5, false, 0, 0, 3}},
      {"lstm_everything", {CellKind::kLstm, tanh, tokens, 3, 7, 5, 5, true, 0.25, 5, 3}},
      {"lstm_series", {CellKind::kLstm, tanh, series, 3, 6, 1, 1, true, 0.2, 3}},
      {"gru_norm", {CellKind::kGru, tanh, tokens, 3, 6, 5, 5, true}},
      {"gru_dropout_embedding", {CellKind::kGru, tanh, tokens, 3, 6, 5, 5, false, 0.5, 0, 4}},
      {"min_gru", {CellKind::kMinGru, tanh, tokens, 3, 6, 5, 5}},
      {"min_gru_everything", {CellKind::kMinGru, tanh, tokens, 3, 7, 5, 5, true, 0.3, 0, 4}},
      {"min_gru_series", {CellKind::kMinGru, tanh, series, 3, 6, 1, 1}},
      {"min_lstm", {CellKind::kMinLstm, tanh, tokens, 3, 6, 5, 5}},
      {"min_lstm_norm_dropout", {CellKind::kMinLstm, tanh, tokens, 3, 6, 5, 5, true, 0.3}},
  };
  return all;
}

class Layers : public testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] static RunSpec run(Layout layout) { return small(GetParam().model, layout); }
  // Far from the small first weights: every gate at work.
  [[nodiscard]] static std::vector<float> weights() {
    const ModelSpec& model = GetParam().model;
    std::vector<float> all(parameter_count(model, {0, model.layers}));
    ops::fill_uniform<float>({7, 0, 0, 0}, -0.8, 0.8,
                             {all.data(), {static_cast<ops::Dim>(all.size())}});
    return all;
  }
};

const auto kName = [](const testing::TestParamInfo<Case>& c) { return c.param.name; };
INSTANTIATE_TEST_SUITE_P(Models, Layers, testing::ValuesIn(cases()), kName);

// Loss and every element of the gradient, beside central differences of the reference in double.
TEST_P(Layers, LossAndGradientOfTheWholeModelAreTheReferences) {
  const RunSpec spec = run({2, 2, 2});
  const std::vector<float> parameters = weights();
  constexpr std::uint64_t kStep = 9;
  const Outcome got = one_step(spec, 2, parameters, kStep);
  const Feed inputs = feed(spec, {0, spec.batch}, 0), targets = feed(spec, {0, spec.batch}, 1);
  std::vector<double> at(parameters.begin(), parameters.end());
  const auto loss = [&] {
    return ReferenceModel(spec.model, at)
        .loss(inputs, targets, spec.seq, spec.batch,
              {spec.model.dropout > 0, spec.seed, static_cast<std::uint32_t>(kStep)});
  };
  EXPECT_NEAR(got.loss, loss(), 1e-5 * std::abs(got.loss));
  ASSERT_EQ(got.gradient.size(), at.size());
  constexpr double kStride = 1e-5;  // rounding 1e-11 of the slope, curvature 1e-10
  double error = 0, size = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    const double middle = at[i];
    at[i] = middle + kStride;
    const double above = loss();
    at[i] = middle - kStride;
    const double slope = (above - loss()) / (2 * kStride) / (spec.seq * spec.batch);
    at[i] = middle;
    const double apart = static_cast<double>(got.gradient[i]) - slope;
    EXPECT_NEAR(apart, 0, 2e-6 + 1e-4 * std::abs(slope)) << "parameter " << i;
    error += apart * apart;
    size += slope * slope;
  }
  EXPECT_GT(size, 1e-6);
  EXPECT_LE(std::sqrt(error / size), 5e-6);
}

TEST_P(Layers, StagesAndThreadsChangeNoBit) {
  const std::vector<float> parameters = weights();
  const Outcome one = one_step(run({2, 1, 3}), 1, parameters);
  for (const int stages : {1, 2, 3}) {
    for (const int threads : {1, 2}) {
      const Outcome other = one_step(run({2, stages, 3}), threads, parameters);
      EXPECT_EQ(one.loss, other.loss);
      EXPECT_TRUE(same_bits(one.gradient, other.gradient)) << stages << " " << threads;
    }
  }
}

// Large enough for several blocks of rows, panels of units and items a thread.
TEST_P(Layers, AtALargerSizeStagesAndThreadsChangeNoBitEither) {
  ModelSpec model = GetParam().model;
  model.hidden = 72;
  if (model.projection > 0) model.projection = 40;
  if (model.embedding > 0) model.embedding = 24;
  const auto large = [&](Layout layout) {
    RunSpec spec = small(model, layout);
    spec.seq = 11;
    spec.batch = 66;
    return spec;
  };
  const Outcome one = one_step(large({2, 1, 2}), 1);
  for (const int threads : {2, 3}) {
    const Outcome other = one_step(large({2, 3, 2}), threads);
    EXPECT_EQ(one.loss, other.loss);
    EXPECT_TRUE(same_bits(one.gradient, other.gradient)) << threads;
  }
}

// The same elements are dropped wherever a sequence is computed.
TEST_P(Layers, ReplicasAndMicrobatchesGiveTheGradientOfTheWholeBatch) {
  const std::vector<float> parameters = weights();
  const Outcome whole = one_step(run({1, 1, 1}), 1, parameters);
  for (const Layout& layout : {Layout{1, 1, 4}, Layout{3, 3, 2}, Layout{7, 1, 1}}) {
    const Outcome parts = one_step(run(layout), 1, parameters);
    EXPECT_NEAR(whole.loss, parts.loss, 1e-5 * std::abs(whole.loss));
    ASSERT_EQ(whole.gradient.size(), parts.gradient.size());
    for (std::size_t i = 0; i < whole.gradient.size(); ++i)
      EXPECT_NEAR(whole.gradient[i], parts.gradient[i],
                  1e-6 + 1e-4 * std::abs(static_cast<double>(whole.gradient[i])));
  }
}

// Three steps, the third done twice and then once more from a snapshot.
TEST_P(Layers, AStepDoneAgainGivesTheSameBits) {
  RunSpec spec = run({1, 1, 1});
  spec.optimizer = ops::Optimizer::kAdam;
  const ops::Executor executor(1);
  const auto first = make_stage({spec, 0, 0}, executor);
  const auto second = make_stage({spec, 0, 0}, executor);
  for (const std::uint64_t number : {1u, 2u}) {
    learn(*first, number);
    first->swap();
  }
  second->restore(first->current().copy().view());
  const double loss = learn(*first, 3);
  EXPECT_EQ(learn(*first, 3), loss);
  EXPECT_EQ(learn(*second, 3), loss);
  // another step's masks are others
  EXPECT_EQ(learn(*second, 4) == loss, spec.model.dropout == 0);
  learn(*second, 3);
  const StageSnapshot a = first->prepared().copy(), b = second->prepared().copy();
  EXPECT_TRUE(same_bits(a.parameters, b.parameters));
  EXPECT_TRUE(same_bits(a.moments, b.moments));
  EXPECT_TRUE(same_bits(a.states, b.states));
}

TEST_P(Layers, InferenceDropsNothingAndLeavesTheStepAlone) {
  const RunSpec spec = run({1, 1, 1});
  const std::vector<float> parameters = weights();
  const ops::Executor executor(1);
  const auto stage = make_stage({spec, 0, 0}, executor);
  StageSnapshot version = stage->current().copy();
  version.parameters = parameters;
  stage->restore(version.view());
  const Feed inputs = feed(spec, {0, spec.batch}, 0), targets = feed(spec, {0, spec.batch}, 1);
  const ReferenceModel reference(spec.model, {parameters.begin(), parameters.end()});
  const double wanted = reference.loss(inputs, targets, spec.seq, spec.batch, {});
  for (int time = 0; time < 2; ++time) {
    stage->infer(0, spec.seq, {&inputs, {}}, true);
    EXPECT_NEAR(stage->judge(0, targets), wanted, 1e-5 * wanted);
    stage->begin(true, 1);
    stage->forward(0, spec.seq, {&inputs, {}});
    static_cast<void>(stage->loss(0, targets, 1));
    stage->backward(0, {});
  }
}

// Segments: the state goes on from one to the next, whatever the output goes through.
TEST_P(Layers, TwoSegmentsInferWhatOneLongOneDoes) {
  RunSpec spec = run({1, 1, 1});
  const ops::Executor executor(1);
  const auto stage = make_stage({spec, 0, 0}, executor);
  const Feed all = feed(spec, {0, spec.batch}, 0);
  const auto whole = stage->infer(0, 5, {&all, {}}, true);
  const std::vector<float> wanted(whole.begin(), whole.end());
  std::vector<float> got;
  for (const Span part : {Span{0, 2}, Span{2, 3}}) {
    const auto cut = [&](const auto& values) {
      const auto from = values.begin() + (values.empty() ? 0 : part.first * spec.batch);
      return std::vector(from, from + (values.empty() ? 0 : part.count * spec.batch));
    };
    const Feed feed{cut(all.ids), cut(all.values)};
    const auto outputs = stage->infer(0, part.count, {&feed, {}}, part.first == 0);
    got.insert(got.end(), outputs.begin(), outputs.end());
  }
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 1e-6);
}

RunState run_of(const RunSpec& spec) {
  RunState state{spec, {}, {}};
  std::vector<std::string>& words = state.spec.data.vocabulary.tokens;
  for (int i = 0; i < spec.model.inputs; ++i) words.emplace_back(1, static_cast<char>('a' + i));
  state.spec.data.test_rows = 1;
  for (int replica = 0; replica < spec.layout.replicas; ++replica) {
    for (int stage = 0; stage < spec.layout.stages; ++stage) {
      state.stages.push_back(marked_version({spec, replica, stage}));
    }
  }
  return state;
}

TEST_P(Layers, ACheckpointBringsTheRunBackBitForBit) {
  const std::string path = std::filesystem::temp_directory_path() /
                           ("rondo-layers-" + std::to_string(::getpid()));
  const RunState was = run_of(run({2, 3, 2}));
  ASSERT_TRUE(save_run(path, was).ok());
  const auto loaded = load_run(path);
  const auto model = load_model(path);
  std::filesystem::remove(path);
  ASSERT_TRUE(loaded.ok()) << loaded.error().what();
  ASSERT_TRUE(model.ok()) << model.error().what();
  EXPECT_EQ(loaded.value().spec.model, was.spec.model);
  std::vector<float> parameters;
  for (std::size_t i = 0; i < was.stages.size(); ++i) {
    EXPECT_EQ(loaded.value().stages[i].parameters, was.stages[i].parameters);
    EXPECT_EQ(loaded.value().stages[i].moments, was.stages[i].moments);
    EXPECT_EQ(loaded.value().stages[i].states, was.stages[i].states);
    if (i < 3)
      parameters.insert(parameters.end(), was.stages[i].parameters.begin(),
                        was.stages[i].parameters.end());
  }
  EXPECT_EQ(model.value().parameters, parameters);
  EXPECT_EQ(single_stage(model.value(), ops::Executor(1))->current().copy().parameters, parameters);
}

TEST(LayerTensors, HaveThePyTorchNamesAndShapes) {
  const ModelSpec model{CellKind::kLstm, Activation::kTanh, DataKind::kTokens, 2, 7, 5, 5,
                        true, 0.1, 3, 4};
  std::vector<std::string> said;
  for (const TensorSpec& tensor : tensors_of(model, {0, 2}))
    said.push_back(tensor.name + " " + std::to_string(tensor.rows) +
                   (tensor.cols == 0 ? "" : "x" + std::to_string(tensor.cols)));
  EXPECT_EQ(said, (std::vector<std::string>{
                      "embedding.weight 5x4",
                      "weight_ih_l0 28x4", "weight_hh_l0 28x3", "bias_ih_l0 28", "bias_hh_l0 28",
                      "weight_hr_l0 3x7", "layer_norm.0.weight 3", "layer_norm.0.bias 3",
                      "weight_ih_l1 28x3", "weight_hh_l1 28x3", "bias_ih_l1 28", "bias_hh_l1 28",
                      "weight_hr_l1 3x7", "layer_norm.1.weight 3", "layer_norm.1.bias 3",
                      "linear.weight 5x3", "linear.bias 5"}));
}

TEST(LayerTensors, LayerNormStartsAsTheIdentity) {
  const RunSpec spec = small(ModelSpec{CellKind::kMinGru, Activation::kTanh, DataKind::kTokens, 2,
                                       6, 5, 5, true},
                             {1, 1, 1});
  const StageSnapshot snapshot = first_version({spec, 0, 0});
  for (const TensorSpec& tensor : tensors_of(spec.model, {0, 2})) {
    if (!tensor.name.starts_with("layer_norm.")) continue;
    for (std::size_t i = 0; i < tensor.size(); ++i)
      EXPECT_EQ(snapshot.parameters[tensor.offset + i], tensor.name.ends_with(".weight") ? 1 : 0);
  }
}

// A checkpoint of a model with a part that this program does not know is not taken for another.
TEST(LayerTensors, AnUnknownPartOfAModelIsRefusedByName) {
  const RunSpec spec = small(CellKind::kLstm, {1, 1, 1});
  auto metadata = to_metadata(run_of(spec).spec);
  ASSERT_TRUE(from_metadata(metadata).ok());
  std::string& model = metadata["model"];
  model.insert(model.size() - 1, ",\"zoneout\":0.1");
  const auto refused = from_metadata(metadata);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.error().what()).find("unknown here: 'zoneout'"),
            std::string::npos);
}

}  // namespace
}  // namespace rondo::actors
