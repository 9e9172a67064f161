// A training run ends with the same bytes whatever befell it: kills aimed at every phase of a
// step, a killed driver, a killed node, other numbers of threads and nodes, other instruction
// sets.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>

#include <nlohmann/json.hpp>

#include "program.h"

namespace rondo::actors {
namespace {

using nlohmann::json;

class SameBits : public testing::Test {
 protected:
  void SetUp() override {
    text_ = scratch_.write("text", small_text(12000));
    home_ = scratch_ / "home";
    ::setenv("RONDO_HOME", home_.c_str(), 1);
    ::unsetenv("RONDO_ADDRESS");
  }

  [[nodiscard]] std::vector<std::string> arguments(const std::string& out,
                                                   std::vector<std::string> more = {}) const {
    std::vector<std::string> all{
        "--text", text_, "--out", scratch_ / out, "--hidden", "16", "--batch", "7", "--seq", "16",
        "--epochs", "1", "--layers", "2", "--replicas", "2", "--stages", "2", "-o", "json"};
    all.insert(all.end(), more.begin(), more.end());
    if (std::find(more.begin(), more.end(), "--threads") == more.end())
      all.insert(all.end(), {"--threads", "1"});
    return all;
  }
  [[nodiscard]] std::string weights(const std::string& out) const {
    return slurp(scratch_ / (out + "/last.safetensors"));
  }
  void expect_same(const std::string& a, const std::string& b) const {
    EXPECT_FALSE(weights(a).empty()) << a;
    EXPECT_TRUE(weights(a) == weights(b)) << a << " and " << b << " differ";
  }
  void train(const std::string& out, const std::vector<std::string>& more = {}) {
    const Ran ran = run("rondo-train", arguments(out, more));
    ASSERT_EQ(ran.code, 0) << ran.err;
    said_ = ran.err;
    events_ = ran.out;
  }
  [[nodiscard]] int count(const std::string& event) const {
    int seen = 0;
    std::istringstream lines(events_);
    for (std::string line; std::getline(lines, line);) seen += json::parse(line)["event"] == event;
    return seen;
  }

  Scratch scratch_;
  std::string text_;
  std::string home_;
  std::string said_;
  std::string events_;
};

TEST_F(SameBits, AfterKillsInEveryPhase) {
  train("whole");
  for (const char* seed : {"1", "2"}) {
    const std::string out = std::string("chaos") + seed;
    train(out, {"--chaos", seed});
    for (const char* phase : {"forward", "backward", "aggregation", "optimiser", "prepare",
                              "between commit and swap", "restore", "dies at its birth",
                              "rollback, at the restart of another"})
      EXPECT_NE(said_.find(phase), std::string::npos) << phase << " was never hit\n" << said_;
    EXPECT_GE(count("failure"), 12);
    EXPECT_GE(count("restart"), 12 - 2);   // who dies twice in one recovery is reported once
    expect_same("whole", out);
  }
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
  train("whole", {"--save-every", "7"});
  const std::vector<std::string> saving{"--save-every", "7"};
  for (const int at : {9, 30, 49}) {   // 49: a save is due
    const std::string out = "killed" + std::to_string(at);
    {
      Started started("rondo-train", arguments(out, saving));
      while (true) {
        const std::string line = started.line();
        ASSERT_FALSE(line.empty());
        const json event = json::parse(line);
        if (event["event"] == "step" && event["step"] == at) break;
      }
      started.signal(SIGKILL);
      EXPECT_EQ(started.finish().code, 128 + SIGKILL);
    }
    const Ran resumed =
        run("rondo-train", {"--resume", "--out", scratch_ / out, "--save-every", "7"});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    expect_same("whole", out);
  }
}

// A cluster of two daemons on this machine, in a folder of its own.
class Cluster {
 public:
  Cluster() {
    const Ran up = run("rondo", {"up", "--nodes", "2", "--detach"});
    EXPECT_EQ(up.code, 0) << up.err;
  }
  ~Cluster() { run("rondo", {"down"}); }
  static json list(const std::string& what) {
    return json::parse(run("rondo", {"list", what, "-o", "json"}).out);
  }
  static std::string address() {
    const json status = json::parse(run("rondo", {"status", "-o", "json"}).out);
    return status[0]["address"];
  }
};

TEST_F(SameBits, OnTwoNodesWithAKilledNode) {
  train("one");
  const Cluster cluster;
  const std::string address = Cluster::address();
  train("two", {"--address", address});
  expect_same("one", "two");

  Started started("rondo-train", arguments("killed", {"--address", address}));
  while (true) {
    const std::string line = started.line();
    ASSERT_FALSE(line.empty());
    const json event = json::parse(line);
    if (event["event"] == "step" && event["step"] == 20) break;
  }
  // the node that the driver is not on: the one that is not the first
  const json nodes = Cluster::list("nodes");
  ASSERT_EQ(nodes.size(), 2u);
  int pid = 0;
  for (const json& node : nodes)
    if (node["name"] == "n2") pid = node["pid"];
  ASSERT_GT(pid, 0) << nodes.dump();
  ::kill(pid, SIGKILL);
  const Ran ran = started.finish();
  EXPECT_EQ(ran.code, 0) << ran.err;
  expect_same("one", "killed");
}

}  // namespace
}  // namespace rondo::actors
