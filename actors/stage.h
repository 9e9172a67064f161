#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <rondo/actors/layout.h>
#include <rondo/actors/run_spec.h>
#include <rondo/actors/streams.h>
#include <rondo/ops/executor.h>
#include <rondo/ops/recurrent.h>

// A Stage owns consecutive layers of one replica: their parameters, optimiser moments and boundary
// states (h, c), and computes with them. The first stage gathers from tokens; the last one holds
// the linear head and the loss.
//
// Picture a bench in a workshop: `forward` and `backward` carry a microbatch over it, `apply`
// builds the next version of everything on a second bench, `swap` makes that the version in force.
// Until swap nothing in force has changed, so `begin` can throw a step away at any moment and the
// same step done again gives the same bits. The passes of the step after it need not wait for
// swap: `go_on` begins them on the version that was built; only its apply waits.
//
// One interface, two devices: cpu_stage.h and gpu_stage.h. All spans are host memory. What goes
// from stage to stage (what forward, backward and infer return) only the next stage can read: from
// a GPU it may be a name for device memory (gpu_channel.h).
//
// Pure computation: no clock, no messages, no threads of its own (the executor is lent and must
// outlive it). One call at a time. Wrong shapes are bugs and abort; what a GPU cannot do (it is
// full, it was taken away) is thrown as ops::GpuFault, in one sentence.

namespace rondo::actors {

struct StageSpec {
  RunSpec run;
  int replica = 0;
  int stage = 0;
};

struct StageView;
class GpuGradient;

// A version: all that a step changes.
struct StageSnapshot {
  std::vector<float> parameters;  // tensors_of(model, layers), one after another
  std::vector<float> moments;     // the optimiser's, first all of moment 1, then all of moment 2
  // For every microbatch, for every layer: h [n,S], then c [n,H] of an lstm (S: output_width)
  std::vector<float> states;

  [[nodiscard]] StageView view() const;
};

// A version, in place: valid until the stage changes.
struct StageView {
  std::span<const float> parameters, moments, states;
  [[nodiscard]] StageSnapshot copy() const {
    return {{parameters.begin(), parameters.end()},
            {moments.begin(), moments.end()},
            {states.begin(), states.end()}};
  }
};

inline StageView StageSnapshot::view() const { return {parameters, moments, states}; }

// The version that a run starts with: parameters drawn from the seed, all else zero.
[[nodiscard]] StageSnapshot first_version(const StageSpec& spec);

class Stage {
 public:
  virtual ~Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  [[nodiscard]] const StageSpec& spec() const { return spec_; }
  [[nodiscard]] LayerRange layers() const { return layers_; }
  [[nodiscard]] bool is_first() const { return layers_.first == 0; }
  [[nodiscard]] bool is_last() const { return layers_.last == spec_.run.model.layers; }
  [[nodiscard]] int rows(int microbatch) const;
  // The number of a microbatch's first sequence in the whole batch.
  [[nodiscard]] int first_row(int microbatch) const;

  // Input of the first stage: a feed; of the others: the activations [T,n,S] of the stage before.
  struct Input {
    const Feed* feed = nullptr;
    std::span<const float> activations;
  };

  // --- a step, in 1F1B order, microbatches ascending ---

  // Throws away what an unfinished step left, and a version that was built and is not in force.
  // `fresh`: the step starts from zero states (the start of an epoch). `number`: the step's, from
  // 1; dropout draws by it.
  virtual void begin(bool fresh, std::uint64_t number) = 0;
  // The same for the step after one whose version was built, on that version. Requires: apply was
  // called, and swap was not.
  virtual void go_on(bool fresh, std::uint64_t number) = 0;
  // Runs the layers; all but the last stage return their activations [T,n,S], valid until the next
  // call.
  virtual std::span<const float> forward(int microbatch, int steps, const Input& input) = 0;
  // Last stage only, after forward: the sum of the losses, and the gradient of (sum * scale).
  virtual double loss(int microbatch, const Feed& targets, double scale) = 0;
  // Adds to the gradient; `dy` [T,n,S] is empty at the last stage. Returns dx [T,n,S], empty at
  // the first stage; valid until the next call.
  virtual std::span<const float> backward(int microbatch, std::span<const float> dy) = 0;
  // This slice's gradient, laid out as the parameters. Valid when every microbatch has gone
  // backward, until the next step begins.
  [[nodiscard]] virtual std::span<const float> gradient() = 0;
  // Builds the next version from the gradient summed over all slices; empty: from this slice's
  // own, or a sum on the device (GradientSink). `number`: the step's, from 1. Requires: the version
  // that its step began on is in force.
  virtual void apply(std::span<const float> gradient_sum, double lr, std::uint64_t number) = 0;
  // The next version, not yet in force; also while the step after it is under way. Requires: apply
  // was called.
  [[nodiscard]] virtual StageView prepared() = 0;
  virtual void swap() = 0;

