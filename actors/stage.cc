#include <rondo/actors/stage.h>

#include <algorithm>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/ops/elementwise.h>
#include <rondo/ops/loss.h>
#include <rondo/ops/random.h>

namespace rondo::actors {

namespace {

using ops::Dim;
using ops::Shape;
using ops::View;

constexpr double kInitRange = 0.08;  // char-rnn's

ops::Cell cell_of(const ModelSpec& model) {
  switch (model.cell) {
    case CellKind::kLstm: return ops::Cell::kLstm;
    case CellKind::kGru: return ops::Cell::kGru;
    case CellKind::kRnn: break;
  }
  switch (model.activation) {
    case Activation::kTanh: return ops::Cell::kTanh;
    case Activation::kSigmoid: return ops::Cell::kSigmoid;
    case Activation::kRelu: break;
  }
  return ops::Cell::kRelu;
}

ops::RecurrentSpec layer_spec(const ModelSpec& model, int layer) {
  const bool ids = layer == 0 && model.data == DataKind::kTokens;
  return {cell_of(model), layer == 0 ? model.inputs : model.hidden, model.hidden, ids};
}

View<const float> flat(std::span<const float> values) {
  return {values.data(), {static_cast<Dim>(values.size())}};
}
View<float> flat(std::vector<float>& values) {
  return {values.data(), {static_cast<Dim>(values.size())}};
}

}  // namespace

struct Stage::Slot {
  ops::SequenceShape shape;
  std::vector<std::int32_t> ids;
  std::vector<float> input;
  std::vector<ops::RecurrentActivations<float>> layers;
  ops::Tensor<float> logits;  // last stage; becomes their gradient
  ops::Tensor<float> row_loss;
  ops::Tensor<float> dy;
  ops::Tensor<float> dx;
};

namespace {

// Where the states of each microbatch begin, and the end of the last.
std::vector<std::size_t> state_offsets(const StageSpec& spec) {
  const ModelSpec& model = spec.run.model;
  const LayerRange layers = layers_of(spec.run.layout, model.layers, spec.stage);
  const std::size_t per_row = static_cast<std::size_t>(layers.last - layers.first) *
                              static_cast<std::size_t>(model.hidden) *
                              (model.cell == CellKind::kLstm ? 2 : 1);
  std::vector<std::size_t> offsets{0};
  for (int m = 0; m < spec.run.layout.microbatches; ++m) {
    const int rows = rows_of(spec.run.layout, spec.run.batch, spec.replica, m).count;
    offsets.push_back(offsets.back() + per_row * static_cast<std::size_t>(rows));
  }
  return offsets;
}

}  // namespace

StageSnapshot first_version(const StageSpec& spec) {
  const ModelSpec& model = spec.run.model;
  const LayerRange layers = layers_of(spec.run.layout, model.layers, spec.stage);
  const std::size_t count = parameter_count(model, layers);
  StageSnapshot first;
  first.parameters.resize(count);
  first.moments.resize(count * static_cast<std::size_t>(ops::moment_count(spec.run.optimizer)));
  first.states.resize(state_offsets(spec).back());
  for (const TensorSpec& tensor : tensors_of(model, layers)) {
    float* base = first.parameters.data() + tensor.offset;
    const ops::RandomKey key{spec.run.seed, 0, 0, static_cast<std::uint32_t>(tensor.key)};
    ops::fill_uniform<float>(key, -kInitRange, kInitRange,
                             {base, {static_cast<Dim>(tensor.size())}});
    // a memory that forgets nothing at first learns sooner (Jozefowicz et al. 2015)
    if (model.cell == CellKind::kLstm && tensor.name.starts_with("bias_ih"))
      std::fill_n(base + model.hidden, model.hidden, 1.0f);
  }
  return first;
}

Stage::Stage(const StageSpec& spec, const ops::Executor& executor)
    : spec_(spec),
      layers_(layers_of(spec.run.layout, spec.run.model.layers, spec.stage)),
      tensors_(tensors_of(spec.run.model, layers_)),
      parameter_count_(actors::parameter_count(spec.run.model, layers_)),
      state_offsets_(state_offsets(spec)),
      executor_(executor),
      current_(std::make_unique<StageSnapshot>(first_version(spec))),
      spare_(std::make_unique<StageSnapshot>(*current_)) {
  const ModelSpec& model = spec.run.model;
  const Layout& layout = spec.run.layout;
  for (int layer = layers_.first; layer < layers_.last; ++layer)
    recurrent_.push_back(
        std::make_unique<ops::RecurrentLayer<float>>(layer_spec(model, layer), executor));
  if (is_last())
    head_ = std::make_unique<ops::LinearLayer<float>>(model.hidden, model.outputs, executor);
  // 1F1B never has more microbatches between forward and backward than there are stages from here
  // on
  slots_.resize(static_cast<std::size_t>(
      std::min(layout.microbatches, layout.stages - spec.stage)));
  infer_states_.resize(state_offsets_.back());
  gradient_.resize(parameter_count_);
  clipped_.resize(parameter_count_);
}

Stage::~Stage() = default;

int Stage::rows(int microbatch) const {
  return rows_of(spec_.run.layout, spec_.run.batch, spec_.replica, microbatch).count;
}

ops::RecurrentParams<float> Stage::recurrent_params(float* base, int layer) const {
  const ModelSpec& model = spec_.run.model;
  const Dim wide = Dim{gates(model.cell)} * model.hidden;
  const Dim inputs = layer == 0 ? model.inputs : model.hidden;
  const std::size_t first = static_cast<std::size_t>(layer - layers_.first) * 4;
  return {{base + tensors_[first].offset, {wide, inputs}},
          {base + tensors_[first + 1].offset, {wide, model.hidden}},
          {base + tensors_[first + 2].offset, {wide}},
          {base + tensors_[first + 3].offset, {wide}}};
}

namespace {
ops::LinearParams<float> head_params(float* base, const std::vector<TensorSpec>& tensors) {
  const TensorSpec& weight = tensors[tensors.size() - 2];
  const TensorSpec& bias = tensors.back();
  return {{base + weight.offset, {weight.rows, weight.cols}}, {base + bias.offset, {bias.rows}}};
}
}  // namespace

void Stage::pack() {
  if (packed_) return;
  float* base = current_->parameters.data();
  for (int layer = layers_.first; layer < layers_.last; ++layer) {
    const ops::RecurrentParams<float> params = recurrent_params(base, layer);
    recurrent_[static_cast<std::size_t>(layer - layers_.first)]->pack(
        {params.w_ih, params.w_hh, params.b_ih, params.b_hh});
  }
  if (head_) {
    const ops::LinearParams<float> params = head_params(base, tensors_);
    head_->pack({params.weight, params.bias});
  }
  packed_ = true;
}

Stage::Slot& Stage::slot(int microbatch, int steps) {
  auto& held = slots_[static_cast<std::size_t>(microbatch) % slots_.size()];
  const ops::SequenceShape shape{steps, rows(microbatch)};
  if (held && held->shape.steps == shape.steps && held->shape.batch == shape.batch) return *held;
  const ModelSpec& model = spec_.run.model;
  held = std::make_unique<Slot>();
  held->shape = shape;
  for (int layer = layers_.first; layer < layers_.last; ++layer)
    held->layers.emplace_back(layer_spec(model, layer), shape);
  const Shape wide{shape.steps, shape.batch, model.hidden};
  held->dy = ops::Tensor<float>(wide);
  held->dx = ops::Tensor<float>(wide);
  if (is_last()) {
    held->logits = ops::Tensor<float>({shape.steps * shape.batch, model.outputs});
    held->row_loss = ops::Tensor<float>({shape.steps * shape.batch});
  }
  return *held;
}

ops::RecurrentState<float> Stage::state_at(std::vector<float>& states, int microbatch,
                                           int layer) const {
  const Dim n = rows(microbatch);
  const Dim hidden = spec_.run.model.hidden;
  const bool lstm = spec_.run.model.cell == CellKind::kLstm;
  const auto per_layer = static_cast<std::size_t>(n * hidden * (lstm ? 2 : 1));
  float* h = states.data() + state_offsets_[static_cast<std::size_t>(microbatch)] +
             per_layer * static_cast<std::size_t>(layer);
  ops::RecurrentState<float> state{{h, {n, hidden}}, {}};
  if (lstm) state.c = {h + n * hidden, {n, hidden}};
  return state;
}

// Runs this stage's layers from the states in `from` (zeros where it is null) and writes the last
// ones to `to`.
void Stage::run_layers(int microbatch, Slot& slot, std::vector<float>* from,
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
      const auto state = state_at(*from, microbatch, static_cast<int>(layer));
      first = {state.h, state.c};
    }
    recurrent_[layer]->forward(x, first, slot.layers[layer],
                               state_at(to, microbatch, static_cast<int>(layer)));
  }
  if (head_) head_->forward(slot.layers.back().y(), slot.logits);
}

