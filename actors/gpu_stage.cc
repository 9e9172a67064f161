#include <rondo/actors/gpu_stage.h>

#include <algorithm>
#include <utility>

#include <rondo/base/check.h>

namespace rondo::actors {

namespace {

using ops::GpuBuffer;
using ops::must;
using ops::cuda::Precision;
using ops::cuda::Size;

std::unique_ptr<ops::Gpu> open_gpu_for(const StageSpec& spec) {
  const std::string lacks = gpu_lacks(spec.run.model);
  if (!lacks.empty()) throw ops::GpuFault("stages on a GPU have no " + lacks + " yet");
  ops::GpuOrReason found = ops::open_gpu(0);
  int devices = 1;
  if (found.gpu) must(found.gpu->entries().device_count(&devices));
  const int which = (spec.replica * spec.run.layout.stages + spec.stage) % std::max(devices, 1);
  if (found.gpu && which > 0) found = ops::open_gpu(which);
  if (!found.gpu) throw ops::GpuFault(found.reason);
  return std::move(found.gpu);
}

}  // namespace

std::string gpu_lacks(const ModelSpec& model) {
  if (has_min_cells(model)) return std::string(to_string(model.cell));
  if (model.layer_norm) return "layer norm";
  if (model.dropout > 0) return "dropout";
  if (model.projection > 0) return "projection";
  if (model.embedding > 0) return "embedding";
  return "";
}

struct GpuStage::Slot {
  using Activations = std::unique_ptr<ops::cuda::Activations, void (*)(ops::cuda::Activations*)>;
  Size steps = 0, batch = 0;
  GpuBuffer ids, input, targets;
  std::vector<Activations> layers;
  GpuBuffer logits;   // last stage; becomes their gradient
  GpuBuffer row_loss, dy, dx;

