#pragma once

#include <memory>
#include <vector>

#include <rondo/actors/checkpoint.h>
#include <rondo/actors/run_spec.h>
#include <rondo/actors/stage.h>
#include <rondo/actors/streams.h>

// The stages of a run, replicas x stages of them, as one thing that does a step.
//
// A step is a transaction: `step` computes the next version beside the one in force, `commit` puts it in force everywhere.
// The caller decides between the two; nothing is lost if it never does.
//
// One thread.

namespace rondo::actors {

class Group {
 public:
  struct Step {
    Segment segment;
    bool fresh = false;  // from zero states: the first segment of an epoch
    double lr = 0;
    std::int64_t number = 0;  // from 1
  };

  Group(const RunSpec& spec, const Streams& streams, int threads);

  // The sum of the losses over the segment's tokens.
  double step(const Step& step);
  void commit();
  // The sum of the losses of a validation segment; `fresh` as above, on states of its own.
  double validate(const Segment& segment, bool fresh);

  // What is in force.
  [[nodiscard]] std::vector<StageSnapshot> committed() const;
  void restore(const std::vector<StageSnapshot>& stages);

 private:
  double run_slice(int replica, const Step& step);

  RunSpec spec_;
  const Streams& streams_;
  ops::Executor executor_;
  std::vector<std::unique_ptr<Stage>> stages_;  // by replica, then by stage
};

}  // namespace rondo::actors
