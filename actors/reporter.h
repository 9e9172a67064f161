#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <rondo/actors/run_spec.h>

// What a run says while it runs: a progress line on a terminal, plain lines elsewhere, or JSON
// lines (one object a line, each with `event`: start, step, epoch, failure, restart, save, done,
// error) for programs. Losses are nats a token, or squared error of the scaled series.
//
// Writes to stdout. One thread.

namespace rondo::actors {

class Reporter {
 public:
  struct Options {
    bool json = false;
    bool terminal = false;  // stdout is one: a line may be drawn over
    DataKind data = DataKind::kTokens;
    std::int64_t goal_steps = 0;
    std::int64_t first_step = 0;  // steps done before this process
    int goal_epochs = 0;          // 0: the goal is steps
  };
  explicit Reporter(const Options& options);

  struct Measure {
    std::int64_t step = 0;
    int epoch = 0;
    double loss = 0;
    std::optional<double> val_loss;  // of an epoch
    double tokens_per_s = 0;
  };

  void start(const RunSpec& spec, const std::string& out, std::size_t parameters, int threads);
  void step(const Measure& measure);
  void epoch(const Measure& measure, bool best);
  void failure(const std::string& actor, const std::string& why, std::int64_t step);
  void restart(const std::string& actor, double seconds, std::int64_t step);
  void save(const std::string& path, std::int64_t step);
  void done(const Measure& measure, const std::string& out);
  // A resumed run that had reached its goal already.
  void nothing_left(std::int64_t step, const std::string& text);
  void error(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;
  void line(const std::string& text);
  [[nodiscard]] std::string losses(const Measure& measure) const;
  [[nodiscard]] std::string progress(const Measure& measure) const;

  Options options_;
  Clock::time_point began_;
  Clock::time_point shown_;
  bool drawn_ = false;
};

}  // namespace rondo::actors