void Stage::take_input(Slot& slot, const Input& input) const {
  const auto count = static_cast<std::size_t>(slot.shape.steps * slot.shape.batch);
  slot.ids.clear();
  slot.input.clear();
  if (!is_first()) {
    RONDO_CHECK_EQ(input.activations.size(),
                   count * static_cast<std::size_t>(spec_.run.model.hidden));
    slot.input.assign(input.activations.begin(), input.activations.end());
  } else if (spec_.run.model.data == DataKind::kTokens) {
    RONDO_CHECK_EQ(input.feed->ids.size(), count);
    slot.ids = input.feed->ids;
  } else {
    RONDO_CHECK_EQ(input.feed->values.size(), count);
    slot.input = input.feed->values;
  }
}

void Stage::begin(bool fresh) {
  fresh_ = fresh;
  gradient_written_ = false;
  applied_ = false;
}

std::span<const float> Stage::forward(int microbatch, int steps, const Input& input) {
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  run_layers(microbatch, at, fresh_ ? nullptr : &current_->states, spare_->states);
  return is_last() ? std::span<const float>{} : at.layers.back().y().span();
}

double Stage::loss_of(Slot& slot, const Feed& targets, double scale) {
  const Dim count = slot.shape.steps * slot.shape.batch;
  if (spec_.run.model.data == DataKind::kTokens) {
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

double Stage::loss(int microbatch, const Feed& targets, double scale) {
  return loss_of(*slots_[static_cast<std::size_t>(microbatch) % slots_.size()], targets, scale);
}

std::span<const float> Stage::backward(int microbatch, std::span<const float> dy) {
  Slot& at = *slots_[static_cast<std::size_t>(microbatch) % slots_.size()];
  const ops::GradientMode mode =
      gradient_written_ ? ops::GradientMode::kAdd : ops::GradientMode::kWrite;
  gradient_written_ = true;
  const Shape wide{at.shape.steps, at.shape.batch, Dim{spec_.run.model.hidden}};
  View<const float> above;
  if (head_) {
    head_->backward(at.layers.back().y(), at.logits, at.dy,
                    head_params(gradient_.data(), tensors_), mode);
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
    call.grads = recurrent_params(gradient_.data(), layers_.first + static_cast<int>(layer));
    call.mode = mode;
    recurrent_[layer]->backward(call, at.layers[layer]);
    above = below;
  }
  return is_first() ? std::span<const float>{} : above.span();
}

void Stage::apply(std::span<const float> gradient_sum, double lr, std::uint64_t number) {
  RONDO_CHECK_EQ(gradient_sum.size(), parameter_count_);
  View<const float> gradient = flat(gradient_sum);
  if (spec_.run.clip > 0) {
    ops::clip_value<float>(executor_, gradient, spec_.run.clip, flat(clipped_));
    gradient = flat(clipped_);
  }
  ops::OptimizerOptions options;
  options.rule = spec_.run.optimizer;
  options.lr = lr;
  options.step = number;
  const auto count = static_cast<Dim>(parameter_count_);
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

StageView Stage::prepared() const {
  RONDO_CHECK(applied_);
  return spare_->view();
}

void Stage::swap() {
  RONDO_CHECK(applied_);
  std::swap(current_, spare_);
  applied_ = false;
  packed_ = false;
}

StageView Stage::current() const { return current_->view(); }

bool Stage::fits(const StageView& version) const {
  return version.parameters.size() == current_->parameters.size() &&
         version.moments.size() == current_->moments.size() &&
         version.states.size() == current_->states.size();
}

void Stage::restore(const StageView& version) {
  RONDO_CHECK(fits(version));
  *current_ = version.copy();
  packed_ = false;
  begin(false);
}

std::span<const float> Stage::infer(int microbatch, int steps, const Input& input, bool fresh) {
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  // between steps the spare states are scratch
  run_layers(microbatch, at, fresh ? nullptr : &infer_states_, spare_->states);
  const auto index = static_cast<std::size_t>(microbatch);
  const auto first = static_cast<std::ptrdiff_t>(state_offsets_[index]);
  const auto last = static_cast<std::ptrdiff_t>(state_offsets_[index + 1]);
  std::copy(spare_->states.begin() + first, spare_->states.begin() + last,
            infer_states_.begin() + first);
  return is_last() ? std::as_const(at.logits).view().span() : at.layers.back().y().span();
}

double Stage::judge(int microbatch, const Feed& targets) { return loss(microbatch, targets, 0); }

void sum_slices(const ops::Executor& executor, std::span<const std::span<const float>> slices,
                std::vector<float>& out) {
  RONDO_CHECK(!slices.empty());
  std::vector<std::span<const float>> level(slices.begin(), slices.end());
  std::vector<std::vector<float>> sums((slices.size() + 1) / 2);
  out.resize(slices[0].size());
  if (level.size() == 1) std::copy(level[0].begin(), level[0].end(), out.begin());
  while (level.size() > 1) {
    for (std::size_t i = 0; i + 1 < level.size(); i += 2) {
      RONDO_CHECK_EQ(level[i].size(), out.size());
      std::vector<float>& sum = level.size() == 2 ? out : sums[i / 2];
      sum.resize(out.size());
      ops::add<float>(executor, flat(level[i]), flat(level[i + 1]), flat(sum));
      level[i / 2] = sum;
    }
    if (level.size() % 2 == 1) level[level.size() / 2] = level.back();
    level.resize((level.size() + 1) / 2);
  }
}

}  // namespace rondo::actors
