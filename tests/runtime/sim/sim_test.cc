#include <gtest/gtest.h>
#include <rondo/sim/simulation.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

// The whole cluster, seed by seed. RONDO_SIM_SEEDS=N chooses how many, RONDO_SIM_SEED=S tells the
// story of one.
//
// State: not every seed ends well yet. The gate below holds what has been reached: the share of
// seeds that a checker objects to may fall, never rise. TESTING.md says how to look at one.

namespace rondo::sim {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

bool is_liveness(const std::string& checker) {
  return checker == "OneResult" || checker == "NothingHeld";
}

TEST(Simulation, TellsTheStoryOfOneSeed) {
  const std::uint64_t seed = number_from("RONDO_SIM_SEED", 1);
  const Outcome outcome = run_seed(seed);
  std::printf("seed %llu: %llu events, %u calls, %u faults, trace %llx\n%s",
              static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(outcome.events), outcome.calls, outcome.faults,
              static_cast<unsigned long long>(outcome.trace), outcome.story.c_str());
  if (std::getenv("RONDO_SIM_SEED") != nullptr) {
    EXPECT_EQ(outcome.failure, "");
  }
  EXPECT_GE(outcome.calls, 200u);
  EXPECT_GE(outcome.faults, 5u);
}

TEST(Simulation, SeedsAreRepeatableAndObjectionsStayWithinTheGate) {
  const std::uint64_t seeds = number_from("RONDO_SIM_SEEDS", 2000);
  std::map<std::string, std::vector<std::uint64_t>> objections;
  std::uint64_t unsafe = 0;
  std::uint64_t unfinished = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const Outcome first = run_seed(seed);
    const Outcome again = run_seed(seed);
    ASSERT_EQ(first.trace, again.trace) << "seed " << seed << " ran differently the second time";
    ASSERT_EQ(first.failure, again.failure) << "seed " << seed;
    if (first.failure.empty()) continue;
    objections[first.failed_by].push_back(seed);
    ++(is_liveness(first.failed_by) ? unfinished : unsafe);
  }
  for (const auto& [checker, found] : objections) {
    std::printf("%s objects to %zu of %llu seeds, the first is %llu\n", checker.c_str(),
                found.size(), static_cast<unsigned long long>(seeds),
                static_cast<unsigned long long>(found.front()));
  }
  EXPECT_LE(unsafe * 100, seeds * 4) << "more seeds than before break a promise";
  EXPECT_LE(unfinished * 100, seeds * 52) << "more seeds than before end with something pending";
}

struct Planted {
  const char* name;
  bool Defects::*defect;
};

class PlantedDefect : public ::testing::TestWithParam<Planted> {};

// Caught: a seed that ends well by itself draws an objection with the defect. (marks_not_written is
// not in the list: its worker hardly ever dies within a call, so 200 seeds do not show it yet.)
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
