#include <rondo/actors/group.h>

#include <rondo/base/check.h>
#include <rondo/ops/elementwise.h>

namespace rondo::actors {

Group::Group(const RunSpec& spec, const Streams& streams, int threads)
    : spec_(spec), streams_(streams), executor_(threads) {
  for (int replica = 0; replica < spec.layout.replicas; ++replica)
    for (int stage = 0; stage < spec.layout.stages; ++stage)
      stages_.push_back(std::make_unique<Stage>(StageSpec{spec, replica, stage}, executor_));
}

double Group::run_slice(int replica, const Step& step) {
  const int depth = spec_.layout.stages;
  const auto first = static_cast<std::size_t>(replica * depth);
  const auto last = first + static_cast<std::size_t>(depth) - 1;
  const double scale = 1.0 / (static_cast<double>(step.segment.steps) * spec_.batch);
  double loss = 0;
  for (std::size_t at = first; at <= last; ++at) stages_[at]->begin(step.fresh);
  for (int m = 0; m < spec_.layout.microbatches; ++m) {
    const Span rows = rows_of(spec_.layout, spec_.batch, replica, m);
    const Feed inputs = streams_.inputs(step.segment, rows);
    Stage::Input input{&inputs, {}};
    for (std::size_t at = first; at <= last; ++at)
      input.activations = stages_[at]->forward(m, step.segment.steps, input);
    loss += stages_[last]->loss(m, streams_.targets(step.segment, rows), scale);
    std::span<const float> dy;
    for (std::size_t at = last + 1; at-- > first;) dy = stages_[at]->backward(m, dy);
  }
  return loss;
}

double Group::step(const Step& step) {
  std::vector<double> losses;
  for (int replica = 0; replica < spec_.layout.replicas; ++replica)
    losses.push_back(run_slice(replica, step));
  std::vector<float> sum;
  for (int stage = 0; stage < spec_.layout.stages; ++stage) {
    std::vector<std::span<const float>> slices;
    for (int replica = 0; replica < spec_.layout.replicas; ++replica)
      slices.push_back(
          stages_[static_cast<std::size_t>(replica * spec_.layout.stages + stage)]->gradient());
    sum_slices(executor_, slices, sum);
    for (int replica = 0; replica < spec_.layout.replicas; ++replica)
      stages_[static_cast<std::size_t>(replica * spec_.layout.stages + stage)]->apply(
          sum, step.lr, static_cast<std::uint64_t>(step.number));
  }
  return ops::tree_sum(losses);
}

void Group::commit() {
  for (const auto& stage : stages_) stage->swap();
}

double Group::validate(const Segment& segment, bool fresh) {
  std::vector<double> losses;
  for (int replica = 0; replica < spec_.layout.replicas; ++replica) {
    double loss = 0;
    for (int m = 0; m < spec_.layout.microbatches; ++m) {
      const Span rows = rows_of(spec_.layout, spec_.batch, replica, m);
      const Feed inputs = streams_.inputs(segment, rows);
      Stage::Input input{&inputs, {}};
      const auto first = static_cast<std::size_t>(replica * spec_.layout.stages);
      const auto end = first + static_cast<std::size_t>(spec_.layout.stages);
      for (std::size_t at = first; at < end; ++at)
        input.activations = stages_[at]->infer(m, segment.steps, input, fresh);
      loss += stages_[end - 1]->judge(m, streams_.targets(segment, rows));
    }
    losses.push_back(loss);
  }
  return ops::tree_sum(losses);
}

std::vector<StageSnapshot> Group::committed() const {
  std::vector<StageSnapshot> all;
  for (const auto& stage : stages_) all.push_back(stage->snapshot());
  return all;
}

void Group::restore(const std::vector<StageSnapshot>& stages) {
  RONDO_CHECK_EQ(stages.size(), stages_.size());
  for (std::size_t at = 0; at < stages.size(); ++at) stages_[at]->restore(stages[at]);
}

}  // namespace rondo::actors
