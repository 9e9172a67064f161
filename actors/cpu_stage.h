#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <rondo/actors/cpu_layer.h>
#include <rondo/actors/stage.h>
#include <rondo/ops/linear.h>
#include <rondo/ops/numeric_profile.h>
#include <rondo/ops/recurrent.h>
#include <rondo/ops/tensor.h>

// A Stage on the processor's cores: canonical arithmetic, so the same bits on every machine and
// with every number of threads. For make_stage.

namespace rondo::actors {

class CpuStage final : public Stage {
 public:
  CpuStage(const StageSpec& spec, const ops::Executor& executor);
  ~CpuStage() override;

  void begin(bool fresh, std::uint64_t number) override;
  void go_on(bool fresh, std::uint64_t number) override;
  std::span<const float> forward(int microbatch, int steps, const Input& input) override;
  double loss(int microbatch, const Feed& targets, double scale) override;
  std::span<const float> backward(int microbatch, std::span<const float> dy) override;
  [[nodiscard]] std::span<const float> gradient() override { return sink_.memory; }
  void apply(std::span<const float> gradient_sum, double lr, std::uint64_t number) override;
  [[nodiscard]] StageView prepared() override;
  void swap() override;
  [[nodiscard]] StageView current() override;
  void restore(const StageView& version) override;
  void send_gradient(GradientSink sink) override;
  std::span<const float> infer(int microbatch, int steps, const Input& input,
                               bool fresh) override;
  [[nodiscard]] std::string profile() const override { return ops::numeric_profile(); }

 private:
  struct Slot;   // what a microbatch in flight keeps between forward and backward

  Slot& slot(int microbatch, int steps);
  // What the passes read.
  [[nodiscard]] StageSnapshot& base() const { return ahead_ ? *next_ : *current_; }
  void pack();
  ops::RecurrentState<float> state_at(std::vector<float>& states, int microbatch, int layer) const;
  void take_input(Slot& slot, const Input& input) const;
  [[nodiscard]] ops::RecurrentInput<float> input_of(const Slot& slot, std::size_t layer) const;
  void run_layers(int microbatch, Slot& slot, std::vector<float>* from, std::vector<float>& to,
                  const Draw* draw);
  double loss_of(Slot& slot, const Feed& targets, double scale);
  [[nodiscard]] Draw draw(int microbatch) const;
  void embed(Slot& slot);
  void embedding_gradient(Slot& slot, ops::GradientMode mode);
  ops::LinearParams<float> head_params(float* base) const;

  const ops::Executor& executor_;
  std::vector<std::unique_ptr<CpuLayer>> recurrent_;
  std::unique_ptr<ops::LinearLayer<float>> head_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::unique_ptr<StageSnapshot> current_;
  std::unique_ptr<StageSnapshot> next_;   // of use once it is built
  std::vector<float> states_;             // that the passes leave; the next version's, in time
  std::vector<float> infer_states_;
  std::vector<float> gradient_;   // where nobody else gives memory for it
  GradientSink sink_;
  std::vector<float> clipped_;
  ops::Tensor<float> embedding_gradient_;  // of one microbatch, to be added
  std::uint64_t step_ = 0;                 // number of the step under way
  bool fresh_ = true;
  bool gradient_written_ = false;
  const StageSnapshot* packed_ = nullptr;   // whose weights the layers hold
  bool applied_ = false;                    // next_ is built
  bool ahead_ = false;                      // the step under way began on next_
};

}  // namespace rondo::actors
