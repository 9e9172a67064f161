#include <rondo/actors/cpu_stage.h>

#include <algorithm>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/ops/elementwise.h>
#include <rondo/ops/loss.h>

namespace rondo::actors {

namespace {

using ops::Dim;
using ops::Shape;
using ops::View;

View<const float> flat(std::span<const float> values) {
  return {values.data(), {static_cast<Dim>(values.size())}};
}
View<float> flat(std::vector<float>& values) {
  return {values.data(), {static_cast<Dim>(values.size())}};
}

}  // namespace

struct CpuStage::Slot {
  ops::SequenceShape shape;
  std::vector<std::int32_t> ids;
  std::vector<float> input;
  std::vector<ops::RecurrentActivations<float>> layers;
  ops::Tensor<float> logits;  // last stage; becomes their gradient
  ops::Tensor<float> row_loss;
  ops::Tensor<float> dy;
  ops::Tensor<float> dx;
};

CpuStage::CpuStage(const StageSpec& spec, const ops::Executor& executor)
    : Stage(spec),
      executor_(executor),
      current_(std::make_unique<StageSnapshot>(first_version(spec))),
      spare_(std::make_unique<StageSnapshot>(*current_)) {
  const ModelSpec& model = spec.run.model;
  for (int layer = layers().first; layer < layers().last; ++layer)
    recurrent_.push_back(
        std::make_unique<ops::RecurrentLayer<float>>(layer_spec(layer), executor));
  if (is_last())
    head_ = std::make_unique<ops::LinearLayer<float>>(model.hidden, model.outputs, executor);
  slots_.resize(slot_count());
  infer_states_.resize(state_count());
  gradient_.resize(parameter_count());
  clipped_.resize(parameter_count());
}

CpuStage::~CpuStage() = default;

ops::RecurrentParams<float> CpuStage::recurrent_params(float* base, int layer) const {
  const TensorSpec* tensors = layer_tensors(layer);
  return {{base + tensors[0].offset, {tensors[0].rows, tensors[0].cols}},
          {base + tensors[1].offset, {tensors[1].rows, tensors[1].cols}},
          {base + tensors[2].offset, {tensors[2].rows}},
          {base + tensors[3].offset, {tensors[3].rows}}};
}

ops::LinearParams<float> CpuStage::head_params(float* base) const {
  const TensorSpec* tensors = head_tensors();
  return {{base + tensors[0].offset, {tensors[0].rows, tensors[0].cols}},
          {base + tensors[1].offset, {tensors[1].rows}}};
}

void CpuStage::pack() {
  if (packed_) return;
  float* base = current_->parameters.data();
  for (int layer = layers().first; layer < layers().last; ++layer) {
    const ops::RecurrentParams<float> params = recurrent_params(base, layer);
    recurrent_[static_cast<std::size_t>(layer - layers().first)]->pack(
        {params.w_ih, params.w_hh, params.b_ih, params.b_hh});
  }
  if (head_) {
    const ops::LinearParams<float> params = head_params(base);
    head_->pack({params.weight, params.bias});
  }
  packed_ = true;
}

CpuStage::Slot& CpuStage::slot(int microbatch, int steps) {
  auto& held = slots_[static_cast<std::size_t>(microbatch) % slots_.size()];
  const ops::SequenceShape shape{steps, rows(microbatch)};
  if (held && held->shape.steps == shape.steps && held->shape.batch == shape.batch) return *held;
  const ModelSpec& model = spec().run.model;
  held = std::make_unique<Slot>();
  held->shape = shape;
  for (int layer = layers().first; layer < layers().last; ++layer)
    held->layers.emplace_back(layer_spec(layer), shape);
  const Shape wide{shape.steps, shape.batch, model.hidden};
  held->dy = ops::Tensor<float>(wide);
  held->dx = ops::Tensor<float>(wide);
  if (is_last()) {
    held->logits = ops::Tensor<float>({shape.steps * shape.batch, model.outputs});
    held->row_loss = ops::Tensor<float>({shape.steps * shape.batch});
  }
  return *held;
}

ops::RecurrentState<float> CpuStage::state_at(std::vector<float>& states, int microbatch,
                                              int layer) const {
  const Dim n = rows(microbatch);
  const Dim hidden = spec().run.model.hidden;
  float* h = states.data() + state_offset(microbatch, layer);
  ops::RecurrentState<float> state{{h, {n, hidden}}, {}};
  if (is_lstm()) state.c = {h + n * hidden, {n, hidden}};
  return state;
}

// Runs this stage's layers from the states in `from` (zeros where it is null) and writes the last
// ones to `to`.
void CpuStage::run_layers(int microbatch, Slot& slot, std::vector<float>* from,
                          std::vector<float>& to) {
  pack();
  const Dim steps = slot.shape.steps;
  const Dim n = slot.shape.batch;
  for (std::size_t layer = 0; layer < recurrent_.size(); ++layer) {
    ops::RecurrentInput<float> x;
    if (layer > 0) {
      x.dense = slot.layers[layer - 1].y();
    } else if (!slot.ids.empty()) {
      x.ids = {slot.ids.data(), {steps, n}};
    } else {
      x.dense = {slot.input.data(), {steps, n, recurrent_[0]->spec().inputs}};
    }
    ops::RecurrentState<const float> first;
    if (from != nullptr) {
      const auto state = state_at(*from, microbatch, layers().first + static_cast<int>(layer));
      first = {state.h, state.c};
    }
    recurrent_[layer]->forward(x, first, slot.layers[layer],
                               state_at(to, microbatch, layers().first + static_cast<int>(layer)));
  }
  if (head_) head_->forward(slot.layers.back().y(), slot.logits);
}

void CpuStage::take_input(Slot& slot, const Input& input) const {
  slot.ids.clear();
  slot.input.clear();
  if (!is_first()) {
    slot.input.assign(input.activations.begin(), input.activations.end());
  } else {
    slot.ids = input.feed->ids;
    slot.input = input.feed->values;
  }
}

void CpuStage::begin(bool fresh) {
  fresh_ = fresh;
  gradient_written_ = false;
  applied_ = false;
}

std::span<const float> CpuStage::forward(int microbatch, int steps, const Input& input) {
  check_input(input, microbatch, steps);
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  run_layers(microbatch, at, fresh_ ? nullptr : &current_->states, spare_->states);
  return is_last() ? std::span<const float>{} : at.layers.back().y().span();
}

double CpuStage::loss_of(Slot& slot, const Feed& targets, double scale) {
  const Dim count = slot.shape.steps * slot.shape.batch;
  if (spec().run.model.data == DataKind::kTokens) {
    RONDO_CHECK_EQ(static_cast<Dim>(targets.ids.size()), count);
    return ops::softmax_cross_entropy<float>(executor_, slot.logits,
                                             {targets.ids.data(), {count}}, scale, slot.row_loss,
                                             slot.logits);
  }
  RONDO_CHECK_EQ(static_cast<Dim>(targets.values.size()), count);
  return ops::squared_error<float>(executor_, slot.logits,
                                   {targets.values.data(), {count, slot.logits.shape()[1]}}, scale,
                                   slot.logits);
}

double CpuStage::loss(int microbatch, const Feed& targets, double scale) {
  return loss_of(*slots_[static_cast<std::size_t>(microbatch) % slots_.size()], targets, scale);
}

std::span<const float> CpuStage::backward(int microbatch, std::span<const float> dy) {
  Slot& at = *slots_[static_cast<std::size_t>(microbatch) % slots_.size()];
  const ops::GradientMode mode =
      gradient_written_ ? ops::GradientMode::kAdd : ops::GradientMode::kWrite;
  gradient_written_ = true;
  const Shape wide{at.shape.steps, at.shape.batch, Dim{spec().run.model.hidden}};
  View<const float> above;
  if (head_) {
    head_->backward(at.layers.back().y(), at.logits, at.dy, head_params(gradient_.data()), mode);
    above = at.dy;
  } else {
    RONDO_CHECK_EQ(static_cast<Dim>(dy.size()), wide.count());
    above = {dy.data(), wide};
  }
  for (std::size_t layer = recurrent_.size(); layer-- > 0;) {
    const bool needs_dx = layer > 0 || !is_first();
    // the gradient comes in through one buffer and leaves through the other
    View<float> below = above.data() == at.dx.data() ? at.dy.view() : at.dx.view();
    ops::RecurrentLayer<float>::Backward call;
    if (layer > 0) {
      call.x.dense = at.layers[layer - 1].y();
    } else if (!at.ids.empty()) {
      call.x.ids = {at.ids.data(), {at.shape.steps, at.shape.batch}};
    } else {
      call.x.dense = {at.input.data(),
                      {at.shape.steps, at.shape.batch, recurrent_[0]->spec().inputs}};
    }
    call.dy = above;
    if (needs_dx) call.dx = below;
    call.grads = recurrent_params(gradient_.data(), layers().first + static_cast<int>(layer));
    call.mode = mode;
    recurrent_[layer]->backward(call, at.layers[layer]);
    above = below;
  }
  return is_first() ? std::span<const float>{} : above.span();
}

void CpuStage::apply(std::span<const float> gradient_sum, double lr, std::uint64_t number) {
  RONDO_CHECK_EQ(gradient_sum.size(), parameter_count());
  View<const float> gradient = flat(gradient_sum);
  if (spec().run.clip > 0) {
    ops::clip_value<float>(executor_, gradient, spec().run.clip, flat(clipped_));
    gradient = flat(clipped_);
  }
  ops::OptimizerOptions options;
  options.rule = spec().run.optimizer;
  options.lr = lr;
  options.step = number;
  const auto count = static_cast<Dim>(parameter_count());
  const auto moment = [&](std::vector<float>& all, Dim index) -> View<float> {
    if (index >= ops::moment_count(options.rule)) return {};
    return {all.data() + index * count, {count}};
  };
  ops::optimizer_step<float>(
      executor_, options,
      {flat(std::as_const(current_->parameters)), gradient, moment(current_->moments, 0),
       moment(current_->moments, 1), flat(spare_->parameters), moment(spare_->moments, 0),
       moment(spare_->moments, 1)});
  applied_ = true;
}

StageView CpuStage::prepared() {
  RONDO_CHECK(applied_);
  return spare_->view();
}

void CpuStage::swap() {
  RONDO_CHECK(applied_);
  std::swap(current_, spare_);
  applied_ = false;
  packed_ = false;
}

StageView CpuStage::current() { return current_->view(); }

void CpuStage::restore(const StageView& version) {
  RONDO_CHECK(fits(version));
  *current_ = version.copy();
  packed_ = false;
  begin(false);
}

std::span<const float> CpuStage::infer(int microbatch, int steps, const Input& input, bool fresh) {
  check_input(input, microbatch, steps);
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  // between steps the spare states are scratch
  run_layers(microbatch, at, fresh ? nullptr : &infer_states_, spare_->states);
  const auto first = static_cast<std::ptrdiff_t>(state_begin(microbatch));
  const auto last = static_cast<std::ptrdiff_t>(state_begin(microbatch + 1));
  std::copy(spare_->states.begin() + first, spare_->states.begin() + last,
            infer_states_.begin() + first);
  return is_last() ? std::as_const(at.logits).view().span() : at.layers.back().y().span();
}

}  // namespace rondo::actors
