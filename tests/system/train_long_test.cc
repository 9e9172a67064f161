// The full-size variants: a whole node killed in every phase, and kills in every phase of a larger
// model under many seeds.

#include "same_bits.h"

namespace rondo::actors {
namespace {

TEST_F(SameBits, AfterAWholeNodeIsKilledInEveryPhase) {
  use_text(60000);
  train("whole", {"--hidden", "80"});
  const Cluster cluster(3);
  const Ran ran = train("killed", {"--hidden", "80", "--chaos", "1", "--chaos-victim", "node",
                                   "--address", cluster.address()});
  expect_hits(ran, {"forward", "backward", "aggregation", "optimiser", "prepare",
                    "between commit and swap", "restore", "birth of an actor",
                    "two holders in one step", "restart of another"});
  EXPECT_TRUE(Cluster::sees_dead_nodes(10)) << Cluster::list("nodes").dump();
  expect_same("whole", "killed");
  Cluster::expect_idle();
}

TEST_F(SameBits, AfterKillsInEveryPhaseUnderManySeeds) {
  use_text(100000);
  const std::vector<std::string> large{"--hidden", "256", "--layers", "3",    "--stages",       "3",
                                       "--batch",  "23",  "--seq",    "50",   "--microbatches", "4",
                                       "--epochs", "1",   "--model",  "lstm"};
  train("whole", large);
  for (int seed = 11; seed < 17; ++seed) {
    std::vector<std::string> chaos = large;
    chaos.insert(chaos.end(), {"--chaos", std::to_string(seed)});
    const std::string out = "chaos" + std::to_string(seed);
    const Ran ran = train(out, chaos);
    EXPECT_EQ(hits(ran).size(), 10u) << ran.err;
    expect_same("whole", out);
  }
}

}  // namespace
}  // namespace rondo::actors
