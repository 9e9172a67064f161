#include <rondo/actors/model.h>

#include <array>
#include <utility>

namespace rondo::actors {

namespace {
constexpr std::array<std::pair<std::string_view, CellKind>, 5> kCells{
    {{"rnn", CellKind::kRnn},
     {"lstm", CellKind::kLstm},
     {"gru", CellKind::kGru},
     {"min-gru", CellKind::kMinGru},
     {"min-lstm", CellKind::kMinLstm}}};
constexpr std::array<std::pair<std::string_view, Activation>, 3> kActivations{
    {{"tanh", Activation::kTanh},
     {"sigmoid", Activation::kSigmoid},
     {"relu", Activation::kRelu}}};

template <class Names, class T>
bool find_name(const Names& names, std::string_view text, T& out) {
  for (const auto& [name, value] : names) {
    if (name == text) {
      out = value;
      return true;
    }
  }
  return false;
}
}  // namespace

int gates(CellKind cell) {
  switch (cell) {
    case CellKind::kRnn: return 1;
    case CellKind::kLstm: return 4;
    case CellKind::kGru: return 3;
    case CellKind::kMinGru: return 2;
    case CellKind::kMinLstm: return 3;
  }
  return 0;
}

int output_width(const ModelSpec& model) {
  return model.projection > 0 ? model.projection : model.hidden;
}

int input_width(const ModelSpec& model, int layer) {
  if (layer > 0) return output_width(model);
  return model.embedding > 0 ? model.embedding : model.inputs;
}

int state_width(const ModelSpec& model) {
  return output_width(model) + (model.cell == CellKind::kLstm ? model.hidden : 0);
}

bool has_min_cells(const ModelSpec& model) {
  return model.cell == CellKind::kMinGru || model.cell == CellKind::kMinLstm;
}

bool gathers(const ModelSpec& model, int layer) {
  return layer == 0 && model.data == DataKind::kTokens && model.embedding == 0;
}

std::size_t cell_tensors(const ModelSpec& model) {
  if (has_min_cells(model)) return 2;
  return model.projection > 0 ? 5 : 4;
}

std::size_t layer_tensors(const ModelSpec& model) {
  return cell_tensors(model) + (model.layer_norm ? 2 : 0);
}

std::string_view to_string(CellKind cell) { return kCells[static_cast<std::size_t>(cell)].first; }
std::string_view to_string(Activation activation) {
  return kActivations[static_cast<std::size_t>(activation)].first;
}
bool parse(std::string_view text, CellKind& out) { return find_name(kCells, text, out); }
bool parse(std::string_view text, Activation& out) { return find_name(kActivations, text, out); }

std::vector<TensorSpec> tensors_of(const ModelSpec& model, LayerRange range) {
  // names for random numbers: those of the first kinds of tensors count on, the later ones apart
  constexpr std::uint64_t kProjectionKey = 1 << 16, kEmbeddingKey = 1 << 17, kNormKey = 1 << 18;
  std::vector<TensorSpec> all;
  std::size_t offset = 0;
  auto add = [&](std::string name, std::int64_t rows, std::int64_t cols, std::uint64_t key) {
    all.push_back({std::move(name), rows, cols, key, offset});
    offset += all.back().size();
  };
  const std::int64_t wide = std::int64_t{gates(model.cell)} * model.hidden;
  const int out = output_width(model);
  if (range.first == 0 && model.embedding > 0)
    add("embedding.weight", model.inputs, model.embedding, kEmbeddingKey);
  for (int layer = range.first; layer < range.last; ++layer) {
    const std::string number = std::to_string(layer);
    const std::string suffix = "_l" + number;
    const auto index = static_cast<std::uint64_t>(layer);
    add("weight_ih" + suffix, wide, input_width(model, layer), index * 4);
    if (!has_min_cells(model)) add("weight_hh" + suffix, wide, out, index * 4 + 1);
    add("bias_ih" + suffix, wide, 0, index * 4 + 2);
    if (!has_min_cells(model)) add("bias_hh" + suffix, wide, 0, index * 4 + 3);
    if (model.projection > 0) add("weight_hr" + suffix, out, model.hidden, kProjectionKey + index);
    if (!model.layer_norm) continue;
    add("layer_norm." + number + ".weight", out, 0, kNormKey + index * 2);
    add("layer_norm." + number + ".bias", out, 0, kNormKey + index * 2 + 1);
  }
  if (range.last == model.layers) {
    const std::uint64_t key = static_cast<std::uint64_t>(model.layers) * 4;
    add("linear.weight", model.outputs, out, key);
    add("linear.bias", model.outputs, 0, key + 1);
  }
  return all;
}

std::size_t parameter_count(const ModelSpec& model, LayerRange range) {
  std::size_t count = 0;
  for (const TensorSpec& tensor : tensors_of(model, range)) count += tensor.size();
  return count;
}

}  // namespace rondo::actors
