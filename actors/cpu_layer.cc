#include <rondo/actors/cpu_layer.h>

#include <algorithm>

#include <rondo/ops/dropout.h>

namespace rondo::actors {

namespace {

using ops::Dim;
using ops::Tensor;
using ops::View;

ops::MinSpec min_shape(const ModelSpec& model, int layer) {
  return {model.cell == CellKind::kMinLstm ? ops::MinCell::kMinLstm : ops::MinCell::kMinGru,
          input_width(model, layer), model.hidden, gathers(model, layer)};
}

template <class T>
View<T> part(T* stage, const TensorSpec& tensor) {
  return {stage + tensor.offset, {static_cast<Dim>(tensor.size())}};
}

}  // namespace

CpuLayer::CpuLayer(const ModelSpec& model, int layer, const ops::RecurrentSpec& shape,
                   const TensorSpec* tensors, const ops::Executor& executor)
    : executor_(executor),
      tensors_(tensors),
      layer_(layer),
      has_norm_(model.layer_norm),
      dropout_(layer + 1 < model.layers ? model.dropout : 0),
      width_(output_width(model)),
      norm_at_(cell_tensors(model)),
      recurrent_shape_(shape),
      min_shape_(min_shape(model, layer)) {
  if (has_min_cells(model))
    min_ = std::make_unique<ops::MinLayer<float>>(min_shape_, executor);
  else
    recurrent_ = std::make_unique<ops::RecurrentLayer<float>>(recurrent_shape_, executor);
  if (has_norm_) norm_ = Tensor<float>({2 * width_});
}

CpuLayer::~CpuLayer() = default;

CpuLayer::Pass::Pass(const CpuLayer& layer, ops::SequenceShape shape)
    : shape_(shape),
      cell_(layer.min_ ? decltype(cell_)(std::in_place_index<1>, layer.min_shape_, shape)
                       : decltype(cell_)(std::in_place_index<0>, layer.recurrent_shape_, shape)) {
  if (layer.has_norm_ || layer.drops())
    after_ = Tensor<float>({shape.steps, shape.batch, layer.width_});
  if (!layer.has_norm_) return;
  mean_ = Tensor<float>({shape.steps * shape.batch});
  inverse_ = Tensor<float>({shape.steps * shape.batch});
}

View<const float> CpuLayer::Pass::y() const {
  return std::visit([](const auto& cell) { return cell.y(); }, cell_);
}

template <class T>
ops::RecurrentParams<T> CpuLayer::cell_params(T* stage) const {
  ops::RecurrentParams<T> params{part(stage, tensors_[0]), part(stage, tensors_[1]),
                                 part(stage, tensors_[2]), part(stage, tensors_[3]), {}};
  if (recurrent_shape_.projection > 0) params.w_hr = part(stage, tensors_[4]);
  return params;
}

template <class T>
ops::MinParams<T> CpuLayer::min_params(T* stage) const {
  return {part(stage, tensors_[0]), part(stage, tensors_[1])};
}

template <class T>
ops::LayerNormParams<T> CpuLayer::norm_params(T* stage) const {
  return {part(stage, tensors_[norm_at_]), part(stage, tensors_[norm_at_ + 1])};
}

void CpuLayer::pack(const float* parameters) {
  if (min_) min_->pack(min_params(parameters));
  else recurrent_->pack(cell_params(parameters));
  if (!has_norm_) return;
  const auto norm = norm_params(parameters);
  std::copy_n(norm.weight.data(), width_, norm_.data());
  std::copy_n(norm.bias.data(), width_, norm_.data() + width_);
}

void CpuLayer::drop(const Draw& draw, ops::SequenceShape shape, View<const float> x,
                    View<float> y) const {
  const ops::Shape wide{shape.steps, shape.batch, width_};
  // a run of more than 2^32 steps draws its first masks again
  const ops::RandomKey key{draw.seed, static_cast<std::uint32_t>(draw.step),
                           static_cast<std::uint32_t>(draw.first_row),
                           static_cast<std::uint32_t>(layer_)};
  ops::dropout<float>(executor_, {.probability = dropout_, .key = key}, x.reshape(wide),
                      y.reshape(wide));
}

void CpuLayer::forward(const ops::RecurrentInput<float>& x,
                       const ops::RecurrentState<const float>& first, Pass& pass,
                       const ops::RecurrentState<float>& last, const Draw* draw) {
  if (!min_) {
    recurrent_->forward(x, first, std::get<0>(pass.cell_), last);
  } else if (min_shape_.ids) {
    min_->forward_ids(x.ids, first.h, std::get<1>(pass.cell_), last.h);
  } else {
    min_->forward(x.dense, first.h, std::get<1>(pass.cell_), last.h);
  }
  pass.output_ = pass.y();
  if (has_norm_) {
    ops::layer_norm_forward<float>(
        executor_, {{norm_.data(), {width_}}, {norm_.data() + width_, {width_}}},
        ops::kLayerNormEpsilon, pass.output_, pass.after_, {pass.mean_, pass.inverse_});
    pass.output_ = pass.after_;
  }
  if (drops() && draw != nullptr) {
    drop(*draw, pass.shape_, pass.output_, pass.after_);
    pass.output_ = pass.after_;
  }
}

void CpuLayer::backward(const Backward& call, Pass& pass) {
  View<const float> dy = call.dy;
  if (drops() && call.draw != nullptr) {
    drop(*call.draw, pass.shape_, dy, call.buffer);
    dy = call.buffer;
  }
  if (has_norm_) {
    ops::LayerNormBackward<float> norm;
    norm.params = {{norm_.data(), {width_}}, {norm_.data() + width_, {width_}}};
    norm.rows = {pass.mean_, pass.inverse_};
    norm.x = pass.y();
    norm.dy = dy;
    norm.dx = call.buffer;
    norm.grads = norm_params(call.gradient);
    norm.mode = call.mode;
    ops::layer_norm_backward(executor_, norm, norm_scratch_);
    dy = call.buffer;
  }
  if (min_) {
    ops::MinLayer<float>::Backward run;
    run.x = call.x.dense;
    run.ids = call.x.ids;
    run.dy = dy;
    run.dx = call.dx;
    run.grads = min_params(call.gradient);
    run.mode = call.mode;
    min_->backward(run, std::get<1>(pass.cell_));
    return;
  }
  ops::RecurrentLayer<float>::Backward run;
  run.x = call.x;
  run.dy = dy;
  run.dx = call.dx;
  run.grads = cell_params(call.gradient);
  run.mode = call.mode;
  recurrent_->backward(run, std::get<0>(pass.cell_));
}

}  // namespace rondo::actors
