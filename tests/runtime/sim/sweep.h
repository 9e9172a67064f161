#pragma once

#include <cstdint>
#include <string>

#include <rondo/sim/simulation.h>

// Sweep: many seeds of the simulator, judged. What sim_test and sim_odd_test share.

namespace rondo::sim {

// A number from the environment.
[[nodiscard]] std::uint64_t number_from(const char* variable, std::uint64_t otherwise);

// The last lines of a text.
[[nodiscard]] std::string tail_of(const std::string& text, std::size_t lines);

// Runs every second seed of RONDO_SIM_SEEDS (2,000), from `first` on, each twice: no checker may
// object to one, and both runs must be the same. Of all 2,000, every recovery branch must have been
// hit by this half, and every scene shown. Failures are GoogleTest's.
void sweep_every_second_seed(std::uint64_t first);

}  // namespace rondo::sim
