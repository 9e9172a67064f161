#include <rondo/actors/cpu_stage.h>

#include <algorithm>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/ops/elementwise.h>
#include <rondo/ops/embedding.h>
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
  std::vector<CpuLayer::Pass> layers;
  ops::Tensor<float> embedded;     // [T,n,E], first stage of a model with an embedding
  ops::Tensor<float> d_embedded;
  ops::Tensor<float> logits;  // last stage; becomes their gradient
  ops::Tensor<float> row_loss;
  ops::Tensor<float> dy;
  ops::Tensor<float> dx;
};

CpuStage::CpuStage(const StageSpec& spec, const ops::Executor& executor)
    : Stage(spec),
      executor_(executor),
      current_(std::make_unique<StageSnapshot>(first_version(spec))),
      next_(std::make_unique<StageSnapshot>(*current_)) {
  const ModelSpec& model = spec.run.model;
  for (int layer = layers().first; layer < layers().last; ++layer) {
    const ops::RecurrentSpec shape = has_min_cells(model) ? ops::RecurrentSpec{}
                                                          : layer_spec(layer);
    recurrent_.push_back(
        std::make_unique<CpuLayer>(model, layer, shape, layer_tensors(layer), executor));
  }
  if (is_last())
    head_ = std::make_unique<ops::LinearLayer<float>>(output_width(model), model.outputs,
                                                      executor);
  slots_.resize(slot_count() * 2);
  states_.resize(state_count());
  infer_states_.resize(state_count());
  send_gradient({});
  clipped_.resize(parameter_count());
}

CpuStage::~CpuStage() = default;

ops::LinearParams<float> CpuStage::head_params(float* base) const {
  const TensorSpec* tensors = head_tensors();
  return {{base + tensors[0].offset, {tensors[0].rows, tensors[0].cols}},
          {base + tensors[1].offset, {tensors[1].rows}}};
}

void CpuStage::pack() {
  StageSnapshot& version = base();
  if (packed_ == &version) return;
  float* weights = version.parameters.data();
  for (const auto& layer : recurrent_) layer->pack(weights);
  if (head_) {
    const ops::LinearParams<float> params = head_params(weights);
    head_->pack({params.weight, params.bias});
  }
  packed_ = &version;
}

CpuStage::Slot& CpuStage::slot(int microbatch, int steps) {
  auto& held = slots_[slot_of(microbatch)];
  const ops::SequenceShape shape{steps, rows(microbatch)};
  if (held && held->shape.steps == shape.steps && held->shape.batch == shape.batch) return *held;
  const ModelSpec& model = spec().run.model;
  held = std::make_unique<Slot>();
  held->shape = shape;
  for (const auto& layer : recurrent_) held->layers.emplace_back(*layer, shape);
  const Shape wide{shape.steps, shape.batch, output_width(model)};
  held->dy = ops::Tensor<float>(wide);
  held->dx = ops::Tensor<float>(wide);
  if (embedding_tensor() != nullptr) {
    held->embedded = ops::Tensor<float>({shape.steps, shape.batch, model.embedding});
    held->d_embedded = ops::Tensor<float>({shape.steps, shape.batch, model.embedding});
  }
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
  const Dim width = output_width(spec().run.model);
  float* h = states.data() + state_offset(microbatch, layer);
  ops::RecurrentState<float> state{{h, {n, width}}, {}};
  if (is_lstm()) state.c = {h + n * width, {n, hidden}};
  return state;
}

ops::RecurrentInput<float> CpuStage::input_of(const Slot& slot, std::size_t layer) const {
  const Dim steps = slot.shape.steps, n = slot.shape.batch;
  ops::RecurrentInput<float> x;
  if (layer > 0) {
    x.dense = slot.layers[layer - 1].output();
  } else if (slot.embedded.count() > 0) {
    x.dense = slot.embedded;
  } else if (!slot.ids.empty()) {
    x.ids = {slot.ids.data(), {steps, n}};
  } else {
    x.dense = {slot.input.data(), {steps, n, input_width(spec().run.model, layers().first)}};
  }
  return x;
}

Draw CpuStage::draw(int microbatch) const {
  return {spec().run.seed, step_, first_row(microbatch)};
}

void CpuStage::embed(Slot& slot) {
  const TensorSpec& table = *embedding_tensor();
  ops::embedding_forward<float>(
      executor_, {base().parameters.data() + table.offset, {table.rows, table.cols}},
      {slot.ids.data(), {slot.shape.steps * slot.shape.batch}}, slot.embedded);
}

void CpuStage::embedding_gradient(Slot& slot, ops::GradientMode mode) {
  const TensorSpec& table = *embedding_tensor();
  const View<const std::int32_t> ids{slot.ids.data(), {slot.shape.steps * slot.shape.batch}};
  const View<float> to{sink_.memory.data() + table.offset, {table.rows, table.cols}};
  if (mode == ops::GradientMode::kWrite)
    return ops::embedding_backward<float>(executor_, slot.d_embedded, ids, to);
  if (embedding_gradient_.count() == 0)
    embedding_gradient_ = ops::Tensor<float>({table.rows, table.cols});
  ops::embedding_backward<float>(executor_, slot.d_embedded, ids, embedding_gradient_);
  ops::add<float>(executor_, to, embedding_gradient_, to);
}

