#include <gtest/gtest.h>

#include "cluster_net.h"

namespace rondo::core::test {
namespace {

constexpr JobId kJob{42};

struct NodeTest : ::testing::Test {
  ClusterNet net;
  NodeId n1;
  ProcessId driver;
  std::uint64_t next_request = 1;

  void SetUp() override {
    net.start_head();
    n1 = net.add_node("n1", 2);
    driver = net.add_driver(n1, kJob);
  }
  RequestId ask(ProcessId owner, std::int64_t cpu_milli = 1'000, NodeId node = {}) {
    LeaseRequest request;
    request.request = {next_request++};
    request.owner = {owner, "ipc://owner"};
    request.job = kJob;
    request.shape.cpu_milli = cpu_milli;
    request.owner_node = net.processes.at(owner).node;
    net.send(owner, ClusterNet::process_of(node ? node : n1), request);
    net.settle();
    net.check();
    return request.request;
  }
  std::vector<LeaseGrant> grants(ProcessId owner) {
    return net.processes.at(owner).got<LeaseGrant>();
  }
  void give_back(ProcessId owner, LeaseId lease) {
    net.tell_node(owner, LeaseReturn{lease, owner});
    net.check();
  }
};

TEST_F(NodeTest, KeepsAWorkerWarmAtTheJobsHome) {
  EXPECT_EQ(net.workers_of(n1).size(), 1u);
}

TEST_F(NodeTest, GrantsAsManyLeasesAsThereAreCpus) {
  for (int i = 0; i < 3; ++i) ask(driver);
  EXPECT_EQ(grants(driver).size(), 2u);
  give_back(driver, grants(driver)[0].lease);
  EXPECT_EQ(grants(driver).size(), 3u);
  EXPECT_EQ(net.workers_of(n1).size(), 2u);
}

TEST_F(NodeTest, ACancelledRequestIsNotGranted) {
  ask(driver);
  ask(driver);
  const RequestId third = ask(driver);
  net.tell_node(driver, LeaseCancel{third, driver});
  give_back(driver, grants(driver)[0].lease);
  EXPECT_EQ(grants(driver).size(), 2u);
}

TEST_F(NodeTest, AWaitingTaskFreesItsCpuAndHasItBackBeforeNewLeases) {
  ask(driver);
  ask(driver);
  ask(driver);
  const LeaseGrant first = grants(driver)[0];
  const LeaseGrant second = grants(driver)[1];
  net.tell_node(first.worker.id, WaitBegin{first.lease});
  ASSERT_EQ(grants(driver).size(), 3u);           // the third has its cpu
  ask(driver);
  net.tell_node(first.worker.id, WaitEnd{first.lease});
  EXPECT_TRUE(net.processes.at(first.worker.id).got<WaitResume>().empty());
  give_back(driver, second.lease);
  EXPECT_EQ(net.processes.at(first.worker.id).got<WaitResume>().size(), 1u);
  EXPECT_EQ(grants(driver).size(), 3u);           // the fourth waits on
  net.check();
}

TEST_F(NodeTest, NestedWaitsNeedNoMoreThanTwoWorkersBeyondTheCpus) {
  // Every task waits for a child, forty deep: owner i is the worker of lease i-1.
  ProcessId owner = driver;
  for (int depth = 0; depth < 40; ++depth) {
    ask(owner);
    ASSERT_EQ(grants(owner).back().request.value, next_request - 1) << "depth " << depth;
    const LeaseGrant grant = grants(owner).back();
    ASSERT_NE(grant.worker.id, owner);
    net.tell_node(grant.worker.id, WaitBegin{grant.lease});
    net.check();
    owner = grant.worker.id;
  }
  EXPECT_LE(net.workers_of(n1).size(), 4u);
  EXPECT_EQ(net.nodes.at(n1)->leases().free().cpu_milli, 2'000);
}

TEST_F(NodeTest, OwnersTakeTurns) {
  const ProcessId other = [&] {
    net.tell_node(driver, SpawnActor{actor_spec(driver, 1, kJob)});
    return net.processes.at(driver).last<ActorUpdate>().actor.process.id;
  }();
  for (int i = 0; i < 6; ++i) ask(driver);
  ask(other);
  EXPECT_TRUE(grants(other).empty());
  give_back(driver, grants(driver)[0].lease);
  EXPECT_EQ(grants(other).size(), 1u);            // it has none yet: it is first
}

TEST_F(NodeTest, ALeaseIsCalledBackWhileOthersWait) {
  net.tell_node(driver, SpawnActor{actor_spec(driver, 1, kJob)});
  const ProcessId other = net.processes.at(driver).last<ActorUpdate>().actor.process.id;
  ask(driver);
  ask(driver);
  net.run_for(seconds(1));
  EXPECT_TRUE(net.processes.at(driver).got<LeaseRevoke>().empty());
  ask(other);
  net.run_for(seconds(1));
  ASSERT_EQ(net.processes.at(driver).got<LeaseRevoke>().size(), 1u);
  give_back(driver, net.processes.at(driver).got<LeaseRevoke>()[0].lease);
  EXPECT_EQ(grants(other).size(), 1u);
}

TEST_F(NodeTest, AnOwnersDeathReturnsItsLeasesAndEndsItsChildren) {
  net.tell_node(driver, SpawnActor{actor_spec(driver, 1, kJob)});
  const ProcessId owner = net.processes.at(driver).last<ActorUpdate>().actor.process.id;
  ask(owner);
  const ProcessId child = grants(owner)[0].worker.id;
  net.kill_process(owner);
  EXPECT_FALSE(net.processes.contains(child));
  EXPECT_EQ(net.nodes.at(n1)->leases().free().cpu_milli, 2'000);
  EXPECT_TRUE(net.processes.contains(driver));
  net.check();
}

TEST_F(NodeTest, AWorkersDeathEndsItsLeasesAndIsToldToAll) {
  ask(driver);
  const LeaseGrant grant = grants(driver)[0];
  net.kill_process(grant.worker.id, {{driver, 17}});
  const ProcessDied died = net.processes.at(driver).last<ProcessDied>();
  EXPECT_EQ(died.process, grant.worker.id);
  EXPECT_EQ(died.node, n1);
  EXPECT_EQ(died.begun.at(0).number, 17u);
  EXPECT_EQ(net.nodes.at(n1)->leases().free().cpu_milli, 2'000);
  ask(driver);
  EXPECT_EQ(grants(driver).size(), 2u);
}

TEST_F(NodeTest, WhatNoNodeHasIsRefused) {
  ask(driver, 64'000);
  EXPECT_EQ(net.processes.at(driver).last<LeaseRefused>().failure.code, ErrorCode::kInvalid);
}

TEST_F(NodeTest, SendsAnOwnerToANodeWithRoom) {
  const NodeId n2 = net.add_node("n2", 8);
  ask(driver, 4'000);
  EXPECT_EQ(net.processes.at(driver).last<LeaseRedirect>().node.id, ClusterNet::process_of(n2));
  ask(driver, 4'000, n2);
  EXPECT_EQ(grants(driver).size(), 1u);
  EXPECT_EQ(grants(driver)[0].node, n2);
  for (int i = 0; i < 3; ++i) ask(driver);
  EXPECT_EQ(grants(driver).size(), 3u);
  EXPECT_EQ(net.processes.at(driver).got<LeaseRedirect>().size(), 2u);
}

TEST_F(NodeTest, LeasesOfOwnersOnALostNodeEnd) {
  const NodeId n2 = net.add_node("n2", 2);
  for (std::uint64_t i = 1; i <= 2; ++i)
    net.tell_node(driver, SpawnActor{actor_spec(driver, i, kJob)});
  ProcessId far;
  for (const auto& [id, entry] : net.head->actors().all())
    if (entry.info.node == n2) far = entry.info.process.id;
  ask(far, 1'000, n1);
  ASSERT_EQ(grants(far).size(), 1u);
  EXPECT_EQ(net.nodes.at(n1)->leases().leases().size(), 1u);
  net.kill_node(n2);
  net.run_for(seconds(6));
  EXPECT_TRUE(net.nodes.at(n1)->leases().leases().empty());
}

TEST_F(NodeTest, IdleWorkersBeyondTheCpusEnd) {
  std::vector<LeaseGrant> all;
  ProcessId owner = driver;
  for (int i = 0; i < 4; ++i) {
    ask(owner);
    all.push_back(grants(owner).back());
    net.tell_node(all.back().worker.id, WaitBegin{all.back().lease});
  }
  EXPECT_EQ(net.workers_of(n1).size(), 4u);
  for (const LeaseGrant& grant : all) give_back(owner, grant.lease);
  net.run_for(seconds(11));
  EXPECT_EQ(net.workers_of(n1).size(), 2u);
}

TEST_F(NodeTest, ARestartTakesTheSpareWorker) {
  net.tell_node(driver, SpawnActor{actor_spec(driver, 1, kJob, 3)});
  net.run_for(seconds(1));
  const std::size_t started = net.started.size();
  const ActorInfo alive = net.processes.at(driver).last<ActorUpdate>().actor;
  net.kill_process(alive.process.id);
  EXPECT_EQ(net.processes.at(driver).last<ActorUpdate>().actor.state, ActorState::kAlive);
  EXPECT_EQ(net.started.size(), started);   // no process had to start for it
}

TEST_F(NodeTest, QuestionsWaitForAHeadThatIsAway) {
  net.kill_head();
  net.tell_node(driver, SpawnActor{actor_spec(driver, 1, kJob)});
  EXPECT_TRUE(net.processes.at(driver).got<ActorUpdate>().empty());
  ask(driver);
  EXPECT_EQ(grants(driver).size(), 1u);   // local work goes on
  net.start_head();
  EXPECT_EQ(net.processes.at(driver).last<ActorUpdate>().actor.state, ActorState::kAlive);
}

TEST_F(NodeTest, IsSilentPastItsTermUntilAHeadConfirmsIt) {
  net.kill_head();
  net.run_for(milliseconds(4'000));
  EXPECT_FALSE(net.nodes.at(n1)->fenced());
  net.run_for(seconds(2));
  EXPECT_TRUE(net.nodes.at(n1)->fenced());
  net.start_head();
  net.run_for(milliseconds(100));
  EXPECT_FALSE(net.nodes.at(n1)->fenced());
}

TEST_F(NodeTest, PullsAnObjectOfAnotherNodeInPiecesOnceForAllWhoOpenIt) {
  const NodeId n2 = net.add_node("n2", 2);
  const ProcessId far{990};
  net.processes[far] = {n2, Role::kDriver, {}};
  Hello hello;
  hello.self = {far, "ipc://far"};
  hello.version = limits::kProtocolVersion;
  net.tell_node(far, hello);
  net.tell_node(driver, ExtentRequest{{1}, 5 << 20});
  const ExtentGrant grant = net.processes.at(driver).last<ExtentGrant>();
  const ObjectId object{driver, 1, 1};
  const std::uint64_t bytes = (5 << 20) - 13;
  net.tell_node(driver,
                ObjectSealed{object, {driver, "ipc://driver"}, grant.extent, grant.generation,
                             bytes});
  const Place source{n1, {ClusterNet::process_of(n1), "ipc://n1"}, grant.extent, grant.generation,
                     bytes};
  net.send(far, ClusterNet::process_of(n2), ObjectOpen{{1}, object, {driver, ""}, source});
  net.send(far, ClusterNet::process_of(n2), ObjectOpen{{2}, object, {driver, ""}, source});
  net.settle();
  net.check();
  EXPECT_EQ(net.processes.at(far).got<ObjectOpened>().size(), 2u);
  EXPECT_EQ(net.processes.at(driver).got<ObjectCopied>().size(), 1u);
  net.send(driver, ClusterNet::process_of(n1), ObjectFree{object});
  net.send(driver, ClusterNet::process_of(n2), ObjectFree{object});
  net.settle();
  EXPECT_EQ(net.nodes.at(n2)->store().objects(), 0u);
  net.tell_node(far, ObjectOpen{{3}, object, {driver, ""}, source});
  EXPECT_EQ(net.processes.at(far).last<ObjectMissing>().failure.code, ErrorCode::kObjectLost);
  net.check();
}

}  // namespace
}  // namespace rondo::core::test
