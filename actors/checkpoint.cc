#include <rondo/actors/checkpoint.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <rondo/base/check.h>

namespace rondo::actors {

namespace {

// A folder is often meant as the checkpoint in it.
Result<TensorFile> read_checkpoint(const std::string& path) {
  auto file = read_tensors(path);
  const std::string inside = (std::filesystem::path(path) / "best.safetensors").string();
  std::error_code error;
  if (!file && std::filesystem::exists(inside, error))
    return Error(file.error().code(), std::string(file.error().what()) + ", with " + inside +
                                          " in it: name that");
  return file;
}

Error of_file(const std::string& path, const Error& error) {
  return {error.code(), "checkpoint '" + path + "': " + error.what()};
}

std::vector<std::int64_t> shape_of(const TensorSpec& tensor) {
  if (tensor.cols == 0) return {tensor.rows};
  return {tensor.rows, tensor.cols};
}

std::string moment_name(std::size_t moment, const TensorSpec& tensor) {
  return "train.moment" + std::to_string(moment + 1) + "." + tensor.name;
}

// Visits the boundary states of a stage in the order in which they lie: (name, shape, offset,
// size).
template <class Visit>
void each_state(const RunSpec& spec, int replica, int stage, Visit visit) {
  const LayerRange layers = layers_of(spec.layout, spec.model.layers, stage);
  std::size_t offset = 0;
  for (int m = 0; m < spec.layout.microbatches; ++m) {
    const std::int64_t rows = rows_of(spec.layout, spec.batch, replica, m).count;
    const std::string suffix = ".slice" + std::to_string(replica) + ".micro" + std::to_string(m);
    for (int layer = layers.first; layer < layers.last; ++layer) {
      for (const char* kind : {"h", "c"}) {
        if (*kind == 'c' && spec.model.cell != CellKind::kLstm) continue;
        const std::int64_t width = *kind == 'c' ? spec.model.hidden : output_width(spec.model);
        const auto size = static_cast<std::size_t>(rows * width);
        visit("train." + std::string(kind) + "_l" + std::to_string(layer) + suffix,
              std::vector<std::int64_t>{rows, width}, offset, size);
        offset += size;
      }
    }
  }
}

std::size_t state_count(const RunSpec& spec, int replica, int stage) {
  std::size_t count = 0;
  each_state(spec, replica, stage,
             [&](const auto&, const auto&, std::size_t, std::size_t size) { count += size; });
  return count;
}

void put_stage(TensorFile& file, const RunSpec& spec, int replica, int stage,
               const StageSnapshot& snapshot) {
  const LayerRange layers = layers_of(spec.layout, spec.model.layers, stage);
  const std::span<const float> parameters = snapshot.parameters;
  const std::span<const float> moments = snapshot.moments;
  const std::span<const float> states = snapshot.states;
  if (replica == 0) {  // the weights of all replicas are the same bits
    for (const TensorSpec& tensor : tensors_of(spec.model, layers)) {
      file.put(tensor.name, shape_of(tensor), parameters.subspan(tensor.offset, tensor.size()));
      for (std::size_t moment = 0; moment * parameters.size() < moments.size(); ++moment)
        file.put(moment_name(moment, tensor), shape_of(tensor),
                 moments.subspan(moment * parameters.size() + tensor.offset, tensor.size()));
    }
  }
  each_state(spec, replica, stage, [&](const std::string& name, auto shape, std::size_t offset,
                                       std::size_t size) {
    file.put(name, shape, states.subspan(offset, size));
  });
}

Result<void> get_parameters(const TensorFile& file, const ModelSpec& model, LayerRange layers,
                            std::vector<float>& out) {
  const std::vector<TensorSpec> tensors = tensors_of(model, layers);
  out.resize(parameter_count(model, layers));
  for (const TensorSpec& tensor : tensors) {
    const std::span<float> to(out.data() + tensor.offset, tensor.size());
    if (const auto got = file.get(tensor.name, shape_of(tensor), to); !got) return got.error();
    if (!std::all_of(to.begin(), to.end(), [](float value) { return std::isfinite(value); }))
      return Error(ErrorCode::kInvalid, "its tensor '" + tensor.name + "' holds NaN or infinity: "
                                        "the model is of no use");
  }
  return {};
}

Result<StageSnapshot> get_stage(const TensorFile& file, const RunSpec& spec, int replica,
                                int stage) {
  const LayerRange layers = layers_of(spec.layout, spec.model.layers, stage);
  StageSnapshot snapshot;
  if (const auto got = get_parameters(file, spec.model, layers, snapshot.parameters); !got)
    return got.error();
  const std::size_t count = snapshot.parameters.size();
  const auto moments = static_cast<std::size_t>(ops::moment_count(spec.optimizer));
  snapshot.moments.resize(moments * count);
  for (const TensorSpec& tensor : tensors_of(spec.model, layers)) {
    for (std::size_t moment = 0; moment < moments; ++moment) {
      const std::span<float> to(snapshot.moments.data() + moment * count + tensor.offset,
                                tensor.size());
      const auto got = file.get(moment_name(moment, tensor), shape_of(tensor), to);
      if (!got) return got.error();
    }
  }
  snapshot.states.resize(state_count(spec, replica, stage));
  Result<void> good;
  each_state(spec, replica, stage, [&](const std::string& name, const auto& shape,
                                       std::size_t offset, std::size_t size) {
    if (good.ok()) good = file.get(name, shape, std::span(snapshot.states).subspan(offset, size));
  });
  if (!good) return good.error();
  return snapshot;
}

void put_progress(TensorFile& file, const Progress& progress) {
  file.put("train.step", progress.step);
  file.put("train.epoch", std::int64_t{progress.epoch});
  file.put("train.position", progress.position);
  file.put("train.epoch_loss", progress.epoch_loss);
  file.put("train.epoch_tokens", progress.epoch_tokens);
  file.put("train.best", progress.best);
  file.put("train.best_epoch", std::int64_t{progress.best_epoch});
}

Result<Progress> get_progress(const TensorFile& file) {
  const auto step = file.integer("train.step");
  const auto epoch = file.integer("train.epoch");
  const auto position = file.integer("train.position");
  const auto tokens = file.integer("train.epoch_tokens");
  const auto best_epoch = file.integer("train.best_epoch");
  const auto loss = file.number("train.epoch_loss");
  const auto best = file.number("train.best");
  for (const auto* number : {&step, &epoch, &position, &tokens, &best_epoch}) {
    if (!*number) return number->error();
    if (number->value() < 0)
      return Error(ErrorCode::kInvalid, "its position in the run is negative");
  }
  if (!loss) return loss.error();
  if (!best) return best.error();
  return Progress{step.value(),   static_cast<int>(epoch.value()), position.value(), loss.value(),
                  tokens.value(), best.value(), static_cast<int>(best_epoch.value())};
}

}  // namespace

Result<void> save_run(const std::string& path, const RunState& state,
                      const WriteOptions& options) {
  const Layout& layout = state.spec.layout;
  TensorFile file;
  file.metadata = to_metadata(state.spec);
  RONDO_CHECK_EQ(state.stages.size(), static_cast<std::size_t>(layout.replicas * layout.stages));
  for (int replica = 0; replica < layout.replicas; ++replica)
    for (int stage = 0; stage < layout.stages; ++stage)
      put_stage(file, state.spec, replica, stage,
                state.stages[static_cast<std::size_t>(replica * layout.stages + stage)]);
  put_progress(file, state.progress);
  return write_tensors(path, file, options);
}

Result<RunState> load_run(const std::string& path) {
  const auto file = read_checkpoint(path);
  if (!file) return file.error();
  const auto spec = from_metadata(file.value().metadata);
  if (!spec) return of_file(path, spec.error());
  RunState state{spec.value(), {}, {}};
  const auto progress = get_progress(file.value());
  if (!progress) return of_file(path, progress.error());
  state.progress = progress.value();
  const Layout& layout = state.spec.layout;
  for (int replica = 0; replica < layout.replicas; ++replica) {
    for (int stage = 0; stage < layout.stages; ++stage) {
      auto snapshot = get_stage(file.value(), state.spec, replica, stage);
      if (!snapshot) return of_file(path, snapshot.error());
      state.stages.push_back(std::move(snapshot).value());
    }
  }
  return state;
}

Result<TrainedModel> load_model(const std::string& path) {
  const auto file = read_checkpoint(path);
  if (!file) return file.error();
  const auto spec = from_metadata(file.value().metadata);
  if (!spec) return of_file(path, spec.error());
  TrainedModel model{spec.value(), {}};
  const LayerRange all{0, model.spec.model.layers};
  const auto got = get_parameters(file.value(), model.spec.model, all, model.parameters);
  if (!got) return of_file(path, got.error());
  return model;
}

std::unique_ptr<Stage> single_stage(const TrainedModel& model, const ops::Executor& executor) {
  StageSpec spec{model.spec, 0, 0};
  spec.run.batch = 1;
  spec.run.layout = {};
  spec.run.device = Device::kCpu;
  spec.run.precision = ops::cuda::Precision::kFloat32;
  auto stage = make_stage(spec, executor);
  StageSnapshot version = stage->current().copy();
  version.parameters = model.parameters;
  stage->restore(version.view());
  return stage;
}

}  // namespace rondo::actors
