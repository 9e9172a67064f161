#include <rondo/actors/evaluate.h>

#include <algorithm>
#include <cmath>

#include <rondo/base/check.h>
#include <rondo/ops/loss.h>
#include <rondo/ops/random.h>

namespace rondo::actors {

namespace {
constexpr std::size_t kChunk = 256;  // time steps a call: enough to batch the input products
}

double nats_per_token(Stage& stage, std::span<const std::int32_t> tokens) {
  RONDO_CHECK_LE(std::size_t{2}, tokens.size());
  double sum = 0;
  const std::size_t count = tokens.size() - 1;
  for (std::size_t at = 0; at < count; at += kChunk) {
    const std::size_t steps = std::min(kChunk, count - at);
    const auto part = [&](std::size_t from) {
      const auto slice = tokens.subspan(from, steps);
      return Feed{{slice.begin(), slice.end()}, {}};
    };
    const Feed inputs = part(at);
    stage.infer(0, static_cast<int>(steps), {&inputs, {}}, at == 0);
    sum += stage.judge(0, part(at + 1));
  }
  return sum / static_cast<double>(count);
}

Result<Forecast> forecast(Stage& stage, const SeriesScale& scale, std::span<const double> rows,
                          int test_rows) {
  const auto lag = static_cast<std::size_t>(scale.lag);
  const auto test = static_cast<std::size_t>(test_rows);
  if (rows.size() < test + lag + 1)
    return Error(ErrorCode::kOverloaded, "the file has " + std::to_string(rows.size()) +
                                             " rows, but " + std::to_string(test + lag + 1) +
                                             " are needed to forecast " +
                                             std::to_string(test_rows));
  const auto learnable = to_learnable(scale, rows);
  if (!learnable) return learnable.error();
  Feed inputs;
  inputs.values.assign(learnable.value().begin(), learnable.value().end() - 1);
  const auto steps = static_cast<int>(inputs.values.size());
  const std::span<const float> outputs = stage.infer(0, steps, {&inputs, {}}, true);
  Forecast result;
  double square = 0;
  double still = 0;
  for (std::size_t row = rows.size() - test; row < rows.size(); ++row) {
    const double value =
        to_value(scale, static_cast<double>(outputs[row - lag - 1]), rows[row - lag]);
    result.values.push_back(value);
    square += (value - rows[row]) * (value - rows[row]);
    still += (rows[row - 1] - rows[row]) * (rows[row - 1] - rows[row]);
  }
  result.rmse = std::sqrt(square / static_cast<double>(test));
  result.persistence_rmse = std::sqrt(still / static_cast<double>(test));
  return result;
}

void sample(Stage& stage, std::span<const std::int32_t> prime, const SampleOptions& options,
            const std::function<bool(std::int32_t)>& emit) {
  const ops::Executor executor(1);
  const ops::Dim vocabulary = stage.spec().run.model.outputs;
  ops::Tensor<float> probabilities({1, vocabulary});
  Feed inputs;
  bool fresh = true;
  for (std::int32_t token : prime.first(prime.size() - 1)) {
    inputs.ids = {token};
    stage.infer(0, 1, {&inputs, {}}, fresh);
    fresh = false;
  }
  inputs.ids = {prime.back()};
  for (int i = 0; i < options.length; ++i) {
    const std::span<const float> logits = stage.infer(0, 1, {&inputs, {}}, fresh);
    fresh = false;
    ops::softmax<float>(executor, {logits.data(), {1, vocabulary}}, options.temperature,
                        probabilities);
    const double draw = ops::random_uniform({options.seed, 0, 0, 0}, static_cast<std::uint64_t>(i));
    double reached = 0;
    std::int32_t chosen = 0;
    for (; chosen + 1 < vocabulary; ++chosen) {
      reached += static_cast<double>(probabilities[chosen]);
      if (draw < reached) break;
    }
    if (!emit(chosen)) return;
    inputs.ids = {chosen};
  }
}

}  // namespace rondo::actors
