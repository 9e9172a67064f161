#include <rondo/actors/stage.h>

#include <algorithm>

#include <rondo/actors/cpu_stage.h>
#include <rondo/actors/gpu_stage.h>
#include <rondo/base/check.h>
#include <rondo/ops/random.h>

namespace rondo::actors {

namespace {

using ops::Dim;

constexpr double kInitRange = 0.08;     // char-rnn's
constexpr double kEmbeddingRange = 1;   // as wide as what a cell gives

ops::Cell cell_of(const ModelSpec& model) {
  switch (model.cell) {
    case CellKind::kLstm: return ops::Cell::kLstm;
    case CellKind::kGru: return ops::Cell::kGru;
    case CellKind::kMinGru:
    case CellKind::kMinLstm:
    case CellKind::kRnn: break;
  }
  switch (model.activation) {
    case Activation::kTanh: return ops::Cell::kTanh;
    case Activation::kSigmoid: return ops::Cell::kSigmoid;
    case Activation::kRelu: break;
  }
  return ops::Cell::kRelu;
}

// Where the states of each microbatch begin, and the end of the last.
std::vector<std::size_t> state_offsets(const StageSpec& spec) {
  const ModelSpec& model = spec.run.model;
  const LayerRange layers = layers_of(spec.run.layout, model.layers, spec.stage);
  const std::size_t per_row = static_cast<std::size_t>(layers.last - layers.first) *
                              static_cast<std::size_t>(state_width(model));
  std::vector<std::size_t> offsets{0};
  for (int m = 0; m < spec.run.layout.microbatches; ++m) {
    const int rows = rows_of(spec.run.layout, spec.run.batch, spec.replica, m).count;
    offsets.push_back(offsets.back() + per_row * static_cast<std::size_t>(rows));
  }
  return offsets;
}

void draw_first(const ModelSpec& model, const TensorSpec& tensor, std::uint64_t seed,
                std::span<float> to) {
  if (tensor.name.starts_with("layer_norm.")) {
    std::fill(to.begin(), to.end(), tensor.name.ends_with(".weight") ? 1.0f : 0.0f);
    return;
  }
  const double range = tensor.name.starts_with("embedding.") ? kEmbeddingRange : kInitRange;
  ops::fill_uniform<float>({seed, 0, 0, static_cast<std::uint32_t>(tensor.key)}, -range, range,
                           {to.data(), {static_cast<Dim>(to.size())}});
  // a memory that forgets nothing at first learns sooner (Jozefowicz et al. 2015)
  if (model.cell == CellKind::kLstm && tensor.name.starts_with("bias_ih"))
    std::fill_n(to.begin() + model.hidden, model.hidden, 1.0f);
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
  for (const TensorSpec& tensor : tensors_of(model, layers))
    draw_first(model, tensor, spec.run.seed,
               std::span(first.parameters).subspan(tensor.offset, tensor.size()));
  return first;
}

Stage::Stage(const StageSpec& spec)
    : spec_(spec),
      layers_(layers_of(spec.run.layout, spec.run.model.layers, spec.stage)),
      tensors_(tensors_of(spec.run.model, layers_)),
      parameter_count_(actors::parameter_count(spec.run.model, layers_)),
      state_offsets_(state_offsets(spec)) {}

int Stage::rows(int microbatch) const {
  return rows_of(spec_.run.layout, spec_.run.batch, spec_.replica, microbatch).count;
}

int Stage::first_row(int microbatch) const {
  return rows_of(spec_.run.layout, spec_.run.batch, spec_.replica, microbatch).first;
}

ops::RecurrentSpec Stage::layer_spec(int layer) const {
  const ModelSpec& model = spec_.run.model;
  RONDO_CHECK(!has_min_cells(model));
  return {cell_of(model), input_width(model, layer), model.hidden, gathers(model, layer),
          model.projection};
}

const TensorSpec* Stage::layer_tensors(int layer) const {
  const std::size_t before = embedding_tensor() == nullptr ? 0 : 1;
  const auto index = static_cast<std::size_t>(layer - layers_.first);
  return &tensors_[before + index * actors::layer_tensors(spec_.run.model)];
}

const TensorSpec* Stage::head_tensors() const { return &tensors_[tensors_.size() - 2]; }

const TensorSpec* Stage::embedding_tensor() const {
  return is_first() && spec_.run.model.embedding > 0 ? &tensors_[0] : nullptr;
}

std::size_t Stage::state_offset(int microbatch, int layer) const {
  const auto per_layer = static_cast<std::size_t>(rows(microbatch)) *
                         static_cast<std::size_t>(state_width(spec_.run.model));
  return state_begin(microbatch) + per_layer * static_cast<std::size_t>(layer - layers_.first);
}

std::size_t Stage::moment_count() const {
  return parameter_count_ * static_cast<std::size_t>(ops::moment_count(spec_.run.optimizer));
}

std::size_t Stage::slot_count() const {
  const Layout& layout = spec_.run.layout;
  return static_cast<std::size_t>(std::min(layout.microbatches, layout.stages - spec_.stage));
}

std::size_t Stage::slot_of(int microbatch) const {
  const std::size_t index = static_cast<std::size_t>(microbatch) % slot_count();
  return rows(microbatch) == rows(0) ? index : index + slot_count();
}

bool Stage::fits(const StageView& version) const {
  return version.parameters.size() == parameter_count_ &&
         version.moments.size() == moment_count() && version.states.size() == state_count();
}

void Stage::check_input(const Input& input, int microbatch, int steps) const {
  const std::size_t count =
      static_cast<std::size_t>(steps) * static_cast<std::size_t>(rows(microbatch));
  if (!is_first()) {
    RONDO_CHECK_EQ(input.activations.size(),
                   count * static_cast<std::size_t>(output_width(spec_.run.model)));
  } else if (spec_.run.model.data == DataKind::kTokens) {
    RONDO_CHECK_EQ(input.feed->ids.size(), count);
  } else {
    RONDO_CHECK_EQ(input.feed->values.size(), count);
  }
}

std::vector<std::size_t> Stage::gradient_parts() const {
  std::vector<std::size_t> begins;
  for (int layer = layers_.first; layer < layers_.last; ++layer)
    begins.push_back(layer == layers_.first ? 0 : layer_tensors(layer)->offset);
  begins.push_back(parameter_count_);
  std::vector<std::size_t> parts;
  for (std::size_t at = 0; at + 1 < begins.size(); ++at)
    parts.push_back(begins[at + 1] - begins[at]);
  return parts;
}

std::unique_ptr<Stage> make_stage(const StageSpec& spec, const ops::Executor& executor) {
  if (spec.run.device == Device::kGpu) return std::make_unique<GpuStage>(spec);
  return std::make_unique<CpuStage>(spec, executor);
}

}  // namespace rondo::actors
