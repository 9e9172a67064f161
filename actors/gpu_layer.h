#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <rondo/actors/cpu_layer.h>
#include <rondo/actors/model.h>
#include <rondo/ops/gpu_buffer.h>

// One layer of a GpuStage: its recurrent cell, and after it, as the model has them, layer norm and
// dropout. CpuLayer's picture, in device memory and float32; the same elements are dropped.
//
// All pointers are device memory and may not alias unless said. Work is put in line; nothing here
// waits. Holds copies of the cell's weights: pack() after every change, and the parameters stay
// where they are until the next one. What backward needs of forward lies in a Pass, one for every
// microbatch in flight, which goes before its layer. Throws ops::GpuFault.

namespace rondo::actors {

class GpuLayer {
 public:
  using Size = ops::cuda::Size;

  // As CpuLayer's. The Gpu outlives it.
  GpuLayer(const ModelSpec& model, int layer, const ops::RecurrentSpec& shape,
           const TensorSpec* tensors, ops::Gpu& gpu);
  GpuLayer(const GpuLayer&) = delete;
  GpuLayer& operator=(const GpuLayer&) = delete;

  class Pass {
   public:
    Pass(const GpuLayer& layer, Size steps, Size batch);
    // [T,N,S], what the next layer reads; valid after forward.
    [[nodiscard]] const float* output() const { return output_; }

   private:
    friend class GpuLayer;
    using Cell = std::unique_ptr<ops::cuda::Activations, void (*)(ops::cuda::Activations*)>;
    [[nodiscard]] Size rows() const { return steps_ * batch_; }

    Size steps_, batch_;
    Cell cell_{nullptr, nullptr};         // of a recurrent cell
    ops::GpuBuffer gates_, h_;            // of a min cell: [rows,G·H], [T+1,N,H]
    ops::GpuBuffer after_;                // what layer norm and dropout made of y
    ops::GpuBuffer mean_, inverse_;       // of layer norm's rows
    const float* y_ = nullptr;
    const float* output_ = nullptr;
  };

  struct Input {   // one of the two
    const float* x = nullptr;            // [rows,I]
    const std::int32_t* ids = nullptr;   // [rows]
  };

  // `parameters`: those of the stage.
  void pack(const float* parameters);
  // `first`, `last`: h [N,S], then c [N,H] of an lstm; first null: zeros. `draw` null: nothing is
  // dropped.
  void forward(const Input& x, const float* first, Pass& pass, float* last, const Draw* draw);

  struct Backward {
    Input x;                      // as given to forward
    const float* dy = nullptr;    // [rows,S], of the output
    float* buffer = nullptr;      // [rows,S], overwritten; may be dy's memory
    float* dx = nullptr;          // written; null: not wanted
    float* gradient = nullptr;    // of the stage's parameters, written or added to
    bool add = false;
    const Draw* draw = nullptr;   // as given to forward
  };
  void backward(const Backward& call, Pass& pass);

 private:
  void cell_forward(const Input& x, const float* first, Pass& pass, float* last);
  void min_forward(const Input& x, const float* first, Pass& pass, float* last);
  void cell_backward(const Backward& call, const float* dy, Pass& pass);
  void min_backward(const Backward& call, const float* dy, Pass& pass);
  void min_weight_gradient(const Backward& call, Pass& pass);
  [[nodiscard]] ops::cuda::Scan scan_of(Pass& pass) const;
  void drop(const Draw& draw, const Pass& pass, const float* x, float* y) const;
  [[nodiscard]] const ops::cuda::Entries& api() const { return gpu_.entries(); }
  [[nodiscard]] ops::cuda::Context* context() const { return gpu_.context(); }
  [[nodiscard]] ops::GpuBuffer floats(Size count) const;

  ops::Gpu& gpu_;
  const TensorSpec* tensors_;
  const int layer_;
  const bool is_min_, is_lstm_, has_norm_;
  const std::int32_t scan_;      // of a min cell: Scan::cell
  const double dropout_;         // 0 at the model's last layer
  const Size inputs_, hidden_, width_, gates_;
  const bool gathers_;
  const std::size_t norm_at_;    // of its first tensor
  std::unique_ptr<ops::cuda::Layer, void (*)(ops::cuda::Layer*)> cell_{nullptr, nullptr};
  const float* parameters_ = nullptr;
  ops::GpuBuffer table_;         // of a min cell with ids: its weight, a row a word
  ops::GpuBuffer d_table_, d_weight_;
};

}  // namespace rondo::actors
