#pragma once

#include <span>
#include <string>
#include <vector>

#include <rondo/base/result.h>

// Makes a series learnable, and its forecasts readable again: log if every value is positive,
// difference at the dominant lag, scale to mean 0 and deviation 1. Picture monthly passengers: the
// logarithm turns growing swings into equal ones, the difference to the same month a year ago
// removes season and trend, and what remains is what a network should learn.
//
// All of it is found from the training rows alone and stored in the checkpoint. The dominant lag
// is the peak of the autocorrelation of the first differences (Box & Jenkins), if it is
// pronounced; else 1.
//
// Plain values; any thread.

namespace rondo::actors {

struct SeriesScale {
  bool logarithm = false;
  int lag = 1;
  double mean = 0;
  double deviation = 1;

  bool operator==(const SeriesScale&) const = default;
};

// Fits on the training rows. kInvalid when they are too few (less than 8) or all alike.
[[nodiscard]] Result<SeriesScale> fit_scale(std::span<const double> training);

// The learnable series: element i belongs to row i + lag. kInvalid when a logarithm is wanted of a
// value that has none.
[[nodiscard]] Result<std::vector<float>> to_learnable(const SeriesScale& scale,
                                                      std::span<const double> rows);

// The value of a row, from its learnable value and the row `lag` before it.
[[nodiscard]] double to_value(const SeriesScale& scale, double learnable, double row_lag_before);

}  // namespace rondo::actors
