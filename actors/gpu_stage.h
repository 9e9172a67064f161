#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <rondo/actors/stage.h>
#include <rondo/ops/gpu_buffer.h>

// A Stage on a GPU, in float32. Parameters, moments, states, activations and gradients live in
// device memory; what the interface hands out is copied to host memory when it is asked for, once.
// The same run on the same GPU and library builds (Gpu::numeric_profile) gives the same bits; they
// differ from the CPU's by rounding. Where a machine has several GPUs the stages take turns.
// For make_stage.

namespace rondo::actors {

// What of the model a GpuStage cannot do, in words; "" if nothing.
[[nodiscard]] std::string gpu_lacks(const ModelSpec& model);

class GpuStage final : public Stage {
 public:
  explicit GpuStage(const StageSpec& spec);   // throws GpuFault: no GPU, and why
  ~GpuStage() override;

  void begin(bool fresh, std::uint64_t number) override;
  std::span<const float> forward(int microbatch, int steps, const Input& input) override;
  double loss(int microbatch, const Feed& targets, double scale) override;
  std::span<const float> backward(int microbatch, std::span<const float> dy) override;
  [[nodiscard]] std::span<const float> gradient() override;
  void apply(std::span<const float> gradient_sum, double lr, std::uint64_t number) override;
  [[nodiscard]] StageView prepared() override;
  void swap() override;
  [[nodiscard]] StageView current() override;
  void restore(const StageView& version) override;
  void send_gradient(GradientSink sink) override;
  std::span<const float> infer(int microbatch, int steps, const Input& input,
                               bool fresh) override;
  [[nodiscard]] std::string profile() const override { return gpu_->numeric_profile(); }

 private:
  struct Slot;      // what a microbatch in flight keeps between forward and backward
  struct Version;   // all that a step changes, and its copy in host memory

  Slot& slot(int microbatch, int steps);
  void pack();
  void take_input(Slot& slot, const Input& input);
  void run_layers(int microbatch, Slot& slot, const ops::GpuBuffer* from, ops::GpuBuffer& to);
  std::span<const float> outputs(Slot& slot);
  void hand_gradient_over();
  const float* head_backward(Slot& slot, bool add);
  double loss_of(Slot& slot, const Feed& targets, double scale);
  StageView view_of(Version& version);

  [[nodiscard]] const ops::cuda::Entries& api() const { return gpu_->entries(); }
  [[nodiscard]] ops::cuda::Context* context() const { return gpu_->context(); }
  [[nodiscard]] ops::GpuBuffer floats(std::size_t count) const;

  std::unique_ptr<ops::Gpu> gpu_;   // goes last
  std::vector<std::unique_ptr<ops::cuda::Layer, void (*)(ops::cuda::Layer*)>> recurrent_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::unique_ptr<Version> current_;
  std::unique_ptr<Version> spare_;
  ops::GpuBuffer infer_states_;
  ops::GpuBuffer gradient_;
  ops::GpuBuffer gradient_sum_;
  ops::GpuBuffer clipped_;
  ops::GpuBuffer loss_sum_;
  std::vector<float> host_;            // what forward, backward and infer hand out
  std::vector<float> host_gradient_;   // where nobody else gives memory for it
  GradientSink sink_;
  bool fresh_ = true;
  bool gradient_written_ = false;
  bool packed_ = false;
  bool applied_ = false;
};

}  // namespace rondo::actors
