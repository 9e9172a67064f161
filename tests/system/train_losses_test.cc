// A training run on daemons loses nodes and the head, and ends with the same bytes.

#include <filesystem>

#include "same_bits.h"

namespace rondo::actors {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> on(const std::string& address, std::vector<std::string> more = {}) {
  more.insert(more.end(), {"--address", address});
  return more;
}

const std::vector<std::string> kWide{"--hidden", "80"};  // its snapshots lie in the store

std::vector<std::string> wide(std::vector<std::string> more = {}) {
  more.insert(more.begin(), kWide.begin(), kWide.end());
  return more;
}

TEST_F(SameBits, OnOneNodeAndOnTwo) {
  train("one");
  const Cluster cluster(2);
  train("two", on(cluster.address()));
  expect_same("one", "two");
  Cluster::expect_idle();
}

TEST_F(SameBits, AfterAKilledNodeWhicheverItIs) {
  use_text(30000);
  train("whole", wide());
  for (const char* victim : {"n1", "n2"}) {  // one of them is the driver's own
    const Cluster cluster(2);
    const std::string out = std::string("killed-") + victim;
    Started started("rondo-train", arguments(out, on(cluster.address(), wide())));
    EXPECT_FALSE(await(started, "step", 20).is_null());
    const int pid = Cluster::pid_of_node(victim);
    ASSERT_GT(pid, 0);
    ::kill(pid, SIGKILL);
    const Ran ran = started.finish();
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_GE(count(ran, "failure"), 1);
    expect_same("whole", out);
    Cluster::expect_idle();
  }
}

// Its workers live on and keep their parts of the sums' memory, but say nothing any more. The
// replicas that wait for them must hear from the trainer that the step is over: in terms of the
// membership, not of a sum's patience, beyond which this test's time ends.
TEST_F(SameBits, AfterANodeThatFallsSilentInASum) {
  use_text(60000);
  train("whole", wide());
  for (const char* way : {"shm", "zmq"}) {
    const Cluster cluster(3);
    const std::string out = std::string("silent-") + way;
    Started started("rondo-train",
                    arguments(out, on(cluster.address(), wide({"--all-reduce", way}))));
    EXPECT_FALSE(await(started, "step", 20).is_null());
    started.signal(SIGSTOP);   // or the run may be over before the victim is found
    int node = 0;
    for (const json& actor : Cluster::list("actors"))
      if (actor["name"].get<std::string>().ends_with("r1.s0"))
        node = Cluster::pid_of_node(actor["node"].get<std::string>());
    ASSERT_GT(node, 0);
    ::kill(node, SIGSTOP);
    started.signal(SIGCONT);
    const json failure = await(started, "failure");
    EXPECT_FALSE(failure.is_null());
    const json step = await(started, "step", failure.value("step", 0) + 2);
    EXPECT_FALSE(step.is_null());
    ::kill(node, SIGKILL);
    const Ran ran = started.finish();
    EXPECT_EQ(ran.code, 0) << ran.err;
    expect_same("whole", out);
    Cluster::expect_idle();
  }
}

// Three nodes; one dies in a backward, and later one in whose worker an actor was being restored.
TEST_F(SameBits, AfterSeveralKilledNodesInDifferentPhases) {
  train("whole", wide());
  const Cluster cluster(3);
  const Ran ran = train("killed", on(cluster.address(), wide({"--chaos", "1", "--chaos-victim",
                                                              "node", "--chaos-phases",
                                                              "backward,restore"})));
  expect_hits(ran, {"backward", "restore"});
  EXPECT_TRUE(Cluster::sees_dead_nodes(2)) << Cluster::list("nodes").dump();
  expect_same("whole", "killed");
  Cluster::expect_idle();
}

TEST_F(SameBits, AfterTheLossOfEveryNodeAtOnce) {
  use_text(30000);
  train("whole", wide());
  const Cluster cluster(3);
  Started started("rondo-train", arguments("killed", on(cluster.address(), wide())));
  EXPECT_FALSE(await(started, "step", 20).is_null());
  for (const int pid : Cluster::pids_of_nodes()) ::kill(pid, SIGKILL);
  const Ran ran = started.finish();
  EXPECT_EQ(ran.code, 0) << ran.err;
  expect_same("whole", "killed");
  Cluster::expect_idle();
}

// Every node is gone, and what the driver still has cannot be saved: a folder stands where the
// file would be written. The run goes back to its last save by itself.
TEST_F(SameBits, AfterTheLossOfEveryCopyFromTheLastSave) {
  use_text(40000);
  train("whole");
  const Cluster cluster(2);
  Started started("rondo-train",
                  arguments("lost", on(cluster.address(), {"--save-every", "10"})));
  EXPECT_FALSE(await(started, "step", 22).is_null());
  const std::string obstacle = file("lost") + ".part";
  std::error_code busy;
  while (!fs::create_directory(obstacle, busy)) {  // it is saving right now
    started.signal(SIGCONT);
    EXPECT_FALSE(await(started, "step").is_null());
    started.signal(SIGSTOP);
  }
  std::ofstream(obstacle + "/stone") << "here\n";
  started.signal(SIGSTOP);
  for (const int pid : Cluster::pids_of_nodes()) ::kill(pid, SIGKILL);
  started.signal(SIGCONT);
  const json failure = await(started, "failure");
  ASSERT_FALSE(failure.is_null());
  fs::remove_all(obstacle);
  EXPECT_EQ(failure["actor"], "the driver's node");
  EXPECT_NE(failure["reason"].get<std::string>().find("last save"), std::string::npos) << failure;
  EXPECT_EQ(failure["step"].get<int>() % 10, 0) << failure;
  EXPECT_GE(failure["step"], 20) << failure;
  const Ran ran = started.finish();
  EXPECT_EQ(ran.code, 0) << ran.err;
  expect_same("whole", "lost");
  Cluster::expect_idle();
}

TEST_F(SameBits, AfterAKilledHeadThatIsStartedAgain) {
  use_text(40000);
  train("whole");
  const Cluster cluster(2);
  const json before = Cluster::status()[0];
  Started started("rondo-train", arguments("killed", on(cluster.address())));
  EXPECT_FALSE(await(started, "step", 15).is_null());
  ::kill(before["pid"].get<int>(), SIGKILL);
  const Ran ran = started.finish();
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(count(ran, "failure"), 0) << ran.out;
  expect_same("whole", "killed");
  Cluster::expect_idle();
  EXPECT_GT(Cluster::status()[0]["incarnation"], before["incarnation"]);
}

// Nobody starts this head again but the test: between its death and the next one's start the run
// does thirty steps, and one of its workers dies.
TEST_F(SameBits, WhileThereIsNoHead) {
  use_text(60000);
  train("whole");
  Started head("rondo", {"head"});
  const std::string said = head.line();
  ASSERT_TRUE(said.starts_with("head listens at ")) << said;
  const std::string address = said.substr(16);
  Started node("rondo", {"node", "--head", address});
  ASSERT_FALSE(node.line().empty());
  Started started("rondo-train", arguments("killed", on(address)));
  const json first = await(started, "step", 10);
  ASSERT_FALSE(first.is_null());
  const json actors = Cluster::list("actors");
  ASSERT_EQ(actors.size(), 4u) << actors;
  head.signal(SIGKILL);
  EXPECT_EQ(head.finish().code, 128 + SIGKILL);
  const int then = await(started, "step")["step"];
  const json later = await(started, "step", then + 30);
  ASSERT_FALSE(later.is_null()) << "no steps without a head";
  std::printf("steps %d to %d were done without a head\n", then, later["step"].get<int>());
  ::kill(actors[1]["pid"].get<int>(), SIGKILL);
  EXPECT_FALSE(await(started, "failure").is_null());
  Started next("rondo", {"head"});
  EXPECT_TRUE(next.line().starts_with("head listens at "));
  EXPECT_FALSE(await(started, "restart").is_null());
  const Ran ran = started.finish();
  EXPECT_EQ(ran.code, 0) << ran.err;
  expect_same("whole", "killed");
  Cluster::expect_idle();
  EXPECT_EQ(run("rondo", {"down"}).code, 0);
  EXPECT_EQ(node.finish().code, 0);
  EXPECT_EQ(next.finish().code, 0);
}

}  // namespace
}  // namespace rondo::actors
