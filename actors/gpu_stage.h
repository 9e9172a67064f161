#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <rondo/actors/gpu_channel.h>
#include <rondo/actors/gpu_gradient.h>
#include <rondo/actors/gpu_layer.h>
#include <rondo/actors/stage.h>
#include <rondo/ops/gpu_buffer.h>
#include <rondo/ops/gpu_wavefront.h>

// A Stage on a GPU. Parameters, moments, states, activations and gradients live in device memory,
// in float32; RunSpec::precision is that of products' inputs. Activations and their gradients stay
// on the device on their way to a neighbour where that is possible (gpu_channel.h). Recurrent
// layers run as a wavefront where that pays (ops/gpu_wavefront.h); RONDO_GPU_LINES forces the
// number of lines: no bit changes while a line's share holds its layers' persistent kernels.
//
// The next version is copied to pinned host memory beside the line of work: its states from the
// last microbatch's forward pass on, its parameters and moments from the optimiser's step on.
// prepared() and current() wait for these copies and for nothing else: the passes of the next step
// go on meanwhile. A gradient that others wait for goes to them part by part while the backward
// pass goes on (gpu_gradient.h).
// The same run on the same GPU and library builds (Gpu::numeric_profile) gives the same bits; they
// differ from the CPU's by rounding. Where a machine has several GPUs the replicas of a stage take
// turns, then the stages.
// For make_stage.

namespace rondo::actors {

class GpuStage final : public Stage {
 public:
  explicit GpuStage(const StageSpec& spec);   // throws GpuFault: no GPU, and why
  ~GpuStage() override;

  void begin(bool fresh, std::uint64_t number) override;
  void go_on(bool fresh, std::uint64_t number) override;
  std::span<const float> forward(int microbatch, int steps, const Input& input) override;
  double loss(int microbatch, const Feed& targets, double scale) override;
  std::span<const float> backward(int microbatch, std::span<const float> dy) override;
  [[nodiscard]] std::span<const float> gradient() override;
  void apply(std::span<const float> gradient_sum, double lr, std::uint64_t number) override;
  [[nodiscard]] StageView prepared() override;
  void swap() override;
  [[nodiscard]] StageView current() override;
  void restore(const StageView& version) override;
  // A GPU that a dead neighbour's memory has broken ends the process: it is born again, whole.
  void rejoin() override;
  void send_gradient(GradientSink sink) override;
  [[nodiscard]] GpuGradient* gpu_gradient() override { return &gradient_; }
  std::span<const float> infer(int microbatch, int steps, const Input& input,
                               bool fresh) override;
  [[nodiscard]] std::string profile() const override { return gpu_->numeric_profile(); }

 private:
  struct Slot;      // what a microbatch in flight keeps between forward and backward
  struct States;    // and their copy in host memory
  struct Version;   // all that a step changes, and its copy in host memory

  [[nodiscard]] std::size_t lines_wanted() const;
  void open_layers();
  [[nodiscard]] bool is_persistent(const GpuLayer::Place& place, int layer) const;
  [[nodiscard]] ops::Wavefront wavefront(const Slot& slot) const;
  Slot& slot(int microbatch, int steps);
  [[nodiscard]] std::unique_ptr<GpuChannel> channel_to(int stage, std::size_t buffers) const;
  [[nodiscard]] Draw draw(int microbatch) const;
  void pack();
  void take_input(Slot& slot, const Input& input);
  [[nodiscard]] GpuLayer::Input input_of(const Slot& slot, std::size_t layer) const;
  void embed(Slot& slot);
  void run_layers(int microbatch, Slot& slot, const ops::GpuBuffer* from, ops::GpuBuffer& to,
                  const Draw* draw);
  std::span<const float> outputs(Slot& slot);
  void head_backward(Slot& slot, bool add);
  const float* layers_backward(int microbatch, Slot& slot, bool add);
  [[nodiscard]] bool hands_over(int microbatch) const {
    return gradient_.is_sent() && is_last_microbatch(microbatch);
  }
  double loss_of(Slot& slot, const Feed& targets, double scale);
  void make(Version& version) const;
  void make(States& states) const;
  void copy(States& states);
  void copy_weights(Version& version);
  StageView view_of(Version& version);
  // What the passes read.
  [[nodiscard]] Version& base() const { return ahead_ ? *next_ : *current_; }

  [[nodiscard]] const ops::cuda::Entries& api() const { return gpu_->entries(); }
  [[nodiscard]] ops::cuda::Context* context() const { return gpu_->context(); }
  [[nodiscard]] ops::GpuBuffer floats(std::size_t count) const;
  [[nodiscard]] std::size_t width() const;   // S

  std::unique_ptr<ops::Gpu> gpu_;   // goes last
  std::unique_ptr<ops::GpuLines> lines_;
  std::vector<std::unique_ptr<GpuLayer>> recurrent_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::unique_ptr<GpuChannel> below_, above_;   // to the stages beside this one
  std::unique_ptr<Version> current_;
  std::unique_ptr<Version> next_;     // of use once it is built
  std::unique_ptr<States> states_;    // that the passes leave; the next version's, in time
  ops::GpuBuffer infer_states_;
  std::vector<ops::GpuBuffer> d_outputs_;   // gradients of the layers' outputs
  ops::GpuBuffer d_input_;                  // of this stage's input, unless it is the first
  GpuGradient gradient_;
  ops::GpuBuffer clipped_;
  ops::GpuBuffer loss_sum_;
  std::vector<float> host_;            // the head's outputs
  std::vector<float> host_gradient_;   // where nobody else gives memory for it
  std::uint64_t step_ = 0;
  bool fresh_ = true;
  bool gradient_written_ = false;
  bool has_persistent_ = false;       // layers whose blocks wait for one another
  const Version* packed_ = nullptr;   // whose weights the layers hold
  bool applied_ = false;              // next_ is built
  bool ahead_ = false;                // the step under way began on next_
};

}  // namespace rondo::actors
