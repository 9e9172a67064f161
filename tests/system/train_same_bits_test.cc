// A training run ends with the same bytes whatever befell it, in a cluster of its own: kills aimed
// at every phase of a step, a killed driver, a half-written checkpoint, other numbers of threads,
// other instruction sets. Losses of nodes and of the head: train_losses_test.cc.

#include <cstdlib>
#include <filesystem>

#include "same_bits.h"

namespace rondo::actors {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kWays{
    "forward", "backward", "aggregation", "optimiser", "prepare", "between commit and swap",
    "restore", "birth of an actor", "two holders in one step", "restart of another"};

// The seed also chooses where in the checkpoint's write the driver ends: 0 half-way through its
// bytes, 1 before it takes its place, 2 after.
TEST_F(SameBits, AfterKillsInEveryPhaseAndInACheckpointsWrite) {
  train("whole");
  for (const int seed : {3, 1, 2}) {
    const std::string out = "chaos" + std::to_string(seed);
    const Ran ran = run("rondo-train",
                        arguments(out, {"--chaos", std::to_string(seed), "--save-every", "4",
                                        "--chaos-phases",
                                        "forward,backward,aggregation,optimiser,prepare,swap,"
                                        "restore,birth,two,other,save"}));
    EXPECT_EQ(ran.code, 128 + SIGKILL) << ran.err;
    std::vector<std::string> ways = kWays;
    ways.push_back("checkpoint write");
    expect_hits(ran, ways);
    EXPECT_GE(count(ran, "failure"), 12);
    EXPECT_GE(count(ran, "restart"), 12 - 2);  // who dies twice in one recovery is reported once
    EXPECT_EQ(fs::exists(file(out) + ".part"), seed % 3 != 2) << out;
    const Ran resumed = resume(out);
    EXPECT_EQ(count(resumed, "done"), 1);
    expect_same("whole", out);
  }
}

TEST_F(SameBits, WithLargeSnapshotsAfterKills) {
  const std::vector<std::string> wide{"--hidden", "80", "--microbatches", "3"};
  train("whole", wide);
  std::vector<std::string> chaos = wide;
  chaos.insert(chaos.end(), {"--chaos", "5"});
  expect_hits(train("chaos", chaos), kWays);
  expect_same("whole", "chaos");
}

// Here nobody sees by itself that a replica has died in a sum.
TEST_F(SameBits, WithSumsOverZeroMqAfterKills) {
  const std::vector<std::string> three{"--replicas", "3", "--hidden", "80"};
  train("shared memory", three);
  std::vector<std::string> chaos = three;
  chaos.insert(chaos.end(), {"--all-reduce", "zmq", "--chaos", "6"});
  expect_hits(train("zmq", chaos), kWays);
  expect_same("shared memory", "zmq");
}

TEST_F(SameBits, WithOneAndTwoThreads) {
  train("one");
  train("two", {"--threads", "2"});
  expect_same("one", "two");
}

TEST_F(SameBits, OnEveryInstructionSet) {
  train("here");
  for (const char* set : {"hsw", "skx"}) {
    ::setenv("LIBXSMM_TARGET", set, 1);
    train(set);
    ::unsetenv("LIBXSMM_TARGET");
    expect_same("here", set);
  }
}

TEST_F(SameBits, AfterAKilledDriverAndResume) {
  train("whole");
  for (const int at : {9, 30, 49}) {  // 49: a save is due
    const std::string out = "killed" + std::to_string(at);
    Started started("rondo-train", arguments(out, {"--save-every", "7"}));
    EXPECT_FALSE(await(started, "step", at).is_null());
    started.signal(SIGKILL);
    EXPECT_EQ(started.finish().code, 128 + SIGKILL);
    resume(out);
    expect_same("whole", out);
  }
}

TEST_F(SameBits, AHalfWrittenCheckpointLeavesTheOneBefore) {
  train("whole");
  const Ran ran = run("rondo-train", arguments("half", {"--chaos", "0", "--chaos-phases",
                                                        "forward,backward,save", "--save-every",
                                                        "5"}));
  EXPECT_EQ(ran.code, 128 + SIGKILL) << ran.err;
  expect_hits(ran, {"checkpoint write"});
  const auto whole = fs::file_size(file("half"));
  const auto half = fs::file_size(file("half") + ".part");
  EXPECT_GT(half, 0u);
  EXPECT_LT(half, whole);
  const Ran resumed = resume("half");
  EXPECT_NE(resumed.out.find(R"("event":"start")"), std::string::npos);
  EXPECT_EQ(json::parse(resumed.out.substr(0, resumed.out.find('\n')))["step"], 10);
  EXPECT_FALSE(fs::exists(file("half") + ".part"));
  expect_same("whole", "half");
}

TEST_F(SameBits, AKillInTheFirstCheckpointsWriteLeavesAFolderToBeginIn) {
  train("whole");
  for (const char* seed : {"0", "1"}) {
    const std::string out = std::string("first") + seed;
    const Ran ran = run("rondo-train", arguments(out, {"--chaos", seed, "--chaos-phases", "save",
                                                       "--save-every", "5"}));
    EXPECT_EQ(ran.code, 128 + SIGKILL) << ran.err;
    EXPECT_TRUE(fs::exists(file(out) + ".part"));
    EXPECT_EQ(run("rondo-train", {"--resume", "--out", scratch_ / out}).code, 2);
    train(out);
    expect_same("whole", out);
  }
}

}  // namespace
}  // namespace rondo::actors
