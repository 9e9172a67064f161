#include "reference_model.h"

#include <algorithm>
#include <cmath>

#include <rondo/ops/random.h>

namespace rondo::actors {

namespace {
double logistic(double x) { return 1 / (1 + std::exp(-x)); }
}  // namespace

ReferenceModel::ReferenceModel(const ModelSpec& model, const std::vector<double>& parameters)
    : model_(model) {
  for (const TensorSpec& tensor : tensors_of(model, {0, model.layers})) {
    const auto from = parameters.begin() + static_cast<std::ptrdiff_t>(tensor.offset);
    tensors_[tensor.name].assign(from, from + static_cast<std::ptrdiff_t>(tensor.size()));
  }
}

ReferenceModel::Row ReferenceModel::product(const std::string& weight, const std::string& bias,
                                            const Row& x) const {
  const Row& w = tensor(weight);
  Row y(w.size() / x.size());
  for (std::size_t row = 0; row < y.size(); ++row) {
    if (!bias.empty()) y[row] = tensor(bias)[row];
    for (std::size_t i = 0; i < x.size(); ++i) y[row] += w[row * x.size() + i] * x[i];
  }
  return y;
}

ReferenceModel::Row ReferenceModel::first_input(const Feed& inputs, std::size_t at) const {
  if (model_.data == DataKind::kSeries) return {static_cast<double>(inputs.values[at])};
  const auto id = static_cast<std::size_t>(inputs.ids[at]);
  if (model_.embedding == 0) {
    Row one_hot(static_cast<std::size_t>(model_.inputs));
    one_hot[id] = 1;
    return one_hot;
  }
  const auto width = static_cast<std::size_t>(model_.embedding);
  const auto from = tensor("embedding.weight").begin() + static_cast<std::ptrdiff_t>(id * width);
  return {from, from + static_cast<std::ptrdiff_t>(width)};
}

void ReferenceModel::step_lstm(const Row& a, const std::string& suffix, State& state) const {
  const std::size_t units = a.size() / 4;
  Row m(units);
  for (std::size_t u = 0; u < units; ++u) {
    state.c[u] = logistic(a[units + u]) * state.c[u] + logistic(a[u]) * std::tanh(a[2 * units + u]);
    m[u] = logistic(a[3 * units + u]) * std::tanh(state.c[u]);
  }
  state.h = model_.projection > 0 ? product("weight_hr" + suffix, "", m) : m;
}

void ReferenceModel::step_gru(const Row& x, const std::string& suffix, State& state) const {
  const Row in = product("weight_ih" + suffix, "bias_ih" + suffix, x);
  const Row back = product("weight_hh" + suffix, "bias_hh" + suffix, state.h);
  const std::size_t units = state.h.size();
  for (std::size_t u = 0; u < units; ++u) {
    const double r = logistic(in[u] + back[u]), z = logistic(in[units + u] + back[units + u]);
    const double n = std::tanh(in[2 * units + u] + r * back[2 * units + u]);
    state.h[u] = (1 - z) * n + z * state.h[u];
  }
}

void ReferenceModel::step_min(const Row& a, State& state) const {
  const std::size_t units = state.h.size();
  for (std::size_t u = 0; u < units; ++u) {
    const double first = logistic(a[u]);
    if (model_.cell == CellKind::kMinGru) {
      state.h[u] = (1 - first) * state.h[u] + first * a[units + u];
    } else {
      const double i = logistic(a[units + u]);
      state.h[u] = (first * state.h[u] + i * a[2 * units + u]) / (first + i);
    }
  }
}

void ReferenceModel::step_cell(int layer, const Row& x, State& state) const {
  const std::string suffix = "_l" + std::to_string(layer);
  if (model_.cell == CellKind::kGru) return step_gru(x, suffix, state);
  Row a = product("weight_ih" + suffix, "bias_ih" + suffix, x);
  if (has_min_cells(model_)) return step_min(a, state);
  const Row back = product("weight_hh" + suffix, "bias_hh" + suffix, state.h);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += back[i];
  if (model_.cell == CellKind::kLstm) return step_lstm(a, suffix, state);
  for (std::size_t u = 0; u < a.size(); ++u)
    state.h[u] = model_.activation == Activation::kTanh      ? std::tanh(a[u])
                 : model_.activation == Activation::kSigmoid ? logistic(a[u])
                                                             : std::max(0.0, a[u]);
}

ReferenceModel::Row ReferenceModel::norm(int layer, const Row& x) const {
  const std::string name = "layer_norm." + std::to_string(layer);
  const auto count = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (const double value : x) mean += value / count;
  for (const double value : x) variance += (value - mean) * (value - mean) / count;
  Row y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    y[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * tensor(name + ".weight")[i] +
           tensor(name + ".bias")[i];
  return y;
}

double ReferenceModel::loss_of(const Row& outputs, const Feed& targets, std::size_t at) const {
  if (model_.data == DataKind::kSeries) {
    const double apart = outputs[0] - static_cast<double>(targets.values[at]);
    return apart * apart;
  }
  double sum = 0;
  for (const double output : outputs) sum += std::exp(output);
  return std::log(sum) - outputs[static_cast<std::size_t>(targets.ids[at])];
}

double ReferenceModel::loss(const Feed& inputs, const Feed& targets, int steps, int batch,
                            const Dropout& dropout) const {
  const auto width = static_cast<std::size_t>(output_width(model_));
  double sum = 0;
  for (int n = 0; n < batch; ++n) {
    std::vector<State> states(static_cast<std::size_t>(model_.layers),
                              {Row(width), Row(static_cast<std::size_t>(model_.hidden))});
    for (int t = 0; t < steps; ++t) {
      const auto at = static_cast<std::size_t>(t * batch + n);
      Row x = first_input(inputs, at);
      for (int layer = 0; layer < model_.layers; ++layer) {
        State& state = states[static_cast<std::size_t>(layer)];
        step_cell(layer, x, state);
        x = model_.layer_norm ? norm(layer, state.h) : state.h;
        if (!dropout.on || layer + 1 == model_.layers) continue;
        const ops::RandomKey key{dropout.seed, dropout.step, static_cast<std::uint32_t>(n),
                                 static_cast<std::uint32_t>(layer)};
        const std::size_t row = static_cast<std::size_t>(t) * ((width + 3) / 4 * 4);
        for (std::size_t i = 0; i < width; ++i)
          x[i] *= ops::random_uniform(key, row + i) < model_.dropout ? 0 : 1 / (1 - model_.dropout);
      }
      sum += loss_of(product("linear.weight", "linear.bias", x), targets, at);
    }
  }
  return sum;
}

}  // namespace rondo::actors