// Runs this stage's layers from the states in `from` (zeros where it is null) and writes the last
// ones to `to`.
void CpuStage::run_layers(int microbatch, Slot& slot, std::vector<float>* from,
                          std::vector<float>& to, const Draw* draw) {
  pack();
  if (embedding_tensor() != nullptr) embed(slot);
  for (std::size_t layer = 0; layer < recurrent_.size(); ++layer) {
    ops::RecurrentState<const float> first;
    if (from != nullptr) {
      const auto state = state_at(*from, microbatch, layers().first + static_cast<int>(layer));
      first = {state.h, state.c};
    }
    recurrent_[layer]->forward(input_of(slot, layer), first, slot.layers[layer],
                               state_at(to, microbatch, layers().first + static_cast<int>(layer)),
                               draw);
  }
  if (head_) head_->forward(slot.layers.back().output(), slot.logits);
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

void CpuStage::begin(bool fresh, std::uint64_t number) {
  fresh_ = fresh;
  step_ = number;
  gradient_written_ = false;
  applied_ = false;
  ahead_ = false;
}

void CpuStage::go_on(bool fresh, std::uint64_t number) {
  RONDO_CHECK(applied_ && !ahead_);
  begin(fresh, number);
  applied_ = ahead_ = true;
}

std::span<const float> CpuStage::forward(int microbatch, int steps, const Input& input) {
  check_input(input, microbatch, steps);
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  const Draw mine = draw(microbatch);
  run_layers(microbatch, at, fresh_ ? nullptr : &base().states, states_, &mine);
  return is_last() ? std::span<const float>{} : at.layers.back().output().span();
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
  return loss_of(*slots_[slot_of(microbatch)], targets, scale);
}

std::span<const float> CpuStage::backward(int microbatch, std::span<const float> dy) {
  Slot& at = *slots_[slot_of(microbatch)];
  const ops::GradientMode mode =
      gradient_written_ ? ops::GradientMode::kAdd : ops::GradientMode::kWrite;
  gradient_written_ = true;
  const Shape wide{at.shape.steps, at.shape.batch, Dim{output_width(spec().run.model)}};
  const Draw mine = draw(microbatch);
  View<const float> above;
  if (head_) {
    head_->backward(at.layers.back().output(), at.logits, at.dy,
                    head_params(sink_.memory.data()), mode);
    above = at.dy;
  } else {
    RONDO_CHECK_EQ(static_cast<Dim>(dy.size()), wide.count());
    above = {dy.data(), wide};
  }
  for (std::size_t layer = recurrent_.size(); layer-- > 0;) {
    // the gradient comes in through one buffer and leaves through the other
    const bool in_dx = above.data() == at.dx.data();
    const View<float> below = in_dx ? at.dy.view() : at.dx.view();
    CpuLayer::Backward call;
    call.x = input_of(at, layer);
    call.dy = above;
    call.buffer = in_dx ? at.dx.view() : at.dy.view();
    if (layer > 0 || !is_first()) call.dx = below;
    else if (embedding_tensor() != nullptr) call.dx = at.d_embedded;
    call.gradient = sink_.memory.data();
    call.mode = mode;
    call.draw = &mine;
    recurrent_[layer]->backward(call, at.layers[layer]);
    if (layer == 0 && embedding_tensor() != nullptr) embedding_gradient(at, mode);
    if (sink_.ready && is_last_microbatch(microbatch)) sink_.ready(layer);
    above = below;
  }
  return is_first() ? std::span<const float>{} : above.span();
}

void CpuStage::send_gradient(GradientSink sink) {
  sink_ = std::move(sink);
  gradient_.resize(sink_.memory.empty() ? parameter_count() : 0);
  gradient_.shrink_to_fit();
  if (sink_.memory.empty()) sink_.memory = gradient_;
  RONDO_CHECK_EQ(sink_.memory.size(), parameter_count());
}

void CpuStage::apply(std::span<const float> gradient_sum, double lr, std::uint64_t number) {
  RONDO_CHECK(!applied_);
  if (gradient_sum.empty()) gradient_sum = gradient();
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
       moment(current_->moments, 1), flat(next_->parameters), moment(next_->moments, 0),
       moment(next_->moments, 1)});
  std::swap(next_->states, states_);
  if (packed_ == next_.get()) packed_ = nullptr;
  applied_ = true;
}

StageView CpuStage::prepared() {
  RONDO_CHECK(applied_);
  return next_->view();
}

void CpuStage::swap() {
  RONDO_CHECK(applied_);
  std::swap(current_, next_);
  applied_ = false;
  ahead_ = false;
}

StageView CpuStage::current() { return current_->view(); }

void CpuStage::restore(const StageView& version) {
  RONDO_CHECK(fits(version));
  *current_ = version.copy();
  packed_ = nullptr;
  begin(false, 0);
}

std::span<const float> CpuStage::infer(int microbatch, int steps, const Input& input, bool fresh) {
  RONDO_CHECK(!applied_);
  check_input(input, microbatch, steps);
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  run_layers(microbatch, at, fresh ? nullptr : &infer_states_, states_, nullptr);
  const auto first = static_cast<std::ptrdiff_t>(state_begin(microbatch));
  const auto last = static_cast<std::ptrdiff_t>(state_begin(microbatch + 1));
  std::copy(states_.begin() + first, states_.begin() + last,
            infer_states_.begin() + first);
  return is_last() ? std::as_const(at.logits).view().span() : at.layers.back().output().span();
}

}  // namespace rondo::actors
