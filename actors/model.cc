#include <rondo/actors/model.h>

#include <array>
#include <utility>

namespace rondo::actors {

namespace {
constexpr std::array<std::pair<std::string_view, CellKind>, 3> kCells{
    {{"rnn", CellKind::kRnn}, {"lstm", CellKind::kLstm}, {"gru", CellKind::kGru}}};
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
  }
  return 0;
}

std::string_view to_string(CellKind cell) { return kCells[static_cast<std::size_t>(cell)].first; }
std::string_view to_string(Activation activation) {
  return kActivations[static_cast<std::size_t>(activation)].first;
}
bool parse(std::string_view text, CellKind& out) { return find_name(kCells, text, out); }
bool parse(std::string_view text, Activation& out) { return find_name(kActivations, text, out); }

std::vector<TensorSpec> tensors_of(const ModelSpec& model, LayerRange range) {
  std::vector<TensorSpec> all;
  std::size_t offset = 0;
  auto add = [&](std::string name, std::int64_t rows, std::int64_t cols, std::uint64_t key) {
    all.push_back({std::move(name), rows, cols, key, offset});
    offset += all.back().size();
  };
  const std::int64_t wide = std::int64_t{gates(model.cell)} * model.hidden;
  for (int layer = range.first; layer < range.last; ++layer) {
    const std::string suffix = "_l" + std::to_string(layer);
    const std::uint64_t key = static_cast<std::uint64_t>(layer) * 4;
    add("weight_ih" + suffix, wide, layer == 0 ? model.inputs : model.hidden, key);
    add("weight_hh" + suffix, wide, model.hidden, key + 1);
    add("bias_ih" + suffix, wide, 0, key + 2);
    add("bias_hh" + suffix, wide, 0, key + 3);
  }
  if (range.last == model.layers) {
    const std::uint64_t key = static_cast<std::uint64_t>(model.layers) * 4;
    add("linear.weight", model.outputs, model.hidden, key);
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