  [[nodiscard]] Size rows() const { return steps * batch; }
  [[nodiscard]] std::size_t count(int width) const {
    return static_cast<std::size_t>(rows()) * static_cast<std::size_t>(width);
  }
};

struct GpuStage::Version {
  GpuBuffer parameters, moments, states;
  StageSnapshot host;
  bool copied = false;   // host is what the device has
};

GpuBuffer GpuStage::floats(std::size_t count) const {
  return {*gpu_, count * sizeof(float)};
}

GpuStage::GpuStage(const StageSpec& spec) : Stage(spec), gpu_(open_gpu_for(spec)) {
  for (int layer = layers().first; layer < layers().last; ++layer) {
    const ops::RecurrentSpec shape = layer_spec(layer);
    const ops::cuda::LayerSpec wanted{static_cast<std::int32_t>(shape.cell), shape.inputs,
                                      shape.hidden, shape.ids ? 1 : 0, Precision::kFloat32};
    ops::cuda::Layer* opened = nullptr;
    must(api().layer_open(context(), &wanted, &opened));
    recurrent_.emplace_back(opened, api().layer_close);
  }
  const StageSnapshot first = first_version(spec);
  for (auto* version : {&current_, &spare_}) {
    *version = std::make_unique<Version>();
    (*version)->parameters = floats(parameter_count());
    (*version)->moments = floats(moment_count());
    (*version)->states = floats(state_count());
  }
  slots_.resize(slot_count());
  infer_states_ = floats(state_count());
  gradient_ = floats(parameter_count());
  gradient_sum_ = floats(parameter_count());
  clipped_ = floats(parameter_count());
  loss_sum_ = GpuBuffer(*gpu_, sizeof(double));
  restore(first.view());
}

GpuStage::~GpuStage() = default;

GpuStage::Slot& GpuStage::slot(int microbatch, int steps) {
  auto& held = slots_[static_cast<std::size_t>(microbatch) % slots_.size()];
  const Size batch = rows(microbatch);
  if (held && held->steps == steps && held->batch == batch) return *held;
  const ModelSpec& model = spec().run.model;
  auto fresh = std::make_unique<Slot>();   // in force when all of it is there
  fresh->steps = steps;
  fresh->batch = batch;
  const ops::cuda::Sequences shape{steps, batch, nullptr, nullptr};
  for (const auto& layer : recurrent_) {
    ops::cuda::Activations* opened = nullptr;
    must(api().activations_open(layer.get(), &shape, &opened));
    fresh->layers.emplace_back(opened, api().activations_close);
  }
  fresh->dy = floats(fresh->count(model.hidden));
  fresh->dx = floats(fresh->count(model.hidden));
  const bool tokens = model.data == DataKind::kTokens;
  if (is_first() && tokens) fresh->ids = floats(fresh->count(1));
  if (!is_first() || !tokens)
    fresh->input = floats(fresh->count(is_first() ? model.inputs : model.hidden));
  if (is_last()) {
    fresh->logits = floats(fresh->count(model.outputs));
    fresh->row_loss = floats(fresh->count(1));
    fresh->targets = floats(fresh->count(tokens ? 1 : model.outputs));
  }
  held = std::move(fresh);
  return *held;
}

void GpuStage::pack() {
  if (packed_) return;
  const float* base = current_->parameters.f();
  for (int layer = layers().first; layer < layers().last; ++layer) {
    const TensorSpec* tensors = layer_tensors(layer);
    const ops::cuda::LayerWeights weights{base + tensors[0].offset, base + tensors[1].offset,
                                          base + tensors[2].offset, base + tensors[3].offset};
    must(api().layer_pack(recurrent_[static_cast<std::size_t>(layer - layers().first)].get(),
                          &weights));
  }
  packed_ = true;
}

void GpuStage::take_input(Slot& slot, const Input& input) {
  if (!is_first())
    slot.input.set(input.activations);
  else if (spec().run.model.data == DataKind::kTokens)
    slot.ids.set(std::span<const std::int32_t>(input.feed->ids));
  else
    slot.input.set(std::span<const float>(input.feed->values));
}

// Runs this stage's layers from the states in `from` (zeros where it is null) and writes the last
// ones to `to`.
void GpuStage::run_layers(int microbatch, Slot& slot, const GpuBuffer* from, GpuBuffer& to) {
  pack();
  const ModelSpec& model = spec().run.model;
  const Size per_state = slot.batch * model.hidden;
  const float* below = nullptr;
  for (std::size_t i = 0; i < recurrent_.size(); ++i) {
    const int layer = layers().first + static_cast<int>(i);
    const std::size_t at = state_offset(microbatch, layer);
    ops::cuda::LayerForward run{};
    if (i > 0) run.x = below;
    else if (slot.ids.bytes() > 0) run.ids = slot.ids.i();
    else run.x = slot.input.f();
    if (from != nullptr) run.h_first = from->f() + at;
    run.h_last = to.f() + at;
    if (is_lstm()) {
      if (from != nullptr) run.c_first = from->f() + at + per_state;
      run.c_last = to.f() + at + per_state;
    }
    must(api().layer_forward(recurrent_[i].get(), slot.layers[i].get(), &run));
    must(api().activations_y(slot.layers[i].get(), &below));
  }
  if (!is_last()) return;
  const TensorSpec* head = head_tensors();
  const float* base = current_->parameters.f();
  const Size hidden = model.hidden, outputs = model.outputs;
  const ops::cuda::Product product{
      .rows = slot.rows(), .columns = outputs, .depth = hidden,
      .a = below, .a_stride = hidden, .a_transposed = 0,
      .b = base + head[0].offset, .b_stride = hidden, .b_transposed = 1,
      .c = slot.logits.f(), .c_stride = outputs, .add = 0, .precision = Precision::kFloat32};
  must(api().product(context(), &product));
  must(api().add_bias(context(), slot.logits.f(), base + head[1].offset, slot.rows(), outputs));
}

void GpuStage::begin(bool fresh, std::uint64_t /*number*/) {
  fresh_ = fresh;
  gradient_written_ = false;
  applied_ = false;
}

// Activations, or the head's outputs, in host memory.
std::span<const float> GpuStage::outputs(Slot& slot) {
  const ModelSpec& model = spec().run.model;
  const float* from = slot.logits.f();
  if (!is_last()) must(api().activations_y(slot.layers.back().get(), &from));
  host_.resize(slot.count(is_last() ? model.outputs : model.hidden));
  must(api().copy_out(context(), host_.data(), from, host_.size() * sizeof(float)));
  return host_;
}

std::span<const float> GpuStage::forward(int microbatch, int steps, const Input& input) {
  check_input(input, microbatch, steps);
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  run_layers(microbatch, at, fresh_ ? nullptr : &current_->states, spare_->states);
  spare_->copied = false;
  return is_last() ? std::span<const float>{} : outputs(at);
}

double GpuStage::loss_of(Slot& slot, const Feed& targets, double scale) {
  const ModelSpec& model = spec().run.model;
  if (model.data == DataKind::kTokens) {
    RONDO_CHECK_EQ(targets.ids.size(), slot.count(1));
    slot.targets.set(std::span<const std::int32_t>(targets.ids));
    const ops::cuda::CrossEntropy judge{
        .rows = slot.rows(), .classes = model.outputs, .logits = slot.logits.f(),
        .targets = slot.targets.i(), .scale = static_cast<float>(scale),
        .row_loss = slot.row_loss.f(), .dlogits = slot.logits.f(), .sum = loss_sum_.d()};
    must(api().cross_entropy(context(), &judge));
  } else {
    RONDO_CHECK_EQ(targets.values.size(), slot.count(model.outputs));
    slot.targets.set(std::span<const float>(targets.values));
    must(api().squared_error(context(), slot.logits.f(), slot.targets.f(),
                             slot.rows() * model.outputs, static_cast<float>(scale),
                             slot.logits.f(), loss_sum_.d()));
  }
  double sum = 0;
  loss_sum_.get(std::span<double>(&sum, 1));
  return sum;
}

double GpuStage::loss(int microbatch, const Feed& targets, double scale) {
  return loss_of(*slots_[static_cast<std::size_t>(microbatch) % slots_.size()], targets, scale);
}

// From the gradient of the logits to that of the top layer's outputs.
const float* GpuStage::head_backward(Slot& slot, bool add) {
  const TensorSpec* head = head_tensors();
  const Size hidden = spec().run.model.hidden, outputs = spec().run.model.outputs;
  const float* y = nullptr;
  must(api().activations_y(slot.layers.back().get(), &y));
  const ops::cuda::Product weight{
      .rows = outputs, .columns = hidden, .depth = slot.rows(),
      .a = slot.logits.f(), .a_stride = outputs, .a_transposed = 1,
      .b = y, .b_stride = hidden, .b_transposed = 0,
      .c = gradient_.f() + head[0].offset, .c_stride = hidden, .add = add ? 1 : 0,
      .precision = Precision::kFloat32};
  must(api().product(context(), &weight));
  must(api().column_sums(context(), slot.logits.f(), slot.rows(), outputs,
                         gradient_.f() + head[1].offset, add ? 1 : 0));
  const ops::cuda::Product below{
      .rows = slot.rows(), .columns = hidden, .depth = outputs,
      .a = slot.logits.f(), .a_stride = outputs, .a_transposed = 0,
      .b = current_->parameters.f() + head[0].offset, .b_stride = hidden, .b_transposed = 0,
      .c = slot.dy.f(), .c_stride = hidden, .add = 0, .precision = Precision::kFloat32};
  must(api().product(context(), &below));
  return slot.dy.f();
}

std::span<const float> GpuStage::backward(int microbatch, std::span<const float> dy) {
  Slot& at = *slots_[static_cast<std::size_t>(microbatch) % slots_.size()];
  const bool add = std::exchange(gradient_written_, true);
  const float* above = at.dy.f();
  if (is_last()) {
    above = head_backward(at, add);
  } else {
    RONDO_CHECK_EQ(dy.size(), at.count(spec().run.model.hidden));
    at.dy.set(dy);
  }
  for (std::size_t i = recurrent_.size(); i-- > 0;) {
    const TensorSpec* tensors = layer_tensors(layers().first + static_cast<int>(i));
    ops::cuda::LayerBackward run{};
    if (i > 0) must(api().activations_y(at.layers[i - 1].get(), &run.x));
    else if (at.ids.bytes() > 0) run.ids = at.ids.i();
    else run.x = at.input.f();
    run.dy = above;
    // the gradient comes in through one buffer and leaves through the other
    if (i > 0 || !is_first()) run.dx = above == at.dx.f() ? at.dy.f() : at.dx.f();
    run.w_ih = gradient_.f() + tensors[0].offset;
    run.w_hh = gradient_.f() + tensors[1].offset;
    run.b_ih = gradient_.f() + tensors[2].offset;
    run.b_hh = gradient_.f() + tensors[3].offset;
    run.add = add ? 1 : 0;
    must(api().layer_backward(recurrent_[i].get(), at.layers[i].get(), &run));
    above = run.dx;
  }
  if (sink_.ready && is_last_microbatch(microbatch)) hand_gradient_over();
  if (is_first()) return {};
  host_.resize(at.count(spec().run.model.hidden));
  must(api().copy_out(context(), host_.data(), above, host_.size() * sizeof(float)));
  return host_;
}

// All parts at once: to hand one over while the GPU is at the next would mean to wait in between.
void GpuStage::hand_gradient_over() {
  gradient_.get(sink_.memory);
  for (std::size_t part = recurrent_.size(); part-- > 0;) sink_.ready(part);
}

void GpuStage::send_gradient(GradientSink sink) { sink_ = std::move(sink); }

std::span<const float> GpuStage::gradient() {
  host_gradient_.resize(parameter_count());
  gradient_.get(std::span<float>(host_gradient_));
  return host_gradient_;
}

void GpuStage::apply(std::span<const float> gradient_sum, double lr, std::uint64_t number) {
  const auto count = static_cast<Size>(parameter_count());
  const float* gradient = gradient_.f();
  if (!gradient_sum.empty()) {
    RONDO_CHECK_EQ(gradient_sum.size(), parameter_count());
    gradient_sum_.set(gradient_sum);
    gradient = gradient_sum_.f();
  }
  if (spec().run.clip > 0) {
    must(api().clip_value(context(), gradient, static_cast<float>(spec().run.clip), count,
                          clipped_.f()));
    gradient = clipped_.f();
  }
  ops::OptimizerOptions options;
  options.rule = spec().run.optimizer;
  options.lr = lr;
  options.step = number;
  const auto moment = [&](const GpuBuffer& all, int index) -> float* {
    return index < ops::moment_count(options.rule) ? all.f() + index * count : nullptr;
  };
  ops::cuda::OptimizerStep step = ops::gpu_optimizer_step(options);
  step.count = count;
  step.weight = current_->parameters.f();
  step.gradient = gradient;
  step.moment1 = moment(current_->moments, 0);
  step.moment2 = moment(current_->moments, 1);
  step.new_weight = spare_->parameters.f();
  step.new_moment1 = moment(spare_->moments, 0);
  step.new_moment2 = moment(spare_->moments, 1);
  must(api().optimizer_step(context(), &step));
  spare_->copied = false;
  applied_ = true;
}

StageView GpuStage::view_of(Version& version) {
  if (!version.copied) {
    version.host.parameters.resize(parameter_count());
    version.host.moments.resize(moment_count());
    version.host.states.resize(state_count());
    version.parameters.get(std::span<float>(version.host.parameters));
    version.moments.get(std::span<float>(version.host.moments));
    version.states.get(std::span<float>(version.host.states));
    version.copied = true;
  }
  return version.host.view();
}

StageView GpuStage::prepared() {
  RONDO_CHECK(applied_);
  return view_of(*spare_);
}

void GpuStage::swap() {
  RONDO_CHECK(applied_);
  std::swap(current_, spare_);
  applied_ = false;
  packed_ = false;
}

StageView GpuStage::current() { return view_of(*current_); }

void GpuStage::restore(const StageView& version) {
  RONDO_CHECK(fits(version));
  current_->parameters.set(version.parameters);
  current_->moments.set(version.moments);
  current_->states.set(version.states);
  current_->copied = false;
  packed_ = false;
  begin(false, 0);
}

std::span<const float> GpuStage::infer(int microbatch, int steps, const Input& input, bool fresh) {
  check_input(input, microbatch, steps);
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  // between steps the spare states are scratch
  run_layers(microbatch, at, fresh ? nullptr : &infer_states_, spare_->states);
  spare_->copied = false;
  const std::size_t first = state_begin(microbatch);
  const std::size_t bytes = (state_begin(microbatch + 1) - first) * sizeof(float);
  must(api().copy(context(), infer_states_.f() + first, spare_->states.f() + first, bytes));
  return outputs(at);
}

}  // namespace rondo::actors
