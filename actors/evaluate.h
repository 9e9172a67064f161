#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <rondo/actors/stage.h>

// What a trained model is worth, and what it says: one sequence, batch 1, the state carried from
// the first element to the last. The stage holds the whole model (single_stage). One thread.

namespace rondo::actors {

// Mean cross-entropy in nats of every token but the first, given all before it. Requires: at least
// 2 tokens.
[[nodiscard]] double nats_per_token(Stage& stage, std::span<const std::int32_t> tokens);

struct Forecast {
  double rmse = 0;              // of one-step forecasts of the test rows, in the series' own unit
  double persistence_rmse = 0;  // of "as it was one row ago"
  std::vector<double> values;   // the forecasts
};
// Forecasts the last `test_rows` rows, each from all the rows before it. kOverloaded when the rows
// are too few.
[[nodiscard]] Result<Forecast> forecast(Stage& stage, const SeriesScale& scale,
                                        std::span<const double> rows, int test_rows);

struct SampleOptions {
  int length = 500;
  double temperature = 1;
  std::uint64_t seed = 1;
};
// Feeds `prime` (Requires: not empty), then draws `length` tokens one by one; `emit` gets each.
// Stops if it returns false.
void sample(Stage& stage, std::span<const std::int32_t> prime, const SampleOptions& options,
            const std::function<bool(std::int32_t)>& emit);

}  // namespace rondo::actors
