#include <rondo/actors/gpu_layer.h>

#include <rondo/base/check.h>

namespace rondo::actors {

namespace {

using ops::must;
using ops::cuda::Precision;

constexpr std::int32_t kMinGruScan = 1, kMinLstmScan = 2;

}  // namespace

ops::cuda::LayerSpec gpu_layer_spec(const ops::RecurrentSpec& shape, Precision precision) {
  return {static_cast<std::int32_t>(shape.cell), shape.inputs, shape.hidden, shape.ids ? 1 : 0,
          precision, shape.projection};
}

GpuLayer::GpuLayer(const ModelSpec& model, int layer, const ops::RecurrentSpec& shape,
                   const TensorSpec* tensors, const Place& place)
    : gpu_(place.gpu),
      line_(place.line),
      tensors_(tensors),
      layer_(layer),
      is_min_(has_min_cells(model)),
      is_lstm_(model.cell == CellKind::kLstm),
      has_norm_(model.layer_norm),
      scan_(model.cell == CellKind::kMinLstm ? kMinLstmScan : kMinGruScan),
      precision_(gpu_product_precision(place.precision)),
      dropout_(layer + 1 < model.layers ? model.dropout : 0),
      inputs_(input_width(model, layer)),
      hidden_(model.hidden),
      width_(output_width(model)),
      gates_(gates(model.cell)),
      gathers_(gathers(model, layer)),
      norm_at_(cell_tensors(model)) {
  if (is_min_) {
    if (gathers_) table_ = floats(inputs_ * gates_ * hidden_);
    return;
  }
  ops::cuda::LayerSpec wanted = gpu_layer_spec(shape, place.precision);
  wanted.processors = place.processors;
  ops::cuda::Layer* opened = nullptr;
  must(api().layer_open(context(), &wanted, &opened));
  cell_ = {opened, api().layer_close};
}

ops::GpuBuffer GpuLayer::floats(Size count) const {
  return {gpu_, static_cast<std::size_t>(count) * sizeof(float)};
}

GpuLayer::Pass::Pass(const GpuLayer& layer, Size steps, Size batch)
    : steps_(steps), batch_(batch) {
  if (layer.is_min_) {
    gates_ = layer.floats(rows() * layer.gates_ * layer.hidden_);
    h_ = layer.floats((steps + 1) * batch * layer.hidden_);
    y_ = h_.f() + batch * layer.hidden_;
  } else {
    const ops::cuda::Sequences shape{steps, batch, nullptr, nullptr};
    ops::cuda::Activations* opened = nullptr;
    must(layer.api().activations_open(layer.cell_.get(), &shape, &opened));
    cell_ = {opened, layer.api().activations_close};
    must(layer.api().activations_y(opened, &y_));
  }
  output_ = y_;
  if (layer.has_norm_ || layer.dropout_ > 0) after_ = layer.floats(rows() * layer.width_);
  if (!layer.has_norm_) return;
  mean_ = layer.floats(rows());
  inverse_ = layer.floats(rows());
}

void GpuLayer::pack(const float* parameters) {
  parameters_ = parameters;
  const auto at = [&](std::size_t tensor) { return parameters + tensors_[tensor].offset; };
  if (is_min_) {
    if (gathers_)
      must(api().transpose(context(), at(0), gates_ * hidden_, inputs_, table_.f()));
    return;
  }
  ops::cuda::LayerWeights weights{at(0), at(1), at(2), at(3)};
  if (norm_at_ > 4) weights.w_hr = at(4);
  must(api().layer_pack(cell_.get(), &weights));
}

// The sequences' numbers in the whole batch and the layer's number, as on the CPU.
void GpuLayer::drop(const Draw& draw, const Pass& pass, const float* x, float* y,
                    Steps part) const {
  const Size from = part.first * pass.batch_ * width_;
  const ops::cuda::Dropout call{.steps = part.last - part.first,
                                .batch = pass.batch_,
                                .features = width_,
                                .first_time = part.first,
                                .probability = dropout_,
                                .seed = draw.seed,
                                .step = static_cast<std::uint32_t>(draw.step),
                                .sample = static_cast<std::uint32_t>(draw.first_row),
                                .tensor = static_cast<std::uint32_t>(layer_),
                                .x = x + from,
                                .y = y + from};
  must(api().dropout(context(), &call));
}

void GpuLayer::begin(Pass& pass, const Draw* draw) const {
  pass.output_ = has_norm_ || drops(draw) ? pass.after_.f() : pass.y_;
}

void GpuLayer::forward(const Forward& call, Pass& pass, Steps part) {
  RONDO_CHECK(!is_min_ || (part.first == 0 && part.last == pass.steps_));
  if (is_min_) min_forward(call, pass);
  else cell_forward(call, pass, part);
  if (has_norm_) norm_forward(pass, part);
  if (drops(call.draw))
    drop(*call.draw, pass, has_norm_ ? pass.after_.f() : pass.y_, pass.after_.f(), part);
}

void GpuLayer::norm_forward(Pass& pass, Steps part) {
  const Size row = part.first * pass.batch_, at = row * width_;
  const ops::cuda::LayerNorm norm{(part.last - part.first) * pass.batch_, width_,
                                  static_cast<float>(ops::kLayerNormEpsilon),
                                  parameters_ + tensors_[norm_at_].offset,
                                  parameters_ + tensors_[norm_at_ + 1].offset, pass.y_ + at,
                                  pass.after_.f() + at, pass.mean_.f() + row,
                                  pass.inverse_.f() + row};
  must(api().layer_norm(context(), &norm));
}

void GpuLayer::cell_forward(const Forward& call, Pass& pass, Steps part) {
  const Size h = pass.batch_ * width_;
  ops::cuda::LayerForward run{};
  run.x = call.x.x;
  run.ids = call.x.ids;
  run.h_first = call.first;
  run.h_last = call.last;
  if (is_lstm_) {
    if (call.first != nullptr) run.c_first = call.first + h;
    run.c_last = call.last + h;
  }
  run.first = part.first;
  run.last = part.last;
  must(api().layer_forward(cell_.get(), pass.cell_.get(), &run));
}

// The gates of all steps at once, then the scan.
void GpuLayer::min_forward(const Forward& call, Pass& pass) {
  const Input& x = call.x;
  const Size wide = gates_ * hidden_, state = pass.batch_ * hidden_;
  const std::size_t state_bytes = static_cast<std::size_t>(state) * sizeof(float);
  if (call.first != nullptr) must(api().copy(context(), pass.h_.raw(), call.first, state_bytes));
  else must(api().fill(context(), pass.h_.raw(), 0, state_bytes));
  if (x.ids != nullptr) {
    const ops::cuda::Embedding gather{inputs_, wide, pass.rows(), x.ids, table_.f(),
                                      pass.gates_.f(), 0};
    must(api().embedding(context(), &gather));
  } else {
    const ops::cuda::Product product{
        .rows = pass.rows(), .columns = wide, .depth = inputs_,
        .a = x.x, .a_stride = inputs_, .a_transposed = 0,
        .b = parameters_ + tensors_[0].offset, .b_stride = inputs_, .b_transposed = 1,
        .c = pass.gates_.f(), .c_stride = wide, .add = 0, .precision = precision_};
    must(api().product(context(), &product));
  }
  must(api().add_bias(context(), pass.gates_.f(), parameters_ + tensors_[1].offset, pass.rows(),
                      wide));
  const ops::cuda::Scan scan = scan_of(pass);
  must(api().scan(context(), &scan));
  must(api().copy(context(), call.last, pass.h_.f() + pass.steps_ * state, state_bytes));
}

ops::cuda::Scan GpuLayer::scan_of(Pass& pass) const {
  ops::cuda::Scan scan{};
  scan.cell = scan_;
  scan.steps = pass.steps_;
  scan.batch = pass.batch_;
  scan.units = hidden_;
  scan.row = gates_ * hidden_;
  for (Size gate = 0; gate < gates_; ++gate)
    scan.in[gate] = scan.out[gate] = pass.gates_.f() + gate * hidden_;
  scan.h = pass.h_.f();
  return scan;
}

void GpuLayer::backward(const Backward& call, Pass& pass, Steps part) {
  RONDO_CHECK(!is_min_ || (part.first == 0 && part.last == pass.steps_));
  if (drops(call.draw)) drop(*call.draw, pass, call.dy, call.dy, part);
  if (has_norm_) norm_backward(call, pass, part);
  const float* dy = has_norm_ ? dy_.f() : call.dy;
  if (is_min_) min_backward(call, dy, pass);
  else cell_backward(call, dy, pass, part);
  if (has_norm_ && part.first == 0) norm_gradient(call, pass);
}

// Of the part's rows: each row by itself.
void GpuLayer::norm_backward(const Backward& call, Pass& pass, Steps part) {
  const Size row = part.first * pass.batch_, at = row * width_;
  const Size wanted = pass.rows() * width_;
  if (dy_.bytes() < static_cast<std::size_t>(wanted) * sizeof(float)) dy_ = floats(wanted);
  const ops::cuda::LayerNormBackward norm{(part.last - part.first) * pass.batch_, width_,
                                          parameters_ + tensors_[norm_at_].offset, pass.y_ + at,
                                          call.dy + at, pass.mean_.f() + row,
                                          pass.inverse_.f() + row, dy_.f() + at, nullptr, nullptr,
                                          0};
  must(api().layer_norm_backward(context(), &norm));
}

// Of all rows at once, so that parts do not show in the bits.
void GpuLayer::norm_gradient(const Backward& call, Pass& pass) {
  const ops::cuda::LayerNormBackward norm{
      pass.rows(), width_, parameters_ + tensors_[norm_at_].offset, pass.y_, call.dy,
      pass.mean_.f(), pass.inverse_.f(), nullptr, call.gradient + tensors_[norm_at_].offset,
      call.gradient + tensors_[norm_at_ + 1].offset, call.add ? 1 : 0};
  must(api().layer_norm_backward(context(), &norm));
}

void GpuLayer::cell_backward(const Backward& call, const float* dy, Pass& pass, Steps part) {
  const auto at = [&](std::size_t tensor) { return call.gradient + tensors_[tensor].offset; };
  ops::cuda::LayerBackward run{};
  run.x = call.x.x;
  run.ids = call.x.ids;
  run.dy = dy;
  run.dx = call.dx;
  run.w_ih = at(0);
  run.w_hh = at(1);
  run.b_ih = at(2);
  run.b_hh = at(3);
  if (norm_at_ > 4) run.w_hr = at(4);
  run.add = call.add ? 1 : 0;
  run.first = part.first;
  run.last = part.last;
  must(api().layer_backward(cell_.get(), pass.cell_.get(), &run));
}

void GpuLayer::min_backward(const Backward& call, const float* dy, Pass& pass) {
  const Size wide = gates_ * hidden_;
  ops::cuda::Scan scan = scan_of(pass);
  scan.dy = dy;
  must(api().scan_backward(context(), &scan));
  min_weight_gradient(call, pass);
  must(api().column_sums(context(), pass.gates_.f(), pass.rows(), wide,
                         call.gradient + tensors_[1].offset, call.add ? 1 : 0));
  if (call.dx == nullptr) return;
  const ops::cuda::Product below{
      .rows = pass.rows(), .columns = inputs_, .depth = wide,
      .a = pass.gates_.f(), .a_stride = wide, .a_transposed = 0,
      .b = parameters_ + tensors_[0].offset, .b_stride = inputs_, .b_transposed = 0,
      .c = call.dx, .c_stride = inputs_, .add = 0, .precision = precision_};
  must(api().product(context(), &below));
}

void GpuLayer::min_weight_gradient(const Backward& call, Pass& pass) {
  const Size wide = gates_ * hidden_;
  float* to = call.gradient + tensors_[0].offset;
  if (call.x.ids == nullptr) {
    const ops::cuda::Product weight{
        .rows = wide, .columns = inputs_, .depth = pass.rows(),
        .a = pass.gates_.f(), .a_stride = wide, .a_transposed = 1,
        .b = call.x.x, .b_stride = inputs_, .b_transposed = 0,
        .c = to, .c_stride = inputs_, .add = call.add ? 1 : 0, .precision = precision_};
    return must(api().product(context(), &weight));
  }
  const Size count = wide * inputs_;
  if (d_table_.bytes() == 0) d_table_ = floats(count);
  if (call.add && d_weight_.bytes() == 0) d_weight_ = floats(count);
  const ops::cuda::Embedding scatter{inputs_, wide, pass.rows(), call.x.ids, pass.gates_.f(),
                                     d_table_.f(), 0};
  must(api().embedding_backward(context(), &scatter));
  must(api().transpose(context(), d_table_.f(), inputs_, wide, call.add ? d_weight_.f() : to));
  if (call.add) must(api().add(context(), to, d_weight_.f(), count, to));
}

}  // namespace rondo::actors
