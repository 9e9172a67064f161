#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <rondo/actors/cpu_layer.h>
#include <rondo/actors/model.h>
#include <rondo/ops/gpu_buffer.h>
#include <rondo/ops/gpu_wavefront.h>

// One layer of a GpuStage: its recurrent cell, and after it, as the model has them, layer norm and
// dropout. CpuLayer's picture, in device memory; the same elements are dropped. bf16 is for the
// products of recurrent cells, which round their inputs themselves; those of min cells and of a
// stage's head then take TF32.
//
// A pass goes part by part, as a wavefront of layers needs it (ops/gpu_wavefront.h); a min cell's
// is one part. All pointers are device memory of the whole pass, the same in each part, and may not
// alias. Work is put in the layer's line; nothing here waits. Holds copies of the cell's weights:
// pack() after every change, and the parameters stay where they are until the next one. What
// backward needs of forward lies in a Pass, one for every microbatch in flight, which goes before
// its layer. Throws ops::GpuFault.

namespace rondo::actors {

// A recurrent layer as the module knows it.
[[nodiscard]] ops::cuda::LayerSpec gpu_layer_spec(const ops::RecurrentSpec& shape,
                                                  ops::cuda::Precision precision);
// Of products outside the recurrent cells, whose operands lie in float32.
[[nodiscard]] constexpr ops::cuda::Precision gpu_product_precision(ops::cuda::Precision p) {
  return p == ops::cuda::Precision::kFloat32 ? p : ops::cuda::Precision::kTf32;
}

class GpuLayer {
 public:
  using Size = ops::cuda::Size;
  using Steps = ops::GpuSteps;

  struct Place {   // where its work is done; all of it outlives the layer
    ops::Gpu& gpu;
    ops::cuda::Context* line;
    std::int32_t processors = 0;   // its share; 0: all
    ops::cuda::Precision precision = ops::cuda::Precision::kFloat32;
  };
  // As CpuLayer's.
  GpuLayer(const ModelSpec& model, int layer, const ops::RecurrentSpec& shape,
           const TensorSpec* tensors, const Place& place);
  GpuLayer(const GpuLayer&) = delete;
  GpuLayer& operator=(const GpuLayer&) = delete;

  class Pass {
   public:
    Pass(const GpuLayer& layer, Size steps, Size batch);
    // [T,N,S], what the next layer reads; known from begin() on, there after forward.
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
  // Before a pass's first part. `draw` null: nothing is dropped.
  void begin(Pass& pass, const Draw* draw) const;

  struct Forward {
    Input x;
    const float* first = nullptr;   // h [N,S], then c [N,H] of an lstm; null: zeros
    float* last = nullptr;          // likewise, written
    const Draw* draw = nullptr;     // as given to begin
  };
  void forward(const Forward& call, Pass& pass, Steps part);

  struct Backward {
    Input x;                      // as given to forward
    float* dy = nullptr;          // [rows,S], of the output; overwritten
    float* dx = nullptr;          // written; null: not wanted
    float* gradient = nullptr;    // of the stage's parameters, written or added to in the last part
    bool add = false;
    const Draw* draw = nullptr;   // as given to forward
  };
  void backward(const Backward& call, Pass& pass, Steps part);

 private:
  [[nodiscard]] bool drops(const Draw* draw) const { return dropout_ > 0 && draw != nullptr; }
  void cell_forward(const Forward& call, Pass& pass, Steps part);
  void min_forward(const Forward& call, Pass& pass);
  void norm_forward(Pass& pass, Steps part);
  void norm_backward(const Backward& call, Pass& pass, Steps part);
  void norm_gradient(const Backward& call, Pass& pass);
  void cell_backward(const Backward& call, const float* dy, Pass& pass, Steps part);
  void min_backward(const Backward& call, const float* dy, Pass& pass);
  void min_weight_gradient(const Backward& call, Pass& pass);
  [[nodiscard]] ops::cuda::Scan scan_of(Pass& pass) const;
  void drop(const Draw& draw, const Pass& pass, const float* x, float* y, Steps part) const;
  [[nodiscard]] const ops::cuda::Entries& api() const { return gpu_.entries(); }
  [[nodiscard]] ops::cuda::Context* context() const { return line_; }
  [[nodiscard]] ops::GpuBuffer floats(Size count) const;

  ops::Gpu& gpu_;
  ops::cuda::Context* const line_;
  const TensorSpec* tensors_;
  const int layer_;
  const bool is_min_, is_lstm_, has_norm_;
  const std::int32_t scan_;      // of a min cell: Scan::cell
  const ops::cuda::Precision precision_;   // of a min cell's products
  const double dropout_;         // 0 at the model's last layer
  const Size inputs_, hidden_, width_, gates_;
  const bool gathers_;
  const std::size_t norm_at_;    // of its first tensor
  std::unique_ptr<ops::cuda::Layer, void (*)(ops::cuda::Layer*)> cell_{nullptr, nullptr};
  const float* parameters_ = nullptr;
  ops::GpuBuffer table_;         // of a min cell with ids: its weight, a row a word
  ops::GpuBuffer d_table_, d_weight_;
  ops::GpuBuffer dy_;            // before layer norm: the sums of its weights' gradients need both
};

}  // namespace rondo::actors
