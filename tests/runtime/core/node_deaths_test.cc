#include <gtest/gtest.h>

#include "cluster_net.h"

// What nodes and heads make of deaths that they hear of late, out of order, or not at all. Each
// case is a seed of the simulator that once went wrong.

namespace rondo::core::test {
namespace {

constexpr JobId kJob{42};

struct NodeDeathsTest : ::testing::Test {
  ClusterNet net;
  NodeId n1;
  ProcessId driver;

  void SetUp() override {
    net.start_head();
    n1 = net.add_node("n1", 2);
    driver = net.add_driver(n1, kJob);
  }
  ExtentGrant grant_to(ProcessId process) {
    net.tell_node(process, ExtentRequest{{1}, 70'000});
    return net.processes.at(process).last<ExtentGrant>();
  }
  void seal(ProcessId writer, const ExtentGrant& grant, const ObjectId& object, NodeId owner_node) {
    net.tell_node(writer, ObjectSealed{object, {object.owner, "ipc://owner"}, grant.extent,
                                       grant.generation, 70'000, owner_node});
    net.check();
  }
  std::size_t objects() { return net.nodes.at(n1)->store().objects(); }
};

TEST_F(NodeDeathsTest, ANodeThatDiesWhileNoHeadListensIsDeclaredDeadThoughNothingLivedThere) {
  const NodeId n2 = net.add_node("n2", 2);
  net.kill_head();
  net.kill_node(n2);
  net.start_head();
  net.run_for(seconds(6));
  bool told = false;
  for (const ProcessDied& death : net.processes.at(driver).got<ProcessDied>())
    told = told || (!death.process && death.node == n2);
  EXPECT_TRUE(told);
  EXPECT_FALSE(net.rows.contains("node/" + to_string(n2)));
  EXPECT_TRUE(net.rows.contains("node/" + to_string(n1)));
}

TEST_F(NodeDeathsTest, ADeathBetweenTheJoinAndItsAnswerIsTold) {
  net.tell_node(driver, SpawnActor{actor_spec(driver, 1, kJob, 1)});
  const ActorInfo first = net.processes.at(driver).last<ActorUpdate>().actor;
  ASSERT_EQ(first.state, ActorState::kAlive);
  net.kill_head();
  net.disk_stalls = true;
  net.start_head();                      // its answer waits for the disk
  net.kill_process(first.process.id);
  net.disk_stalls = false;
  net.sync_disk();
  net.settle();
  const ActorInfo& second = net.head->actors().find(first.id)->info;
  EXPECT_EQ(second.incarnation.value, 2u);
  EXPECT_EQ(second.state, ActorState::kAlive);
}

TEST_F(NodeDeathsTest, AnActorWhoseJobEndedWhileWeWereAwayIsDead) {
  NodeRelay relay;
  Effects out;
  const ProcessId head{1};
  const ProcessId watcher{2};
  relay.head_accepted(head, out);
  relay.watch(watcher, {{}, {driver, 1}, {}}, out);
  ActorInfo info;
  info.id = {driver, 1};
  info.incarnation = {3};
  info.state = ActorState::kAlive;
  relay.update({{}, info}, out);
  relay.head_changed();
  relay.head_accepted({9}, out);
  out.list.clear();
  ActorInfo unknown;
  unknown.id = info.id;
  relay.update({{}, unknown}, out);
  ASSERT_EQ(out.list.size(), 1u);
  const auto& said = std::get<ActorUpdate>(std::get<Send>(out.list[0]).message);
  EXPECT_EQ(said.actor.state, ActorState::kDead);
  EXPECT_EQ(said.actor.incarnation.value, 3u);
}

TEST_F(NodeDeathsTest, ASecondWatcherOfAnUnknownActorIsAnswered) {
  NodeRelay relay;
  Effects out;
  relay.head_accepted({1}, out);
  relay.watch({2}, {{}, {driver, 1}, {}}, out);
  ActorInfo unknown;
  unknown.id = {driver, 1};
  relay.update({{}, unknown}, out);
  out.list.clear();
  relay.watch({3}, {{}, {driver, 1}, {}}, out);
  ASSERT_EQ(out.list.size(), 1u);        // the head is asked again
  EXPECT_EQ(std::get<Send>(out.list[0]).to, ProcessId{1});
}

TEST_F(NodeDeathsTest, AnObjectThatWasFreedBeforeItWasSealedIsNotKept) {
  const ProcessId worker = net.workers_of(n1).front();
  const ExtentGrant grant = grant_to(worker);
  const ObjectId object{driver, 4, 1};
  net.tell_node(driver, ObjectFree{object});
  seal(worker, grant, object, n1);
  EXPECT_EQ(objects(), 0u);
}

TEST_F(NodeDeathsTest, AnObjectWhoseOwnerIsDeadIsNotKept) {
  const NodeId n2 = net.add_node("n2", 2);
  const ProcessId worker = net.workers_of(n1).front();
  const ExtentGrant before = grant_to(worker);
  const ProcessId owner{990};            // of n2, never met by this node
  seal(worker, before, {owner, 1, 1}, n2);
  EXPECT_EQ(objects(), 1u);
  const ExtentGrant after = grant_to(worker);
  net.kill_node(n2);
  net.run_for(seconds(6));
  EXPECT_EQ(objects(), 0u);
  seal(worker, after, {owner, 2, 1}, n2);
  EXPECT_EQ(objects(), 0u);
}

TEST_F(NodeDeathsTest, TheOwnerHearsOfWhatADeadWorkerHasLeft) {
  const ProcessId worker = net.workers_of(n1).front();
  const ExtentGrant grant = grant_to(worker);
  const ObjectId object{driver, 4, 1};
  seal(worker, grant, object, n1);
  net.kill_process(worker);
  const auto told = net.processes.at(driver).got<ObjectCopied>();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].object, object);
  net.tell_node(driver, ObjectFree{object});
  EXPECT_EQ(objects(), 0u);
}

TEST_F(NodeDeathsTest, AnswersForTheDeadOfItsOwnAndAsksTheirNodeAboutOthers) {
  const NodeId n2 = net.add_node("n2", 2);
  net.run_for(seconds(1));
  const auto asked = [&](ProcessId process, NodeId node) {
    net.processes.at(driver).inbox.clear();
    net.tell_node(driver, ProcessQuery{process, node});
    return net.processes.at(driver).got<ProcessDied>().size();
  };
  EXPECT_EQ(asked(driver, n1), 0u);              // it lives
  EXPECT_EQ(asked({12'345}, n1), 1u);
  EXPECT_EQ(asked({12'346}, n2), 1u);            // n2 says so
  EXPECT_EQ(asked({12'347}, NodeId{77}), 0u);    // nobody knows that node
}

}  // namespace
}  // namespace rondo::core::test