  // --- outside of a step ---

  [[nodiscard]] virtual StageView current() = 0;
  // Requires: sizes as those of current() (see fits()).
  virtual void restore(const StageView& version) = 0;
  [[nodiscard]] bool fits(const StageView& version) const;

  // Runs without learning, between steps, on states of its own that a `fresh` call zeroes.
  // Activations, or at the last stage the head's outputs [T,n,outputs]; valid until the next call.
  virtual std::span<const float> infer(int microbatch, int steps, const Input& input,
                                       bool fresh) = 0;
  // The group begins anew: the stages beside this one may live elsewhere now.
  virtual void rejoin() {}
  // Where the steps to come put their gradient, laid out as the parameters, and who is told as
  // soon as one of its parts is complete: in the last microbatch's backward, the last part first.
  // An empty sink: memory of the stage's own, and nobody.
  struct GradientSink {
    std::span<float> memory;
    std::function<void(std::size_t part)> ready;
    // No host memory: the gradient stays where gpu_gradient() has it, and an apply() that is given
    // no sum takes the one there.
    bool on_device = false;
  };
  virtual void send_gradient(GradientSink sink) = 0;
  // Where its gradient lies on a GPU; null: it has none.
  [[nodiscard]] virtual GpuGradient* gpu_gradient() { return nullptr; }
  // Floats of each part: the layers, the head with the last one.
  [[nodiscard]] std::vector<std::size_t> gradient_parts() const;

  // What its bits depend on besides the run (ops/numeric_profile.h, ops/gpu.h).
  [[nodiscard]] virtual std::string profile() const = 0;

  // Last stage, after infer: the sum of the losses of its outputs.
  double judge(int microbatch, const Feed& targets) { return loss(microbatch, targets, 0); }

 protected:
  explicit Stage(const StageSpec& spec);

  // What every device needs to know of the shapes.
  // Requires: no min cells.
  [[nodiscard]] ops::RecurrentSpec layer_spec(int layer) const;
  // The first of a layer's tensors, in tensors_of's order; the head's weight (its bias follows);
  // the first stage's embedding, null where it has none.
  [[nodiscard]] const TensorSpec* layer_tensors(int layer) const;
  [[nodiscard]] const TensorSpec* head_tensors() const;
  [[nodiscard]] const TensorSpec* embedding_tensor() const;
  // In floats: where a layer's h (then c) of a microbatch lies in a version's states.
  [[nodiscard]] std::size_t state_offset(int microbatch, int layer) const;
  [[nodiscard]] std::size_t state_count() const { return state_offsets_.back(); }
  [[nodiscard]] std::size_t state_begin(int microbatch) const {
    return state_offsets_[static_cast<std::size_t>(microbatch)];
  }
  [[nodiscard]] std::size_t parameter_count() const { return parameter_count_; }
  [[nodiscard]] std::size_t moment_count() const;
  // 1F1B never has more microbatches between forward and backward than there are stages from here
  // on.
  [[nodiscard]] std::size_t slot_count() const;
  // Of 2 · slot_count(): where microbatches are not all of a size, the smaller ones have slots of
  // their own, so that none is made anew in every step.
  [[nodiscard]] std::size_t slot_of(int microbatch) const;
  [[nodiscard]] bool is_last_microbatch(int microbatch) const {
    return microbatch + 1 == spec_.run.layout.microbatches;
  }
  [[nodiscard]] bool is_lstm() const { return spec_.run.model.cell == CellKind::kLstm; }
  // The size that the input must have for so many time steps; aborts where it has another.
  void check_input(const Input& input, int microbatch, int steps) const;

 private:
  StageSpec spec_;
  LayerRange layers_;
  std::vector<TensorSpec> tensors_;
  std::size_t parameter_count_ = 0;
  std::vector<std::size_t> state_offsets_;  // by microbatch, and the end
};

// On the device that the run names, holding first_version(spec). Throws ops::GpuFault where that is
// a GPU and cannot be used.
[[nodiscard]] std::unique_ptr<Stage> make_stage(const StageSpec& spec,
                                                const ops::Executor& executor);

}  // namespace rondo::actors
