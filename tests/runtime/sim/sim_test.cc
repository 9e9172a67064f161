#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "sweep.h"

// The whole cluster, seed by seed; here the even ones, sim_odd_test has the others.
// RONDO_SIM_SEEDS=N chooses how many, RONDO_SIM_SEED=S tells the story of one.

namespace rondo::sim {
namespace {

TEST(Simulation, TellsTheStoryOfOneSeed) {
  const std::uint64_t seed = number_from("RONDO_SIM_SEED", 1);
  const Outcome outcome = run_seed(seed);
  std::printf("seed %llu: %llu events, %u calls, %u faults, trace %llx\n%s",
              static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(outcome.events), outcome.calls, outcome.faults,
              static_cast<unsigned long long>(outcome.trace), outcome.story.c_str());
  EXPECT_EQ(outcome.failure, "");
  EXPECT_GE(outcome.calls, 200u);
  EXPECT_GE(outcome.faults, 5u);
}

TEST(Simulation, NoCheckerObjectsToAnEvenSeed) {
  if (std::getenv("RONDO_SIM_SEED") == nullptr) sweep_every_second_seed(2);
}

}  // namespace
}  // namespace rondo::sim
