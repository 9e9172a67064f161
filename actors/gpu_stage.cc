#include <rondo/actors/gpu_stage.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <rondo/base/check.h>

namespace rondo::actors {

namespace {

using ops::GpuBuffer;
using ops::GpuHostBuffer;
using ops::must;
using ops::cuda::Precision;
using ops::cuda::Size;

std::unique_ptr<ops::Gpu> open_gpu_for(const StageSpec& spec) {
  ops::GpuOrReason found = ops::open_gpu(0);
  int devices = 1;
  if (found.gpu) must(found.gpu->entries().device_count(&devices));
  // The replicas of a stage on different ones, where there are enough, so that NCCL can sum.
  const int which =
      (spec.stage * spec.run.layout.replicas + spec.replica) % std::max(devices, 1);
  if (found.gpu && which > 0) found = ops::open_gpu(which);
  if (!found.gpu) throw ops::GpuFault(found.reason);
  return std::move(found.gpu);
}

std::string name_of(const StageSpec& spec) {
  return "r" + std::to_string(spec.replica) + ".s" + std::to_string(spec.stage);
}

}  // namespace

struct GpuStage::Slot {
  Size steps = 0, batch = 0;
  GpuBuffer ids, input, targets;
  GpuBuffer embedded, d_embedded;   // first stage of a model with an embedding
  std::vector<GpuLayer::Pass> layers;
  GpuBuffer logits;   // last stage; becomes their gradient
  GpuBuffer row_loss;

  [[nodiscard]] Size rows() const { return steps * batch; }
  [[nodiscard]] std::size_t count(std::size_t width) const {
    return static_cast<std::size_t>(rows()) * width;
  }
};

namespace {

// A copy to host memory that runs beside the line of work.
class LateCopy {
 public:
  // Behind the copies that were put in line so far.
  void began(const ops::Gpu& gpu) {
    must(gpu.entries().copies_begun(gpu.context(), &number_));
    is_there_ = in_flight_ = true;
  }
  [[nodiscard]] bool is_there() const { return is_there_; }   // or on its way
  void wait(const ops::Gpu& gpu) {
    if (std::exchange(in_flight_, false))
      must(gpu.entries().wait_for_copy(gpu.context(), number_));
  }
  // Before its source is written anew: what copies it goes first.
  void settle(const ops::Gpu& gpu) {
    if (std::exchange(in_flight_, false)) must(gpu.entries().after_copies(gpu.context()));
    is_there_ = false;
  }

