#include <rondo/actors/series.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace rondo::actors {

namespace {

constexpr double kPronounced = 0.3;  // autocorrelation that makes a lag a season

std::vector<double> in_levels(bool logarithm, std::span<const double> rows) {
  std::vector<double> levels(rows.begin(), rows.end());
  if (logarithm)
    for (double& level : levels) level = std::log(level);
  return levels;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

int dominant_lag(const std::vector<double>& levels) {
  std::vector<double> steps;
  for (std::size_t i = 1; i < levels.size(); ++i) steps.push_back(levels[i] - levels[i - 1]);
  const double mean = mean_of(steps);
  double power = 0;
  for (double& step : steps) {
    step -= mean;
    power += step * step;
  }
  if (power == 0) return 1;
  int best = 1;
  double best_correlation = kPronounced;
  for (std::size_t lag = 2; lag <= steps.size() / 3; ++lag) {
    double product = 0;
    for (std::size_t i = lag; i < steps.size(); ++i) product += steps[i] * steps[i - lag];
    if (product / power > best_correlation) {
      best_correlation = product / power;
      best = static_cast<int>(lag);
    }
  }
  return best;
}

}  // namespace

Result<SeriesScale> fit_scale(std::span<const double> training) {
  if (training.size() < 8)
    return Error(ErrorCode::kInvalid,
                 "the series has " + std::to_string(training.size()) + " training row" +
                     (training.size() == 1 ? "" : "s") + ": at least 8 are needed");
  SeriesScale scale;
  scale.logarithm = std::all_of(training.begin(), training.end(), [](double v) { return v > 0; });
  const std::vector<double> levels = in_levels(scale.logarithm, training);
  scale.lag = dominant_lag(levels);
  std::vector<double> changes;
  for (std::size_t i = static_cast<std::size_t>(scale.lag); i < levels.size(); ++i)
    changes.push_back(levels[i] - levels[i - static_cast<std::size_t>(scale.lag)]);
  scale.mean = mean_of(changes);
  double square = 0;
  for (double change : changes) square += (change - scale.mean) * (change - scale.mean);
  scale.deviation = std::sqrt(square / static_cast<double>(changes.size()));
  if (!(scale.deviation > 0))
    return Error(ErrorCode::kInvalid, "the series never departs from its pattern in the training "
                                      "rows: there is nothing to learn");
  return scale;
}

Result<std::vector<float>> to_learnable(const SeriesScale& scale, std::span<const double> rows) {
  if (scale.logarithm) {
    const auto bad = std::find_if(rows.begin(), rows.end(), [](double v) { return !(v > 0); });
    if (bad != rows.end())
      return Error(ErrorCode::kInvalid,
                   "row " + std::to_string(bad - rows.begin() + 1) +
                       " is not positive, but the training rows were and the model works on their "
                       "logarithms");
  }
  const std::vector<double> levels = in_levels(scale.logarithm, rows);
  std::vector<float> out;
  for (std::size_t i = static_cast<std::size_t>(scale.lag); i < levels.size(); ++i) {
    const double change = levels[i] - levels[i - static_cast<std::size_t>(scale.lag)];
    out.push_back(static_cast<float>((change - scale.mean) / scale.deviation));
  }
  return out;
}

double to_value(const SeriesScale& scale, double learnable, double row_lag_before) {
  const double change = learnable * scale.deviation + scale.mean;
  if (scale.logarithm) return row_lag_before * std::exp(change);
  return row_lag_before + change;
}

}  // namespace rondo::actors
