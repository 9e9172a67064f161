#include "sweep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace rondo::sim {

namespace {
constexpr std::uint64_t kAllSeeds = 2'000;

struct Sum {
  std::uint64_t seeds = 0;
  std::uint64_t events = 0;
  std::array<std::uint64_t, kBranches> branches{};
  std::uint64_t cycles = 0;
  std::uint64_t drivers_without_node = 0;
  std::uint64_t seeds_with_two_nodes_gone = 0;
};

void add(Sum& sum, const Outcome& outcome) {
  ++sum.seeds;
  sum.events += outcome.events;
  for (std::size_t i = 0; i < kBranches; ++i) sum.branches[i] += outcome.branches[i];
  sum.cycles += outcome.seen.cycles_found;
  sum.drivers_without_node += outcome.seen.drivers_without_node;
  sum.seeds_with_two_nodes_gone += outcome.seen.nodes_gone_together >= 2 ? 1 : 0;
}

void judge(const Sum& sum) {
  for (std::size_t i = 0; i < kBranches; ++i)
    EXPECT_GT(sum.branches[i], 0u)
        << name_of(static_cast<Branch>(i)) << " was never hit: what it mends is not tested";
  EXPECT_GT(sum.cycles, sum.seeds) << "cycles of waits";
  EXPECT_GT(sum.drivers_without_node, sum.seeds / 50) << "drivers whose own node died";
  EXPECT_GT(sum.seeds_with_two_nodes_gone, sum.seeds / 50) << "seeds with two nodes gone at once";
}
}  // namespace

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::string tail_of(const std::string& text, std::size_t lines) {
  std::size_t at = text.size();
  for (std::size_t n = 0; n <= lines && at != 0 && at != std::string::npos; ++n)
    at = text.rfind('\n', at - 1);
  return at == std::string::npos || at == 0 ? text : text.substr(at + 1);
}

void sweep_every_second_seed(std::uint64_t first) {
  const std::uint64_t seeds = number_from("RONDO_SIM_SEEDS", kAllSeeds);
  Sum sum;
  for (std::uint64_t seed = first; seed <= seeds; seed += 2) {
    const Outcome once = run_seed(seed);
    const Outcome again = run_seed(seed);
    ASSERT_EQ(once.trace, again.trace) << "seed " << seed << " ran differently the second time";
    ASSERT_EQ(once.failure, again.failure) << "seed " << seed;
    ASSERT_EQ(once.failure, "") << "seed " << seed << " (RONDO_SIM_SEED=" << seed
                                << " tells its story), which ended so:\n"
                                << tail_of(once.story, 12);
    add(sum, once);
  }
  std::printf("%llu seeds twice, %llu events each time, %llu cycles of waits found\n",
              static_cast<unsigned long long>(sum.seeds),
              static_cast<unsigned long long>(sum.events),
              static_cast<unsigned long long>(sum.cycles));
  for (std::size_t i = 0; i < kBranches; ++i)
    std::printf("  %-26s %llu\n", name_of(static_cast<Branch>(i)),
                static_cast<unsigned long long>(sum.branches[i]));
  if (seeds >= kAllSeeds) judge(sum);
}

}  // namespace rondo::sim
