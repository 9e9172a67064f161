#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <rondo/actor.h>
#include <rondo/actors/stage_actor.h>
#include <rondo/actors/streams.h>

// The calls that make up a step, submitted all at once: every actor gets its forwards and
// backwards in 1F1B order, and their arguments are refs to what other actors' calls will give.
// From then on the actors drive one another; whoever submitted only waits for the ends.
//
// One thread. Submitting never waits.

namespace rondo::actors {

using Floats = std::vector<float>;

// A replica's stage: the handle reaches whichever incarnation lives, `bound` only the one that the
// group counts on.
struct Party {
  std::string name;
  Actor<StageActor> handle;
  Actor<StageActor> bound;
  bool restored = false;  // `bound` holds the committed version, or did when it died
};

struct StepPlan {
  const RunSpec& spec;
  const Streams& streams;
  const std::vector<Party>& parties;  // by replica, then by stage

  [[nodiscard]] const Actor<StageActor>& at(int replica, int stage) const {
    return parties[static_cast<std::size_t>(replica * spec.layout.stages + stage)].bound;
  }
};

// What a step ends in: the next version of everything, sealed; and before it the calls whose
// failure only shows in what comes after, by its echo.
struct StepEnds {
  std::vector<Ref<Floats>> passes;   // the first stages' backwards: empty values
  std::vector<Ref<void>> updates;    // by party
  std::vector<Ref<Prepared>> seals;  // by party
};

// The forwards and backwards. `behind_first`: called for each party when its first call has been
// submitted.
[[nodiscard]] std::vector<Ref<Floats>> submit_passes(
    const StepPlan& plan, const Turn& turn, const Segment& segment,
    const std::function<void(std::size_t party)>& behind_first = {});
[[nodiscard]] std::vector<Ref<void>> submit_updates(const StepPlan& plan, const Turn& turn,
                                                    double lr);
// Puts the prepared version in force everywhere. Nobody waits for it: later calls come after it.
void submit_commit(const StepPlan& plan, const Turn& turn);
// The sums of the losses of a validation segment, by replica, then by microbatch.
[[nodiscard]] std::vector<Ref<double>> submit_validation(const StepPlan& plan, const Turn& turn,
                                                         const Segment& segment);

}  // namespace rondo::actors
