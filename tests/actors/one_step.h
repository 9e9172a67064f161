#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include <rondo/actors/stage.h>

// One step of a small model over replicas, stages and microbatches in one process. Tests only.

namespace rondo::actors {

inline RunSpec small(const ModelSpec& model, Layout layout) {
  RunSpec spec;
  spec.model = model;
  spec.seq = 5;
  spec.batch = 7;
  spec.layout = layout;
  return spec;
}

inline RunSpec small(CellKind cell, Layout layout) {
  return small(ModelSpec{cell, Activation::kTanh, DataKind::kTokens, 2, 12, 9, 9}, layout);
}

// Tokens, or values of a series.
inline Feed feed(const RunSpec& spec, Span rows, int shift) {
  Feed out;
  for (int t = 0; t < spec.seq; ++t) {
    for (int row = rows.first; row < rows.first + rows.count; ++row) {
      const int number = t * 5 + row * 3 + shift * 4;
      if (spec.model.data == DataKind::kTokens) out.ids.push_back(number % spec.model.inputs);
      else out.values.push_back(static_cast<float>(number % 11) * 0.25f - 1);
    }
  }
  return out;
}

struct Outcome {
  double loss = 0;
  std::vector<float> gradient;  // of all stages, summed over slices
};

// In the fixed binary tree over slices: ((0+1)+(2+3))+...
inline std::vector<float> sum_slices(std::vector<std::vector<float>> level) {
  while (level.size() > 1) {
    std::vector<std::vector<float>> above;
    for (std::size_t i = 0; i + 1 < level.size(); i += 2) {
      for (std::size_t at = 0; at < level[i].size(); ++at) level[i][at] += level[i + 1][at];
      above.push_back(std::move(level[i]));
    }
    if (level.size() % 2 == 1) above.push_back(std::move(level.back()));
    level = std::move(above);
  }
  return level.front();
}

// Step `number` from zero states and from `parameters`, those of all stages one after another (the
// run's first ones if none are given).
inline Outcome one_step(const RunSpec& spec, int threads, std::span<const float> parameters = {},
                        std::uint64_t number = 1) {
  const ops::Executor executor(threads);
  const Layout& layout = spec.layout;
  Outcome outcome;
  std::vector<std::vector<std::vector<float>>> gradients(static_cast<std::size_t>(layout.stages));
  for (int slice = 0; slice < layout.replicas; ++slice) {
    std::vector<std::unique_ptr<Stage>> stages;
    std::size_t at_parameter = 0;
    for (int stage = 0; stage < layout.stages; ++stage) {
      stages.push_back(make_stage(StageSpec{spec, slice, stage}, executor));
      if (!parameters.empty()) {
        StageSnapshot version = stages.back()->current().copy();
        const auto part = parameters.subspan(at_parameter, version.parameters.size());
        version.parameters.assign(part.begin(), part.end());
        at_parameter += part.size();
        stages.back()->restore(version.view());
      }
      stages.back()->begin(true, number);
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
    const std::vector<float> sum = sum_slices(slices);
    outcome.gradient.insert(outcome.gradient.end(), sum.begin(), sum.end());
  }
  return outcome;
}

// A step of a run of one slice and one microbatch, prepared and not yet in force.
inline double learn(Stage& stage, std::uint64_t number) {
  const RunSpec& spec = stage.spec().run;
  const Feed inputs = feed(spec, {0, spec.batch}, 0), targets = feed(spec, {0, spec.batch}, 1);
  stage.begin(number == 1, number);
  stage.forward(0, spec.seq, {&inputs, {}});
  const double loss = stage.loss(0, targets, 0.01);
  stage.backward(0, {});
  stage.apply(stage.gradient(), 1e-2, number);
  return loss;
}

// The first version with moments and states that tell themselves from all others.
inline StageSnapshot marked_version(const StageSpec& spec) {
  StageSnapshot snapshot = first_version(spec);
  float next = static_cast<float>(spec.stage);
  for (float& value : snapshot.moments) value = next += 0.25f;
  next = static_cast<float>(10 * spec.replica + spec.stage);
  for (float& value : snapshot.states) value = next += 0.5f;
  return snapshot;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace rondo::actors