 private:
  std::uint64_t number_ = 0;
  bool is_there_ = false, in_flight_ = false;
};

}  // namespace

struct GpuStage::States {
  GpuBuffer device;
  GpuHostBuffer host;
  LateCopy copy;
};

// `host`: parameters, then moments.
struct GpuStage::Version {
  GpuBuffer parameters, moments;
  GpuHostBuffer host;
  LateCopy copy;
  std::unique_ptr<States> states = std::make_unique<States>();
};

GpuBuffer GpuStage::floats(std::size_t count) const {
  return {*gpu_, count * sizeof(float)};
}

std::size_t GpuStage::width() const {
  return static_cast<std::size_t>(output_width(spec().run.model));
}

GpuStage::GpuStage(const StageSpec& spec)
    : Stage(spec), gpu_(open_gpu_for(spec)), gradient_(*gpu_, gradient_parts()) {
  open_layers();
  for (auto* version : {&current_, &next_}) {
    *version = std::make_unique<Version>();
    make(**version);
  }
  states_ = std::make_unique<States>();
  make(*states_);
  slots_.resize(2 * slot_count());
  // An activation's buffer is free again when its gradient has come; a gradient's when the stage
  // below, which may be one microbatch further, has sent the activations after it.
  if (!is_last()) above_ = channel_to(spec.stage + 1, slot_count());
  if (!is_first()) below_ = channel_to(spec.stage - 1, slot_count() + 1);
  infer_states_ = floats(state_count());
  clipped_ = floats(parameter_count());
  loss_sum_ = GpuBuffer(*gpu_, sizeof(double));
  restore(first_version(spec).view());
}

GpuStage::~GpuStage() = default;

// As many lines as pay, or as many as RONDO_GPU_LINES says. Scans need none.
std::size_t GpuStage::lines_wanted() const {
  const auto count = static_cast<std::size_t>(layers().last - layers().first);
  if (has_min_cells(spec().run.model)) return 1;
  if (const char* told = std::getenv("RONDO_GPU_LINES"); told != nullptr)
    return std::clamp<std::size_t>(std::strtoul(told, nullptr, 10), 1, count);
  std::vector<ops::cuda::LayerSpec> stack;
  for (int layer = layers().first; layer < layers().last; ++layer)
    stack.push_back(gpu_layer_spec(layer_spec(layer), spec().run.precision));
  return ops::lines_that_pay(*gpu_, stack, spec().run.seq, rows(0));
}

void GpuStage::open_layers() {
  const ModelSpec& model = spec().run.model;
  const auto count = static_cast<std::size_t>(layers().last - layers().first);
  lines_ = std::make_unique<ops::GpuLines>(*gpu_, lines_wanted());
  for (std::size_t i = 0; i < count; ++i) {
    const int layer = layers().first + static_cast<int>(i);
    const GpuLayer::Place place{*gpu_, lines_->line(lines_->line_of(i, count)),
                                lines_->count() == 1 ? 0 : lines_->processors(),
                                spec().run.precision};
    recurrent_.push_back(std::make_unique<GpuLayer>(
        model, layer, has_min_cells(model) ? ops::RecurrentSpec{} : layer_spec(layer),
        layer_tensors(layer), place));
    has_persistent_ = has_persistent_ || is_persistent(place, layer);
  }
  d_outputs_.resize(count);
}

bool GpuStage::is_persistent(const GpuLayer::Place& place, int layer) const {
  if (has_min_cells(spec().run.model)) return false;
  ops::cuda::LayerSpec shape = gpu_layer_spec(layer_spec(layer), place.precision);
  shape.processors = place.processors;
  ops::cuda::LayerPlan plan{};
  must(api().layer_plan(context(), &shape, rows(0), &plan));
  return plan.persistent != 0;
}

// By the shape alone, so that the number of lines does not show in the bits.
ops::Wavefront GpuStage::wavefront(const Slot& slot) const {
  const bool scans = has_min_cells(spec().run.model);
  return {recurrent_.size(), slot.steps,
          scans ? slot.steps : ops::wavefront_part(slot.steps, recurrent_.size())};
}

std::unique_ptr<GpuChannel> GpuStage::channel_to(int stage, std::size_t buffers) const {
  int most = 0;
  for (int m = 0; m < spec().run.layout.microbatches; ++m) most = std::max(most, rows(m));
  StageSpec other = spec();
  other.stage = stage;
  return std::make_unique<GpuChannel>(
      *gpu_, GpuChannel::Options{.here = name_of(spec()),
                                 .there = name_of(other),
                                 .buffers = buffers,
                                 .floats = static_cast<std::size_t>(most) *
                                           static_cast<std::size_t>(spec().run.seq) * width()});
}

void GpuStage::make(Version& version) const {
  version.parameters = floats(parameter_count());
  version.moments = floats(moment_count());
  version.host = {*gpu_, (parameter_count() + moment_count()) * sizeof(float)};
  make(*version.states);
}

void GpuStage::make(States& states) const {
  states.device = floats(state_count());
  states.host = {*gpu_, state_count() * sizeof(float)};
}

GpuStage::Slot& GpuStage::slot(int microbatch, int steps) {
  auto& held = slots_[slot_of(microbatch)];
  const Size batch = rows(microbatch);
  if (held && held->steps == steps && held->batch == batch) return *held;
  const ModelSpec& model = spec().run.model;
  auto fresh = std::make_unique<Slot>();   // in force when all of it is there
  fresh->steps = steps;
  fresh->batch = batch;
  for (const auto& layer : recurrent_) fresh->layers.emplace_back(*layer, steps, batch);
  const bool tokens = model.data == DataKind::kTokens;
  if (is_first() && tokens) fresh->ids = floats(fresh->count(1));
  if (!is_first()) fresh->input = floats(fresh->count(width()));
  else if (!tokens) fresh->input = floats(fresh->count(static_cast<std::size_t>(model.inputs)));
  if (embedding_tensor() != nullptr)
    for (GpuBuffer* buffer : {&fresh->embedded, &fresh->d_embedded})
      *buffer = floats(fresh->count(static_cast<std::size_t>(model.embedding)));
  if (is_last()) {
    const auto outputs = static_cast<std::size_t>(model.outputs);
    fresh->logits = floats(fresh->count(outputs));
    fresh->row_loss = floats(fresh->count(1));
    fresh->targets = floats(fresh->count(tokens ? 1 : outputs));
  }
  // One backward pass at a time: its gradients are nobody else's.
  const std::size_t bytes = fresh->count(width()) * sizeof(float);
  for (GpuBuffer& d : d_outputs_)
    if (d.bytes() < bytes) d = GpuBuffer(*gpu_, bytes);
  if (!is_first() && d_input_.bytes() < bytes) d_input_ = GpuBuffer(*gpu_, bytes);
  held = std::move(fresh);
  return *held;
}

void GpuStage::pack() {
  const Version& version = base();
  if (packed_ == &version) return;
  ops::GpuLines::Together together(*lines_);
  for (const auto& layer : recurrent_) layer->pack(version.parameters.f());
  together.end();
  packed_ = &version;
}

void GpuStage::take_input(Slot& slot, const Input& input) {
  if (!is_first()) {
    below_->receive(input.activations, slot.count(width()), slot.input);
  } else if (spec().run.model.data == DataKind::kTokens) {
    RONDO_CHECK_EQ(input.feed->ids.size(), slot.count(1));
    slot.ids.set(std::span<const std::int32_t>(input.feed->ids));
  } else {
    RONDO_CHECK_EQ(input.feed->values.size(), slot.count(1));
    slot.input.set(std::span<const float>(input.feed->values));
  }
}

GpuLayer::Input GpuStage::input_of(const Slot& slot, std::size_t layer) const {
  if (layer > 0) return {slot.layers[layer - 1].output(), nullptr};
  if (slot.embedded.bytes() > 0) return {slot.embedded.f(), nullptr};
  if (slot.ids.bytes() > 0) return {nullptr, slot.ids.i()};
  return {slot.input.f(), nullptr};
}

Draw GpuStage::draw(int microbatch) const {
  return {spec().run.seed, step_, first_row(microbatch)};
}

void GpuStage::embed(Slot& slot) {
  const TensorSpec& table = *embedding_tensor();
  const ops::cuda::Embedding gather{table.rows, table.cols, slot.rows(), slot.ids.i(),
                                    base().parameters.f() + table.offset, slot.embedded.f(),
                                    0};
  must(api().embedding(context(), &gather));
}

// Runs this stage's layers from the states in `from` (zeros where it is null) and writes the last
// ones to `to`.
void GpuStage::run_layers(int microbatch, Slot& slot, const GpuBuffer* from, GpuBuffer& to,
                          const Draw* draw) {
  pack();
  if (embedding_tensor() != nullptr) embed(slot);
  std::vector<GpuLayer::Forward> calls;
  for (std::size_t i = 0; i < recurrent_.size(); ++i) {
    const std::size_t at = state_offset(microbatch, layers().first + static_cast<int>(i));
    recurrent_[i]->begin(slot.layers[i], draw);
    calls.push_back({input_of(slot, i), from == nullptr ? nullptr : from->f() + at, to.f() + at,
                     draw});
  }
  ops::wavefront_forward(*lines_, wavefront(slot), [&](std::size_t i, ops::GpuSteps part) {
    recurrent_[i]->forward(calls[i], slot.layers[i], part);
  });
  if (!is_last()) return;
  const TensorSpec* head = head_tensors();
  const Precision precision = gpu_product_precision(spec().run.precision);
  const float* weights = base().parameters.f();
  const Size depth = static_cast<Size>(width()), outputs = spec().run.model.outputs;
  const ops::cuda::Product product{
      .rows = slot.rows(), .columns = outputs, .depth = depth,
      .a = slot.layers.back().output(), .a_stride = depth, .a_transposed = 0,
      .b = weights + head[0].offset, .b_stride = depth, .b_transposed = 1,
      .c = slot.logits.f(), .c_stride = outputs, .add = 0, .precision = precision};
  must(api().product(context(), &product));
  must(api().add_bias(context(), slot.logits.f(), weights + head[1].offset, slot.rows(), outputs));
}

void GpuStage::begin(bool fresh, std::uint64_t number) {
  states_->copy.settle(*gpu_);
  fresh_ = fresh;
  step_ = number;
  gradient_written_ = false;
  applied_ = false;
  ahead_ = false;
}

void GpuStage::go_on(bool fresh, std::uint64_t number) {
  RONDO_CHECK(applied_ && !ahead_);
  begin(fresh, number);
  applied_ = ahead_ = true;
}

std::span<const float> GpuStage::forward(int microbatch, int steps, const Input& input) {
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  const Draw mine = draw(microbatch);
  run_layers(microbatch, at, fresh_ ? nullptr : &base().states->device, states_->device, &mine);
  if (is_last_microbatch(microbatch)) copy(*states_);
  if (is_last()) return {};
  return above_->send(at.layers.back().output(), at.count(width()));
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
    RONDO_CHECK_EQ(targets.values.size(), slot.count(static_cast<std::size_t>(model.outputs)));
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
  return loss_of(*slots_[slot_of(microbatch)], targets, scale);
}

// From the gradient of the logits to that of the top layer's outputs.
void GpuStage::head_backward(Slot& slot, bool add) {
  const TensorSpec* head = head_tensors();
  const Precision precision = gpu_product_precision(spec().run.precision);
  const Size depth = static_cast<Size>(width()), outputs = spec().run.model.outputs;
  const ops::cuda::Product weight{
      .rows = outputs, .columns = depth, .depth = slot.rows(),
      .a = slot.logits.f(), .a_stride = outputs, .a_transposed = 1,
      .b = slot.layers.back().output(), .b_stride = depth, .b_transposed = 0,
      .c = gradient_.f() + head[0].offset, .c_stride = depth, .add = add ? 1 : 0,
      .precision = precision};
  must(api().product(context(), &weight));
  must(api().column_sums(context(), slot.logits.f(), slot.rows(), outputs,
                         gradient_.f() + head[1].offset, add ? 1 : 0));
  const ops::cuda::Product below{
      .rows = slot.rows(), .columns = depth, .depth = outputs,
      .a = slot.logits.f(), .a_stride = outputs, .a_transposed = 0,
      .b = base().parameters.f() + head[0].offset, .b_stride = depth, .b_transposed = 0,
      .c = d_outputs_.back().f(), .c_stride = depth, .add = 0, .precision = precision};
  must(api().product(context(), &below));
}

// The gradient of this stage's input; the first stage: nothing, but its embedding learns.
const float* GpuStage::layers_backward(int microbatch, Slot& slot, bool add) {
  const Draw mine = draw(microbatch);
  float* below = is_first() ? nullptr : d_input_.f();
  if (embedding_tensor() != nullptr) below = slot.d_embedded.f();
  std::vector<GpuLayer::Backward> calls;
  for (std::size_t i = 0; i < recurrent_.size(); ++i)
    calls.push_back({.x = input_of(slot, i), .dy = d_outputs_[i].f(),
                     .dx = i > 0 ? d_outputs_[i - 1].f() : below, .gradient = gradient_.f(),
                     .add = add, .draw = &mine});
  // A part of the gradient is told in the Gpu's own line: one by one, or when all lines are there.
  const auto tell = [&](std::size_t i) {
    if (i > 0 && hands_over(microbatch)) gradient_.part_is_made(i);
  };
  const bool one_line = lines_->count() == 1;
  ops::wavefront_backward(*lines_, wavefront(slot), [&](std::size_t i, ops::GpuSteps part) {
    recurrent_[i]->backward(calls[i], slot.layers[i], part);
    if (one_line && part.first == 0) tell(i);
  });
  for (std::size_t i = recurrent_.size(); !one_line && i-- > 0;) tell(i);
  if (embedding_tensor() == nullptr) return below;
  const TensorSpec& table = *embedding_tensor();
  const ops::cuda::Embedding scatter{table.rows, table.cols, slot.rows(), slot.ids.i(),
                                     slot.d_embedded.f(), gradient_.f() + table.offset,
                                     add ? 1 : 0};
  must(api().embedding_backward(context(), &scatter));
  return nullptr;
}

std::span<const float> GpuStage::backward(int microbatch, std::span<const float> dy) {
  Slot& at = *slots_[slot_of(microbatch)];
  const bool add = std::exchange(gradient_written_, true);
  if (is_last()) head_backward(at, add);
  else above_->receive(dy, at.count(width()), d_outputs_.back());
  const float* below = layers_backward(microbatch, at, add);
  if (hands_over(microbatch)) gradient_.part_is_made(0);
  std::span<const float> parcel;
  if (!is_first()) parcel = below_->send(below, at.count(width()));   // is waited for
  if (hands_over(microbatch)) gradient_.hand_over(!has_persistent_);
  return parcel;
}

std::span<const float> GpuStage::gradient() {
  host_gradient_.resize(parameter_count());
  gradient_.get(host_gradient_);
  return host_gradient_;
}

void GpuStage::send_gradient(GradientSink sink) {
  gradient_.send_to(std::move(sink));
}

void GpuStage::apply(std::span<const float> gradient_sum, double lr, std::uint64_t number) {
  RONDO_CHECK(!applied_);
  const auto count = static_cast<Size>(parameter_count());
  const float* gradient = gradient_.summed(gradient_sum);
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
  step.new_weight = next_->parameters.f();
  step.new_moment1 = moment(next_->moments, 0);
  step.new_moment2 = moment(next_->moments, 1);
  next_->copy.settle(*gpu_);
  must(api().optimizer_step(context(), &step));
  copy_weights(*next_);
  std::swap(next_->states, states_);
  if (packed_ == next_.get()) packed_ = nullptr;
  applied_ = true;
}

// --- versions ---

void GpuStage::copy(States& states) {
  must(api().copy_out_later(context(), states.host.f(), states.device.raw(),
                            states.device.bytes()));
  states.copy.began(*gpu_);
}

void GpuStage::copy_weights(Version& version) {
  float* to = version.host.f();
  must(api().copy_out_later(context(), to, version.parameters.raw(), version.parameters.bytes()));
  if (moment_count() > 0)
    must(api().copy_out_later(context(), to + parameter_count(), version.moments.raw(),
                              version.moments.bytes()));
  version.copy.began(*gpu_);
}

StageView GpuStage::view_of(Version& version) {
  States& states = *version.states;
  if (!version.copy.is_there()) copy_weights(version);
  if (!states.copy.is_there()) copy(states);
  version.copy.wait(*gpu_);
  states.copy.wait(*gpu_);
  const float* weights = version.host.f();
  return {{weights, parameter_count()},
          {weights + parameter_count(), moment_count()},
          {states.host.f(), state_count()}};
}

StageView GpuStage::prepared() {
  RONDO_CHECK(applied_);
  return view_of(*next_);
}

void GpuStage::swap() {
  RONDO_CHECK(applied_);
  std::swap(current_, next_);
  applied_ = false;
  ahead_ = false;
}

StageView GpuStage::current() { return view_of(*current_); }

void GpuStage::restore(const StageView& version) {
  RONDO_CHECK(fits(version));
  current_->copy.settle(*gpu_);
  current_->states->copy.settle(*gpu_);
  current_->parameters.set(version.parameters);
  current_->moments.set(version.moments);
  current_->states->device.set(version.states);
  packed_ = nullptr;
  begin(false, 0);
}

void GpuStage::rejoin() {
  if (const auto fault = api().wait(context()); fault != nullptr) {
    std::fprintf(stderr, "stage %s ends, to be born again: %s\n", name_of(spec()).c_str(), fault);
    std::_Exit(EXIT_FAILURE);
  }
  for (const auto& channel : {below_.get(), above_.get()})
    if (channel != nullptr) channel->renew();
}

// --- without learning ---

// The head's outputs in host memory, or a parcel of activations: nobody answers it, so it may not
// lie in a buffer that is written again.
std::span<const float> GpuStage::outputs(Slot& slot) {
  if (!is_last())
    return above_->send_through_host(slot.layers.back().output(), slot.count(width()));
  host_.resize(slot.count(static_cast<std::size_t>(spec().run.model.outputs)));
  slot.logits.get(std::span<float>(host_));
  return host_;
}

std::span<const float> GpuStage::infer(int microbatch, int steps, const Input& input, bool fresh) {
  RONDO_CHECK(!applied_);
  Slot& at = slot(microbatch, steps);
  take_input(at, input);
  states_->copy.settle(*gpu_);   // between steps they are scratch
  run_layers(microbatch, at, fresh ? nullptr : &infer_states_, states_->device, nullptr);
  const std::size_t first = state_begin(microbatch);
  const std::size_t bytes = (state_begin(microbatch + 1) - first) * sizeof(float);
  must(api().copy(context(), infer_states_.f() + first, states_->device.f() + first, bytes));
  return outputs(at);
}

}  // namespace rondo::actors
