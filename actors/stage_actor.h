#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <rondo/actors/gradient_sum.h>
#include <rondo/actors/shared_floats.h>
#include <rondo/actors/stage.h>
#include <rondo/actors/timeline.h>
#include <rondo/registry.h>

// StageActor: a Stage that lives in a worker. The trainer calls it, activations and their gradients
// go from actor to actor as refs, and nothing of them passes through the trainer. The gradients of
// the weights are summed over the replicas by a GradientSum, which ends with each incarnation of
// the group.
//
// Every call of a step carries its Turn: the group's incarnation and the step. The group's
// incarnation is raised at every recovery; a call of an older one is refused, so that what a
// thrown-away attempt left behind can do no harm. The first call of a new turn begins the step
// anew, on the committed version or on the one that the last update built. So the passes of a step
// may run while the step before it is still being sealed and decided; its update may not.
//
// One call at a time, in the caller's order (it is an actor). What a call throws arrives at the
// trainer.

namespace rondo::actors {

struct Turn {
  std::uint64_t group = 0;   // incarnation of the group
  std::int64_t step = 0;     // from 1
  int steps = 0;             // time steps of the segment
  bool fresh = false;        // from zero states
  double scale = 0;          // 1 / tokens of the whole batch
};

// What a stage's part of a step ends in.
struct Prepared {
  SumOutcome sum;         // unless it is done, nothing was prepared
  double loss = 0;        // last stage: the sum over this slice's tokens
  std::vector<StageSpan> spans;   // from record() on: its forwards and backwards
  SharedFloats weights;   // first replica: parameters, then moments; all replicas have the same
  SharedFloats states;
};

// Where a planned kill strikes (rondo train --chaos): the worker ends itself by SIGKILL when it
// next gets there.
enum class Phase : unsigned char {
  kNone, kForward, kBackward, kAggregation, kOptimiser, kPrepare, kSwap, kRollback, kRestore
};
[[nodiscard]] std::string_view to_string(Phase phase);

class StageActor {
 public:
  using Floats = std::vector<float>;
  using View = std::span<const float>;

  // Never throws: a device that cannot be used is said by restore(), the first call. An actor whose
  // constructor throws would be born again and again.
  StageActor(const StageSpec& spec, int threads);

  // --- the group ---
  // Takes the committed version over: weights from the first replica's, states from its own;
  // `step` is the one it belongs to.
  void restore(std::uint64_t group, std::int64_t step, const Prepared& first,
               const Prepared& own);
  // Drops an unfinished step. `committed`: the last step that was decided; a prepared one of that
  // number comes into force.
  void roll_back(std::uint64_t group, std::int64_t committed);
  // With several replicas, after one of the above: where this one can be met, then all of them.
  MeetingPlace open_sum(std::uint64_t group, SumWay way);
  SumOutcome meet(const MeetingPlan& plan);

  // --- a step ---
  Floats forward(const Turn& turn, int microbatch, const Feed& inputs);   // first stage
  Floats forward_on(const Turn& turn, int microbatch, View activations);  // a middle one
  // Last stage: forward, loss and backward of a microbatch; the gradient of its input.
  Floats learn(const Turn& turn, int microbatch, const Feed& inputs, const Feed& targets);
  Floats learn_on(const Turn& turn, int microbatch, View activations, const Feed& targets);
  Floats backward(const Turn& turn, int microbatch, View dy);
  // Builds the next version from the gradient summed over the replicas. Every living replica is
  // called, whatever failed before: the others wait for its sum, or for the word that it gives up.
  void update(const Turn& turn, double lr);
  // That version; also while the passes of the step after it are under way.
  Prepared seal(const Turn& turn);
  void commit(const Turn& turn);

  // --- validation ---
  Floats infer(const Turn& turn, int microbatch, const Feed& inputs);
  Floats infer_on(const Turn& turn, int microbatch, View activations);
  double judge(const Turn& turn, int microbatch, const Feed& inputs, const Feed& targets);
  double judge_on(const Turn& turn, int microbatch, View activations, const Feed& targets);

  // From now on every forward and backward of a step is written down.
  void record();

  // The next arrival there is the last; `node`: of this worker's whole node.
  void doom(Phase phase, bool node);
  std::string profile();   // Stage::profile
  int pid();
  int node_pid();

 private:
  void enter(const Turn& turn, Phase phase);
  void check_group(std::uint64_t group) const;
  std::span<const float> go_forward(const Turn& turn, int microbatch, const Stage::Input& input);
  Floats go_backward(const Turn& turn, int microbatch, View dy);
  void write_down(const Turn& turn, SpanKind kind, int microbatch, std::int64_t began_ns);
  void strike(Phase phase);
  static void need(bool done, std::int64_t step, const char* what);
  void drop();
  SumOutcome apply(const Turn& turn, double lr);
  void leave_sum();
  Floats learn_from(const Turn& turn, int microbatch, const Stage::Input& input,
                    const Feed& targets);
  double judge_from(const Turn& turn, int microbatch, const Stage::Input& input,
                    const Feed& targets);

  ops::Executor executor_;
  std::unique_ptr<Stage> stage_;   // null: `unusable_` says why
  std::string unusable_;
  std::unique_ptr<GradientSum> sum_;   // with several replicas
  std::uint64_t group_ = 0;
  std::int64_t committed_ = 0;
  std::int64_t step_ = 0;      // under way; 0: none
  int learnt_ = 0;             // microbatches of it that went backward
  double loss_ = 0;
  std::vector<StageSpan> spans_;
  // The last update's: what it built waits for commit().
  struct Built {
    std::int64_t step = 0;     // 0: nothing was built
    SumOutcome sum;
    double loss = 0;
    std::vector<StageSpan> spans;
  };
  Built built_;
  Phase doomed_ = Phase::kNone;
  bool node_too_ = false;
  bool records_ = false;
  int kept_ = 0;  // microbatches between forward and backward
};

void register_stage_actor(Registry& registry);

}  // namespace rondo::actors
