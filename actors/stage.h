#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <rondo/actors/layout.h>
#include <rondo/actors/run_spec.h>
#include <rondo/actors/streams.h>
#include <rondo/ops/executor.h>
#include <rondo/ops/linear.h>
#include <rondo/ops/recurrent.h>
#include <rondo/ops/tensor.h>

// A Stage owns consecutive layers of one replica: their parameters, optimiser moments and boundary
// states (h, c), and computes with them. The first stage gathers from tokens; the last one holds
// the linear head and the loss.
//
// Picture a bench in a workshop: `forward` and `backward` carry a microbatch over it, `apply`
// builds the next version of everything on a second bench, `swap` makes that the version in force.
// Until swap nothing in force has changed, so `abort` can throw a step away at any moment and the
// same step done again gives the same bits.
//
// Pure computation: no clock, no messages, no threads of its own (the executor is lent and must
// outlive it). One call at a time. Wrong shapes are bugs and abort.

namespace rondo::actors {

struct StageSpec {
  RunSpec run;
  int replica = 0;
  int stage = 0;
};

struct StageView;

// A version: all that a step changes.
struct StageSnapshot {
  std::vector<float> parameters;  // tensors_of(model, layers), one after another
  std::vector<float> moments;     // the optimiser's, first all of moment 1, then all of moment 2
  // For every microbatch, for every layer: h [n,H], then c [n,H] of an lstm
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
  Stage(const StageSpec& spec, const ops::Executor& executor);  // holds first_version(spec)
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  [[nodiscard]] const StageSpec& spec() const { return spec_; }
  [[nodiscard]] LayerRange layers() const { return layers_; }
  [[nodiscard]] bool is_first() const { return layers_.first == 0; }
  [[nodiscard]] bool is_last() const { return layers_.last == spec_.run.model.layers; }
  [[nodiscard]] int rows(int microbatch) const;

  // Input of the first stage: a feed; of the others: the activations [T,n,H] of the stage before.
  struct Input {
    const Feed* feed = nullptr;
    std::span<const float> activations;
  };

  // --- a step, in 1F1B order, microbatches ascending ---

  // Throws away what an unfinished step left. `fresh`: the step starts from zero states (the start
  // of an epoch).
  void begin(bool fresh);
  // Runs the layers; all but the last stage return their activations [T,n,H], valid until this
  // microbatch's backward.
  std::span<const float> forward(int microbatch, int steps, const Input& input);
  // Last stage only, after forward: the sum of the losses, and the gradient of (sum * scale).
  double loss(int microbatch, const Feed& targets, double scale);
  // Adds to the gradient; `dy` [T,n,H] is empty at the last stage. Returns dx [T,n,H], empty at
  // the first stage; valid until the next call.
  std::span<const float> backward(int microbatch, std::span<const float> dy);
  // This slice's gradient, laid out as the parameters. Valid when every microbatch has gone
  // backward.
  [[nodiscard]] std::span<const float> gradient() const { return gradient_; }
  // Builds the next version from the gradient summed over all slices. `number`: the step's, from 1.
  void apply(std::span<const float> gradient_sum, double lr, std::uint64_t number);
  // The next version, not yet in force. Requires: apply was called.
  [[nodiscard]] StageView prepared() const;
  void swap();

  // --- outside of a step ---

  [[nodiscard]] StageView current() const;
  // Requires: sizes as those of current() (see fits()).
  void restore(const StageView& version);
  [[nodiscard]] bool fits(const StageView& version) const;

  // Runs without learning, on states of its own that a `fresh` call zeroes. Activations, or at the
  // last stage the head's outputs [T,n,outputs]; valid until the next call.
  std::span<const float> infer(int microbatch, int steps, const Input& input, bool fresh);
  // Last stage, after infer: the sum of the losses of its outputs.
  double judge(int microbatch, const Feed& targets);

 private:
  struct Slot;   // what a microbatch in flight keeps between forward and backward

  Slot& slot(int microbatch, int steps);
  void pack();
  ops::RecurrentState<float> state_at(std::vector<float>& states, int microbatch, int layer) const;
  void take_input(Slot& slot, const Input& input) const;
  void run_layers(int microbatch, Slot& slot, std::vector<float>* from, std::vector<float>& to);
  double loss_of(Slot& slot, const Feed& targets, double scale);
  ops::RecurrentParams<float> recurrent_params(float* base, int layer) const;

  StageSpec spec_;
  LayerRange layers_;
  std::vector<TensorSpec> tensors_;
  std::size_t parameter_count_ = 0;
  std::vector<std::size_t> state_offsets_;  // by microbatch, and the end
  const ops::Executor& executor_;
  std::vector<std::unique_ptr<ops::RecurrentLayer<float>>> recurrent_;
  std::unique_ptr<ops::LinearLayer<float>> head_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::unique_ptr<StageSnapshot> current_;
  std::unique_ptr<StageSnapshot> spare_;
  std::vector<float> infer_states_;
  std::vector<float> gradient_;
  std::vector<float> clipped_;
  bool fresh_ = true;
  bool gradient_written_ = false;
  bool packed_ = false;
  bool applied_ = false;
};

// Adds the slices' gradients, per element, in one fixed binary tree over slice numbers:
// ((0+1)+(2+3))+... The same bits whoever adds them. Requires: equal sizes; `out` may not alias
// any.
void sum_slices(const ops::Executor& executor, std::span<const std::span<const float>> slices,
                std::vector<float>& out);

}  // namespace rondo::actors
