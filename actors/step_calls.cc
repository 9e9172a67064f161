#include <rondo/actors/step_calls.h>

#include <utility>

namespace rondo::actors {

namespace {

// The forwards and backwards of one slice.
class SliceCalls {
 public:
  SliceCalls(const StepPlan& plan, const Turn& turn, const Segment& segment, int replica,
             const std::function<void(std::size_t)>& behind_first)
      : plan_(plan),
        turn_(turn),
        segment_(segment),
        replica_(replica),
        behind_first_(behind_first) {
    const Layout& layout = plan.spec.layout;
    const auto microbatches = static_cast<std::size_t>(layout.microbatches);
    activations_.assign(static_cast<std::size_t>(layout.stages),
                        std::vector<Ref<Floats>>(microbatches));
    gradients_ = activations_;
    for (int stage = 0; stage < layout.stages; ++stage)
      orders_.push_back(one_forward_one_backward(layout, stage));
    next_.assign(orders_.size(), 0);
  }

  // Submits each stage's next call as soon as the refs that it takes exist, until all are
  // submitted.
  void submit(std::vector<Ref<Floats>>& passes) {
    for (bool moved = true; moved;) {
      moved = false;
      for (int stage = 0; stage < plan_.spec.layout.stages; ++stage) {
        const auto at = static_cast<std::size_t>(stage);
        while (next_[at] < orders_[at].size() && submit_one(stage, orders_[at][next_[at]])) {
          if (++next_[at] == 1 && behind_first_)
            behind_first_(static_cast<std::size_t>(replica_) * orders_.size() + at);
          moved = true;
        }
      }
    }
    for (Ref<Floats>& ref : gradients_[0]) passes.push_back(std::move(ref));
  }

 private:
  [[nodiscard]] bool is_last(int stage) const { return stage + 1 == plan_.spec.layout.stages; }
  [[nodiscard]] Span rows(int microbatch) const {
    return rows_of(plan_.spec.layout, plan_.spec.batch, replica_, microbatch);
  }

  // `what`: +m + 1 a forward, -m - 1 a backward. False: what it takes has not been submitted yet.
  bool submit_one(int stage, int what) {
    if (what > 0) return is_last(stage) ? learn(stage, what - 1) : forward(stage, what - 1);
    return is_last(stage) || backward(stage, -what - 1);  // the last stage's are part of learn
  }

  bool forward(int stage, int microbatch) {
    const auto at = static_cast<std::size_t>(stage);
    const auto m = static_cast<std::size_t>(microbatch);
    const Actor<StageActor>& actor = plan_.at(replica_, stage);
    if (stage == 0) {
      activations_[0][m] = actor.call(&StageActor::forward, turn_, microbatch,
                                      plan_.streams.inputs(segment_, rows(microbatch)));
      return true;
    }
    if (!activations_[at - 1][m]) return false;
    activations_[at][m] =
        actor.call(&StageActor::forward_on, turn_, microbatch, activations_[at - 1][m]);
    activations_[at - 1][m] = {};  // the call holds it as long as it is needed
    return true;
  }

  bool learn(int stage, int microbatch) {
    const auto at = static_cast<std::size_t>(stage);
    const auto m = static_cast<std::size_t>(microbatch);
    const Actor<StageActor>& actor = plan_.at(replica_, stage);
    const Feed targets = plan_.streams.targets(segment_, rows(microbatch));
    if (stage == 0) {
      gradients_[0][m] = actor.call(&StageActor::learn, turn_, microbatch,
                                    plan_.streams.inputs(segment_, rows(microbatch)), targets);
      return true;
    }
    if (!activations_[at - 1][m]) return false;
    gradients_[at][m] =
        actor.call(&StageActor::learn_on, turn_, microbatch, activations_[at - 1][m], targets);
    activations_[at - 1][m] = {};
    return true;
  }

  bool backward(int stage, int microbatch) {
    const auto at = static_cast<std::size_t>(stage);
    const auto m = static_cast<std::size_t>(microbatch);
    if (!gradients_[at + 1][m]) return false;
    gradients_[at][m] = plan_.at(replica_, stage)
                            .call(&StageActor::backward, turn_, microbatch, gradients_[at + 1][m]);
    gradients_[at + 1][m] = {};
    return true;
  }

  const StepPlan& plan_;
  const Turn& turn_;
  const Segment& segment_;
  int replica_;
  const std::function<void(std::size_t)>& behind_first_;
  std::vector<std::vector<int>> orders_;  // by stage
  std::vector<std::size_t> next_;
  std::vector<std::vector<Ref<Floats>>> activations_;  // by stage, then by microbatch
  std::vector<std::vector<Ref<Floats>>> gradients_;    // with respect to a stage's input
};

}  // namespace

std::vector<Ref<Floats>> submit_passes(
    const StepPlan& plan, const Turn& turn, const Segment& segment,
    const std::function<void(std::size_t party)>& behind_first) {
  std::vector<Ref<Floats>> passes;
  for (int replica = 0; replica < plan.spec.layout.replicas; ++replica)
    SliceCalls(plan, turn, segment, replica, behind_first).submit(passes);
  return passes;
}

std::vector<Ref<void>> submit_updates(const StepPlan& plan, const Turn& turn, double lr) {
  std::vector<Ref<void>> updates;
  for (const Party& party : plan.parties)
    updates.push_back(party.bound.call(&StageActor::update, turn, lr));
  return updates;
}

void submit_commit(const StepPlan& plan, const Turn& turn) {
  for (const Party& party : plan.parties)
    static_cast<void>(party.bound.call(&StageActor::commit, turn));
}

std::vector<Ref<double>> submit_validation(const StepPlan& plan, const Turn& turn,
                                           const Segment& segment) {
  const Layout& layout = plan.spec.layout;
  std::vector<Ref<double>> losses;
  for (int replica = 0; replica < layout.replicas; ++replica) {
    for (int m = 0; m < layout.microbatches; ++m) {
      const Span rows = rows_of(layout, plan.spec.batch, replica, m);
      const Feed inputs = plan.streams.inputs(segment, rows);
      const Feed targets = plan.streams.targets(segment, rows);
      const int last = layout.stages - 1;
      if (last == 0) {
        losses.push_back(
            plan.at(replica, 0).call(&StageActor::judge, turn, m, inputs, targets));
        continue;
      }
      Ref<Floats> between = plan.at(replica, 0).call(&StageActor::infer, turn, m, inputs);
      for (int stage = 1; stage < last; ++stage)
        between = plan.at(replica, stage).call(&StageActor::infer_on, turn, m, between);
      losses.push_back(
          plan.at(replica, last).call(&StageActor::judge_on, turn, m, between, targets));
    }
  }
  return losses;
}

}  // namespace rondo::actors
