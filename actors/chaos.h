#pragma once

#include <cstdint>
#include <vector>

#include <rondo/actors/stage_actor.h>

// Kills on purpose, for tests and demonstrations (rondo train --chaos SEED): a schedule of worker
// deaths, each aimed at a phase of a step, drawn from a seed. The worker really ends by SIGKILL;
// nothing else differs from a run without.
//
// A plain machine: it decides, the group carries out. One thread.

namespace rondo::actors {

class Chaos {
 public:
  struct Strike {
    std::size_t party = 0;
    Phase phase = Phase::kNone;
  };
  // Strikes every `every` steps, once in each way that there is, and then no more.
  Chaos(std::uint64_t seed, std::size_t parties, bool has_tree, std::int64_t every = 4)
      : seed_(seed), parties_(parties), has_tree_(has_tree), every_(every) {}

  // Before a step is first tried: who is to die in it.
  std::vector<Strike> before_step(std::int64_t step);
  // In the recovery from a planned death: where the newborn is to die again (kNone: nowhere).
  Phase for_newborn();
  // Whether it is to die at its birth, before anything has been sent to it.
  bool kills_at_birth();

 private:
  std::uint64_t seed_;
  std::size_t parties_;
  bool has_tree_;
  std::int64_t every_;
  std::int64_t last_ = 0;
  std::uint64_t round_ = 0;
  bool restore_ = false;
  bool birth_ = false;
};

}  // namespace rondo::actors
