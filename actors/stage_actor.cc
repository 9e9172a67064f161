#include <rondo/actors/stage_actor.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <string>
#include <utility>

#include <unistd.h>

#include <rondo/base/check.h>
#include <rondo/error.h>
#include <rondo/ops/gpu_buffer.h>

namespace rondo::actors {

namespace {

StageActor::Floats copy(StageActor::View view) { return {view.begin(), view.end()}; }

std::int64_t now_ns() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

}  // namespace

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::kNone: return "none";
    case Phase::kForward: return "forward";
    case Phase::kBackward: return "backward";
    case Phase::kAggregation: return "aggregation";
    case Phase::kOptimiser: return "optimiser";
    case Phase::kPrepare: return "prepare";
    case Phase::kSwap: return "between commit and swap";
    case Phase::kRollback: return "rollback, at the restart of another";
    case Phase::kRestore: return "restore";
  }
  return "?";
}

StageActor::StageActor(const StageSpec& spec, int threads)
    : executor_(threads) {
  try {
    stage_ = make_stage(spec, executor_);
  } catch (const ops::GpuFault& fault) {
    unusable_ = fault.what();
  }
}

void StageActor::strike(Phase phase) {
  if (phase != doomed_) return;
  if (!node_too_) ::kill(::getpid(), SIGKILL);
  ::kill(::getppid(), SIGKILL);
  while (true) ::pause();  // until that death takes this process along
}

void StageActor::doom(Phase phase, bool node) {
  doomed_ = phase;
  node_too_ = node;
}

std::string StageActor::profile() { return stage_->profile(); }
int StageActor::pid() { return ::getpid(); }
int StageActor::node_pid() { return ::getppid(); }

void StageActor::check_group(std::uint64_t group) const {
  if (group != group_)
    throw Error(ErrorCode::kCancelled, "a call of group incarnation " + std::to_string(group) +
                                           " came to incarnation " + std::to_string(group_));
}

void StageActor::enter(const Turn& turn, Phase phase) {
  check_group(turn.group);
  if (turn.step != step_) {
    const auto number = static_cast<std::uint64_t>(turn.step);
    if (turn.step == committed_ + 1) {
      stage_->begin(turn.fresh, number);
      built_ = {};
    } else {
      need(turn.step == built_.step + 1, turn.step, "the update before it");
      stage_->go_on(turn.fresh, number);
    }
    step_ = turn.step;
    learnt_ = 0;
    kept_ = 0;
    spans_.clear();
    loss_ = 0;
  }
  strike(phase);
}

// A step whose calls failed on the way, because another actor died, goes no further here.
void StageActor::need(bool done, std::int64_t step, const char* what) {
  if (!done)
    throw Error(ErrorCode::kCancelled,
                "step " + std::to_string(step) + " cannot go on: " + what + " did not happen");
}

// The step under way, and a version that is not in force.
void StageActor::drop() {
  stage_->begin(false, 0);
  step_ = 0;
  built_ = {};
}

void StageActor::restore(std::uint64_t group, std::int64_t step, const Prepared& first,
                         const Prepared& own) {
  strike(Phase::kRestore);
  leave_sum();
  if (!stage_) throw Error(ErrorCode::kTaskFailed, unusable_);
  stage_->rejoin();
  const View weights = first.weights.view();
  const std::size_t parameters = stage_->current().parameters.size();
  const std::size_t cut = std::min(parameters, weights.size());
  const StageView version{weights.first(cut), weights.subspan(cut), own.states.view()};
  if (!stage_->fits(version))
    throw Error(ErrorCode::kInvalid, "a snapshot of another shape cannot be restored");
  stage_->restore(version);
  group_ = group;
  committed_ = step;
  drop();
}

void StageActor::roll_back(std::uint64_t group, std::int64_t committed) {
  strike(Phase::kRollback);
  leave_sum();
  stage_->rejoin();
  if (built_.step == committed && committed_ + 1 == committed) {
    stage_->swap();
    committed_ = committed;
  }
  RONDO_CHECK_EQ(committed_, committed);
  group_ = group;
  drop();
}

