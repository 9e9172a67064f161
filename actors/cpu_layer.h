#pragma once

#include <cstdint>
#include <memory>
#include <variant>

#include <rondo/actors/model.h>
#include <rondo/ops/layer_norm.h>
#include <rondo/ops/min_recurrent.h>
#include <rondo/ops/recurrent.h>
#include <rondo/ops/tensor.h>

// One layer of a CpuStage: its recurrent cell, and after it, as the model has them, layer norm and
// dropout.
//
//   x ─▶ cell ─▶ y ─▶ layer norm ─▶ dropout ─▶ output       h and c, the states, come from the cell
//
// Holds packed weights and scratch, no parameters: pack() after every change. What backward needs
// of forward lies in a Pass, one for every microbatch in flight. Nothing allocates after the first
// forward and backward of a shape. One call at a time; the executor must outlive it.

namespace rondo::actors {

// Which elements dropout drops: a function of these, never of how the batch is cut.
struct Draw {
  std::uint64_t seed = 0;
  std::uint64_t step = 0;  // number of the step, from 1
  int first_row = 0;       // number of the first sequence in the whole batch
};

class CpuLayer {
 public:
  // `shape` of the cell where it is a RecurrentLayer; `tensors`: the layer's, in tensors_of's
  // order, they must stay.
  CpuLayer(const ModelSpec& model, int layer, const ops::RecurrentSpec& shape,
           const TensorSpec* tensors, const ops::Executor& executor);
  ~CpuLayer();

  class Pass {
   public:
    Pass(const CpuLayer& layer, ops::SequenceShape shape);
    // [T,N,S], what the next layer reads; valid after forward.
    [[nodiscard]] ops::View<const float> output() const { return output_; }

   private:
    friend class CpuLayer;
    [[nodiscard]] ops::View<const float> y() const;

    ops::SequenceShape shape_;
    std::variant<ops::RecurrentActivations<float>, ops::MinActivations<float>> cell_;
    ops::Tensor<float> after_;          // what layer norm and dropout made of y
    ops::Tensor<float> mean_, inverse_; // of layer norm's rows
    ops::View<const float> output_;
  };

  // `parameters`: those of the stage.
  void pack(const float* parameters);
  // `draw` null: nothing is dropped.
  void forward(const ops::RecurrentInput<float>& x, const ops::RecurrentState<const float>& first,
               Pass& pass, const ops::RecurrentState<float>& last, const Draw* draw);

  struct Backward {
    ops::RecurrentInput<float> x;  // as given to forward
    ops::View<const float> dy;     // [T,N,S], of the output
    ops::View<float> buffer;       // [T,N,S], overwritten; may be dy's memory
    ops::View<float> dx;           // written; empty: not wanted
    float* gradient = nullptr;     // of the stage's parameters, written or added to
    ops::GradientMode mode = ops::GradientMode::kWrite;
    const Draw* draw = nullptr;    // as given to forward
  };
  void backward(const Backward& call, Pass& pass);

 private:
  template <class T>
  [[nodiscard]] ops::RecurrentParams<T> cell_params(T* stage) const;
  template <class T>
  [[nodiscard]] ops::MinParams<T> min_params(T* stage) const;
  template <class T>
  [[nodiscard]] ops::LayerNormParams<T> norm_params(T* stage) const;
  void drop(const Draw& draw, ops::SequenceShape shape, ops::View<const float> x,
            ops::View<float> y) const;
  [[nodiscard]] bool drops() const { return dropout_ > 0; }

  const ops::Executor& executor_;
  const TensorSpec* tensors_;
  const int layer_;
  const bool has_norm_;
  const double dropout_;   // 0 at the model's last layer
  const ops::Dim width_;   // S
  const std::size_t norm_at_;   // of its first tensor
  ops::RecurrentSpec recurrent_shape_;
  ops::MinSpec min_shape_;
  std::unique_ptr<ops::RecurrentLayer<float>> recurrent_;  // one of the two
  std::unique_ptr<ops::MinLayer<float>> min_;
  ops::Tensor<float> norm_;   // weight, then bias
  ops::Tensor<float> norm_scratch_;
};

}  // namespace rondo::actors
