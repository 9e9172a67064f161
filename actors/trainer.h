#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include <rondo/actors/chaos.h>
#include <rondo/actors/checkpoint.h>
#include <rondo/actors/curve.h>
#include <rondo/actors/group.h>
#include <rondo/actors/reporter.h>
#include <rondo/actors/streams.h>
#include <rondo/actors/timeline.h>
#include <rondo/base/result.h>

// The trainer leads a run: it walks over the segments, lets the group do a step on each, commits
// it, validates after each epoch, saves (at every epoch, every `save_every` steps, and when asked
// to stop), and reports.
//
// It is the only place that decides that a step counts. Everything that it decides with is in
// Progress, and so in every checkpoint: a run that goes on from one is the same run. One thread.

namespace rondo::actors {

class Trainer {
 public:
  struct Options {
    std::string out;
    std::int64_t save_every = 0;   // steps; 0: at epochs only
    Chaos* chaos = nullptr;        // may end this process in a save
    Timeline* timeline = nullptr;  // takes what the group records
    std::function<void()> committed;  // after each step: there is something to save
  };
  struct Parties {
    const Streams& streams;
    Group& group;
    Curve& curve;
    Reporter& reporter;
    const std::atomic<int>& stop;  // not 0: stop after the step under way
  };
  Trainer(const RunSpec& spec, const Progress& progress, const Parties& parties,
          const Options& options);

  // Until the goal is reached (true) or `stop` was raised and the state saved (false).
  [[nodiscard]] Result<bool> run();
  [[nodiscard]] const Progress& progress() const { return progress_; }
  // After run() threw: saves what was committed last, which lies in this process. False: it could
  // not, and said so on stderr; the last save stays what it was.
  bool rescue();

  // Steps that a run of `spec` over `streams` does in all.
  [[nodiscard]] static std::int64_t goal_steps(const RunSpec& spec, const Streams& streams);

 private:
  [[nodiscard]] bool is_stopped() const { return parties_.stop.load() != 0; }
  [[nodiscard]] std::optional<Group::Step> step_after(const Group::Step& step) const;
  [[nodiscard]] Result<bool> do_step();  // false: stopped before it could be done
  // False when it was stopped in the middle: nothing has happened then.
  [[nodiscard]] Result<bool> end_epoch();
  // The mean loss on the held-out part; nothing when stopped or when nothing is held out.
  std::optional<double> validate();
  [[nodiscard]] Error diverged(const char* what) const;
  [[nodiscard]] Result<void> keep_if_best(double loss);
  [[nodiscard]] Result<void> save(const std::string& name);
  [[nodiscard]] Result<bool> finish();   // false: stopped

  RunSpec spec_;
  Progress progress_;
  Parties parties_;
  Options options_;
  std::int64_t goal_;
  Reporter::Measure last_;
};

}  // namespace rondo::actors