void StageActor::leave_sum() {
  if (!sum_) return;
  stage_->send_gradient({});
  sum_->close();
}

MeetingPlace StageActor::open_sum(std::uint64_t group, SumWay way) {
  check_group(group);
  const StageSpec& spec = stage_->spec();
  leave_sum();
  if (!sum_)
    sum_ = std::make_unique<GradientSum>(spec.replica, spec.run.layout.replicas,
                                         stage_->gradient_parts(), stage_->gpu_gradient());
  const auto place = sum_->open(group, way);
  if (!place) throw place.error();
  return place.value();
}

SumOutcome StageActor::meet(const MeetingPlan& plan) {
  check_group(plan.group);
  const auto met = sum_->meet(plan);
  if (!met) throw met.error();
  if (sum_->has_met())
    stage_->send_gradient({sum_->memory(), [this](std::size_t part) { sum_->ready(part); },
                           sum_->is_on_device()});
  return met.value();
}

void StageActor::record() { records_ = true; }

void StageActor::write_down(const Turn& turn, SpanKind kind, int microbatch,
                            std::int64_t began_ns) {
  if (records_) spans_.push_back({kind, microbatch, kept_, turn.step, began_ns, now_ns()});
}

std::span<const float> StageActor::go_forward(const Turn& turn, int microbatch,
                                              const Stage::Input& input) {
  const std::int64_t began_ns = now_ns();
  ++kept_;
  const std::span<const float> activations = stage_->forward(microbatch, turn.steps, input);
  write_down(turn, SpanKind::kForward, microbatch, began_ns);
  return activations;
}

StageActor::Floats StageActor::go_backward(const Turn& turn, int microbatch, View dy) {
  const std::int64_t began_ns = now_ns();
  Floats below = copy(stage_->backward(microbatch, dy));
  ++learnt_;
  write_down(turn, SpanKind::kBackward, microbatch, began_ns);
  --kept_;
  return below;
}

StageActor::Floats StageActor::forward(const Turn& turn, int microbatch, const Feed& inputs) {
  enter(turn, Phase::kForward);
  return copy(go_forward(turn, microbatch, {&inputs, {}}));
}

StageActor::Floats StageActor::forward_on(const Turn& turn, int microbatch, View activations) {
  enter(turn, Phase::kForward);
  return copy(go_forward(turn, microbatch, {nullptr, activations}));
}

StageActor::Floats StageActor::learn_from(const Turn& turn, int microbatch,
                                          const Stage::Input& input, const Feed& targets) {
  enter(turn, Phase::kForward);
  go_forward(turn, microbatch, input);
  loss_ += stage_->loss(microbatch, targets, turn.scale);
  strike(Phase::kBackward);
  return go_backward(turn, microbatch, {});
}

StageActor::Floats StageActor::learn(const Turn& turn, int microbatch, const Feed& inputs,
                                     const Feed& targets) {
  return learn_from(turn, microbatch, {&inputs, {}}, targets);
}

StageActor::Floats StageActor::learn_on(const Turn& turn, int microbatch, View activations,
                                        const Feed& targets) {
  return learn_from(turn, microbatch, {nullptr, activations}, targets);
}

StageActor::Floats StageActor::backward(const Turn& turn, int microbatch, View dy) {
  enter(turn, Phase::kBackward);
  need(learnt_ == microbatch, step_, "a backward pass");
  return go_backward(turn, microbatch, dy);
}

void StageActor::put_in_force(std::int64_t step) {
  strike(Phase::kSwap);
  need(built_.step == step, step, "the update");
  stage_->swap();
  committed_ = step;
  built_ = {};
}

