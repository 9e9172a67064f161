#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <rondo/actors/layout.h>
#include <rondo/actors/safetensors.h>
#include <rondo/actors/stage_actor.h>

// Kills on purpose, for tests and demonstrations (rondo train --chaos SEED): a schedule of deaths,
// each aimed at a phase of a step, drawn from a seed. The process really ends by SIGKILL; nothing
// else differs from a run without.
//
// Every few steps it strikes in another *way*. A way is hit when whoever was to die there has
// died: only then does the run say "chaos: hit: WAY", and a test that waits for these words knows
// that the phase was met; a way that was not hit is tried again. With Options::nodes the
// death that counts takes the worker's whole node along, with everybody who lives there.
//
// A plain machine: it decides, the group and the trainer carry out. It outlives both, so that a
// run that goes on after the loss of its node goes on with the schedule too. One thread.

namespace rondo::actors {

enum class Way : unsigned char {
  kForward, kBackward, kAggregation, kOptimiser, kPrepare, kSwap, kRestore, kBirth, kTwo, kOther,
  kSave
};
void tell_hit(std::optional<Way> way);               // on stderr, if there is one
[[nodiscard]] std::string_view to_string(Way way);  // "between commit and swap", ...
// The way of a flag's word (forward, backward, aggregation, optimiser, prepare, swap, restore,
// birth, two, other, save); nothing for any other word.
[[nodiscard]] std::optional<Way> way_of(std::string_view word);
[[nodiscard]] std::vector<Way> every_way_of_workers();  // all but kSave, which ends the driver

class Chaos {
 public:
  struct Options {
    std::uint64_t seed = 0;
    std::vector<Way> ways = every_way_of_workers();  // in this order, each once
    bool nodes = false;
    std::int64_t every = 4;  // steps
  };
  struct Strike {
    std::size_t party = 0;
    Phase phase = Phase::kNone;
    bool node = false;  // and its whole node with it
  };
  // A way that `layout` cannot know (two actors where there is one) is left out.
  Chaos(const Options& options, const Layout& layout);

  [[nodiscard]] bool kills_nodes() const { return options_.nodes; }
  // Before a step is first tried: who is to die in it.
  std::vector<Strike> before_step(std::int64_t step);
  // In the recovery from a planned death: where the newborn is to die again (kNone: nowhere).
  Phase for_newborn(std::size_t party);
  // Whether it is to die at its birth; then it has.
  bool kills_at_birth();
  // Where the checkpoint that is written now is to be its writer's end.
  std::optional<WritePoint> in_save();

  // These died together. The way that this completes.
  std::optional<Way> died(const std::vector<std::size_t>& parties);
  std::optional<Way> lost_own_node();  // the driver's, with everybody there

 private:
  static constexpr int kTriesMax = 5;

  std::vector<Strike> aim();
  std::optional<Way> complete();

  Options options_;
  std::size_t parties_;
  std::size_t next_ = 0;       // of options_.ways
  int tries_ = 0;              // of the way under way
  std::int64_t last_ = 0;      // step of the last strike
  std::optional<Way> way_;     // under way: struck and not yet hit
  std::map<std::size_t, Phase> doomed_;
  std::vector<Strike> decisive_;  // the deaths that make it a hit
  bool restore_ = false;
  bool birth_ = false;
};

}  // namespace rondo::actors
