#include <gtest/gtest.h>
#include <rondo/sim/simulation.h>

#include <cstdint>
#include <cstdio>
#include <string>

// The jury is judged: a world in which somebody forgets a rule must not pass.

namespace rondo::sim {
namespace {

struct Planted {
  const char* name;
  bool Defects::*defect;
};

class PlantedDefect : public ::testing::TestWithParam<Planted> {};

// Caught: a seed that ends well by itself draws an objection with the defect.
TEST_P(PlantedDefect, IsCaughtWithinTwoHundredSeeds) {
  Defects planted;
  planted.*GetParam().defect = true;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    const Outcome outcome = run_seed(seed, planted);
    if (outcome.failure.empty() || !run_seed(seed).failure.empty()) continue;
    std::printf("%s: seed %llu, %s\n", GetParam().name, static_cast<unsigned long long>(seed),
                outcome.failure.c_str());
    return;
  }
  FAIL() << GetParam().name << " went unnoticed in 200 seeds";
}

INSTANTIATE_TEST_SUITE_P(
    Each, PlantedDefect,
    ::testing::Values(Planted{"CallsDeliveredTwice", &Defects::calls_delivered_twice},
                      Planted{"CallsSwapped", &Defects::calls_swapped},
                      Planted{"TermNotRead", &Defects::term_not_read},
                      Planted{"MarksNotWritten", &Defects::marks_not_written},
                      Planted{"LeaseGrantedTwice", &Defects::lease_granted_twice},
                      Planted{"LeaseNotReturned", &Defects::lease_not_returned},
                      Planted{"AcknowledgedBeforePersisted",
                              &Defects::acknowledged_before_persisted},
                      Planted{"DurableRowsLost", &Defects::durable_rows_lost},
                      Planted{"HoldReleasedTwice", &Defects::hold_released_twice},
                      Planted{"RepliesLost", &Defects::replies_lost},
                      Planted{"DeathsNotTold", &Defects::deaths_not_told},
                      Planted{"BudgetRaised", &Defects::budget_raised},
                      Planted{"ActorStartedTwice", &Defects::actor_started_twice},
                      Planted{"TermLongerAtNodes", &Defects::term_longer_at_nodes},
                      Planted{"KeptNotTold", &Defects::kept_not_told},
                      Planted{"ValuesMixedUp", &Defects::values_mixed_up}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace rondo::sim