SumOutcome StageActor::apply(const Turn& turn, double lr) {
  enter(turn, sum_ ? Phase::kAggregation : Phase::kOptimiser);
  if (learnt_ != stage_->spec().run.layout.microbatches) {
    const std::string why = "replica " + std::to_string(stage_->spec().replica) +
                            " could not finish its backward passes";
    if (sum_) {
      stage_->send_gradient({});
      sum_->give_up(why);
    }
    return {SumEnd::kGivenUp, why};
  }
  View sum;
  if (sum_) {
    const auto summed = sum_->finish();
    if (!summed) throw summed.error();
    if (summed.value().end != SumEnd::kDone) return summed.value();
    sum = sum_->sum();
    strike(Phase::kOptimiser);
  }
  stage_->apply(sum, lr, static_cast<std::uint64_t>(turn.step));
  built_.step = turn.step;
  return {};
}

Prepared StageActor::update(const Turn& turn, double lr, bool seals) {
  check_group(turn.group);
  if (built_.step != 0 && built_.step == turn.committed) put_in_force(turn.committed);
  need(built_.step == 0, turn.step, "the commit before it");
  built_.sum = apply(turn, lr);
  built_.loss = loss_;
  built_.spans = std::exchange(spans_, {});
  return seals ? seal(turn) : Prepared{};
}

Prepared StageActor::seal(const Turn& turn) {
  check_group(turn.group);
  Prepared next;
  next.sum = built_.sum;
  if (next.sum.end != SumEnd::kDone) return next;
  need(built_.step == turn.step, turn.step, "the update");
  strike(Phase::kPrepare);
  const StageView version = stage_->prepared();
  if (stage_->spec().replica == 0)
    next.weights = SharedFloats::lend(version.parameters, version.moments);
  next.states = SharedFloats::lend(version.states);
  next.loss = built_.loss;
  next.spans = std::move(built_.spans);
  return next;
}

void StageActor::commit(const Turn& turn) {
  check_group(turn.group);
  put_in_force(turn.step);
}

StageActor::Floats StageActor::infer(const Turn& turn, int microbatch, const Feed& inputs) {
  check_group(turn.group);
  return copy(stage_->infer(microbatch, turn.steps, {&inputs, {}}, turn.fresh));
}

StageActor::Floats StageActor::infer_on(const Turn& turn, int microbatch, View activations) {
  check_group(turn.group);
  return copy(stage_->infer(microbatch, turn.steps, {nullptr, activations}, turn.fresh));
}

double StageActor::judge_from(const Turn& turn, int microbatch, const Stage::Input& input,
                              const Feed& targets) {
  check_group(turn.group);
  stage_->infer(microbatch, turn.steps, input, turn.fresh);
  return stage_->judge(microbatch, targets);
}

double StageActor::judge(const Turn& turn, int microbatch, const Feed& inputs,
                         const Feed& targets) {
  return judge_from(turn, microbatch, {&inputs, {}}, targets);
}

double StageActor::judge_on(const Turn& turn, int microbatch, View activations,
                            const Feed& targets) {
  return judge_from(turn, microbatch, {nullptr, activations}, targets);
}

void register_stage_actor(Registry& registry) {
  registry.actor<StageActor, StageSpec, int>("Stage")
      .method("restore", &StageActor::restore)
      .method("roll_back", &StageActor::roll_back)
      .method("open_sum", &StageActor::open_sum)
      .method("meet", &StageActor::meet)
      .method("forward", &StageActor::forward)
      .method("forward_on", &StageActor::forward_on)
      .method("learn", &StageActor::learn)
      .method("learn_on", &StageActor::learn_on)
      .method("backward", &StageActor::backward)
      .method("update", &StageActor::update)
      .method("seal", &StageActor::seal)
      .method("commit", &StageActor::commit)
      .method("infer", &StageActor::infer)
      .method("infer_on", &StageActor::infer_on)
      .method("judge", &StageActor::judge)
      .method("judge_on", &StageActor::judge_on)
      .method("record", &StageActor::record)
      .method("doom", &StageActor::doom)
      .method("profile", &StageActor::profile)
      .method("pid", &StageActor::pid)
      .method("node_pid", &StageActor::node_pid);
}

}  // namespace rondo::actors
