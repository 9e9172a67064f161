#include <gtest/gtest.h>

#include "cluster_net.h"

namespace rondo::core::test {
namespace {

constexpr JobId kJob{42};

struct HeadTest : ::testing::Test {
  ClusterNet net;
  NodeId n1, n2;
  ProcessId driver;

  void SetUp() override {
    net.start_head();
    n1 = net.add_node("n1", 2);
    n2 = net.add_node("n2", 2);
    driver = net.add_driver(n1, kJob);
  }
  ActorInfo spawn(const ActorSpec& spec) {
    net.tell_node(driver, SpawnActor{spec});
    net.check();
    return info();
  }
  ActorInfo info() { return net.processes.at(driver).last<ActorUpdate>().actor; }
};

TEST_F(HeadTest, StartsAJobOnceForItsDriver) {
  EXPECT_EQ(net.processes.at(driver).got<JobStarted>().size(), 1u);
  EXPECT_TRUE(net.rows.contains("job/" + to_string(kJob)));
  EXPECT_EQ(net.head->jobs().living(kJob)->spec.home, n1);
}

TEST_F(HeadTest, SpawnsAnActorInAProcessOfItsOwnAndTellsItsSpawner) {
  const ActorInfo alive = spawn(actor_spec(driver, 1, kJob));
  EXPECT_EQ(alive.state, ActorState::kAlive);
  EXPECT_EQ(alive.incarnation.value, 1u);
  ASSERT_TRUE(net.processes.contains(alive.process.id));
  EXPECT_EQ(net.processes.at(alive.process.id).got<CreateActor>().size(), 1u);
}

TEST_F(HeadTest, SpawningTwiceIsSpawningOnce) {
  const ActorSpec spec = actor_spec(driver, 1, kJob);
  const ActorInfo first = spawn(spec);
  const ActorInfo second = spawn(spec);
  EXPECT_EQ(first.process.id, second.process.id);
  EXPECT_EQ(net.head->actors().all().size(), 1u);
}

TEST_F(HeadTest, SpreadsActorsOverNodes) {
  std::map<NodeId, int> count;
  for (std::uint64_t i = 1; i <= 4; ++i) ++count[spawn(actor_spec(driver, i, kJob)).node];
  EXPECT_EQ(count[n1], 2);
  EXPECT_EQ(count[n2], 2);
}

TEST_F(HeadTest, RestartsAKilledActorUnderARaisedIncarnationWithinItsBudget) {
  const ActorInfo first = spawn(actor_spec(driver, 1, kJob, 1));
  net.kill_process(first.process.id, {{driver, 3}});
  const ActorInfo second = info();
  EXPECT_EQ(second.state, ActorState::kAlive);
  EXPECT_EQ(second.incarnation.value, 2u);
  EXPECT_EQ(second.restarts, 1);
  EXPECT_NE(second.process.id, first.process.id);
  EXPECT_NE(second.cause.find("SIGKILL"), std::string::npos);
  const ProcessDied died = net.processes.at(driver).last<ProcessDied>();
  EXPECT_EQ(died.process, first.process.id);
  ASSERT_EQ(died.begun.size(), 1u);
  EXPECT_EQ(died.begun[0].number, 3u);
  net.kill_process(second.process.id);
  EXPECT_EQ(info().state, ActorState::kDead);
  EXPECT_NE(info().cause.find("restart"), std::string::npos);
  net.check();
}

TEST_F(HeadTest, AThrowingConstructorSpendsTheBudgetAndTheCauseIsTold) {
  net.throwing.insert("Counter");
  spawn(actor_spec(driver, 1, kJob, 2));
  net.run_for(seconds(1));
  EXPECT_EQ(info().state, ActorState::kDead);
  EXPECT_EQ(info().restarts, 2);
  EXPECT_NE(info().cause.find("no luck"), std::string::npos);
}

TEST_F(HeadTest, EndlessRestartsSlowDown) {
  net.throwing.insert("Counter");
  spawn(actor_spec(driver, 1, kJob, -1));
  net.run_for(seconds(60));
  EXPECT_EQ(net.head->actors().all().begin()->second.info.state, ActorState::kRestarting);
  const std::int32_t restarts = net.head->actors().all().begin()->second.info.restarts;
  EXPECT_GT(restarts, 5);
  EXPECT_LT(restarts, 30);
}

TEST_F(HeadTest, ANameBelongsToOneLivingActor) {
  const ActorInfo first = spawn(actor_spec(driver, 1, kJob, 0, "c"));
  const ActorInfo second = spawn(actor_spec(driver, 2, kJob, 0, "c"));
  EXPECT_EQ(second.state, ActorState::kDead);
  EXPECT_EQ(second.code, ErrorCode::kInvalid);
  EXPECT_NE(second.cause.find(to_string(first.id)), std::string::npos);
  net.tell_node(driver, WatchActor{{9}, {}, "c"});
  EXPECT_EQ(net.processes.at(driver).last<ActorUpdate>().request.value, 9u);
  EXPECT_EQ(info().id, first.id);
  net.tell_node(driver, KillActor{first.id});
  EXPECT_EQ(info().state, ActorState::kDead);
  EXPECT_EQ(spawn(actor_spec(driver, 3, kJob, 0, "c")).state, ActorState::kAlive);
  net.tell_node(driver, WatchActor{{10}, {}, "nobody"});
  EXPECT_EQ(info().state, ActorState::kUnknown);
}

TEST_F(HeadTest, WhatFitsNowhereIsRefusedInWordsOnceTheNodesAreKnown) {
  ActorSpec big = actor_spec(driver, 1, kJob);
  big.shape.cpu_milli = 64'000;
  spawn(big);
  EXPECT_EQ(info().state, ActorState::kPending);
  net.run_for(seconds(3));
  EXPECT_EQ(info().state, ActorState::kDead);
  EXPECT_EQ(info().code, ErrorCode::kInvalid);
  EXPECT_NE(info().cause.find("64 cpu"), std::string::npos);
}

TEST_F(HeadTest, AnActorThatOnlyALostNodeCouldHoldWaitsForItToComeBack) {
  const NodeId big = net.add_node("big", 8);
  ActorSpec spec = actor_spec(driver, 1, kJob, -1);
  spec.shape.cpu_milli = 6'000;
  ASSERT_EQ(spawn(spec).node, big);
  net.kill_node(big);
  net.run_for(seconds(8));  // the term and the drift: it is dead, and its actor waits
  ASSERT_EQ(net.head->membership().find(big), nullptr);
  EXPECT_EQ(net.head->actors().find(spec.id)->info.state, ActorState::kRestarting);
  ActorSpec fresh = actor_spec(driver, 2, kJob);  // a new one waits with it
  fresh.shape.cpu_milli = 8'000;
  spawn(fresh);
  ActorSpec never = actor_spec(driver, 3, kJob);  // but not what fitted there neither
  never.shape.cpu_milli = 9'000;
  EXPECT_EQ(spawn(never).state, ActorState::kDead);
  EXPECT_EQ(net.head->actors().find(fresh.id)->info.state, ActorState::kPending);
  const NodeId again = net.add_node("big", 16);
  net.run_for(seconds(1));
  EXPECT_EQ(net.head->actors().find(spec.id)->info.state, ActorState::kAlive);
  EXPECT_EQ(net.head->actors().find(spec.id)->info.node, again);
  EXPECT_EQ(net.head->actors().find(fresh.id)->info.state, ActorState::kAlive);
  net.check();
}

TEST_F(HeadTest, AnActorWhoseNodeDoesNotComeBackFailsAfterATermInWords) {
  const NodeId big = net.add_node("big", 8);
  ActorSpec spec = actor_spec(driver, 1, kJob, -1);
  spec.shape.cpu_milli = 6'000;
  ASSERT_EQ(spawn(spec).node, big);
  net.kill_node(big);
  net.run_for(seconds(20));
  EXPECT_EQ(info().state, ActorState::kDead);
  EXPECT_EQ(info().code, ErrorCode::kInvalid);
  EXPECT_NE(info().cause.find("it needs 6 cpu on one node, and none has that (n1 has 2 cpu; n2 "
                              "has 2 cpu), and big, which had, was lost"),
            std::string::npos)
      << info().cause;
  net.check();
}

TEST_F(HeadTest, WhatFitsLaterWaits) {
  for (std::uint64_t i = 1; i <= 3; ++i) {
    ActorSpec spec = actor_spec(driver, i, kJob);
    spec.shape.cpu_milli = 2'000;
    spawn(spec);
  }
  net.run_for(seconds(3));
  EXPECT_EQ(net.head->actors().find({driver, 3})->info.state, ActorState::kPending);
  net.tell_node(driver, KillActor{{driver, 1}});
  net.run_for(seconds(1));
  EXPECT_EQ(net.head->actors().find({driver, 3})->info.state, ActorState::kAlive);
}

TEST_F(HeadTest, AKilledActorIsStoppedAndStaysDead) {
  const ActorInfo alive = spawn(actor_spec(driver, 1, kJob, -1));
  net.tell_node(driver, KillActor{alive.id});
  EXPECT_EQ(info().state, ActorState::kDead);
  EXPECT_FALSE(net.processes.contains(alive.process.id));
  net.run_for(seconds(30));
  EXPECT_EQ(net.head->actors().find(alive.id)->info.state, ActorState::kDead);
}

TEST_F(HeadTest, DeclaresNodeDeadAfterItsTermAndRestartsItsActorsElsewhere) {
  ActorInfo there;
  for (std::uint64_t i = 1; i <= 2; ++i)
    if (const ActorInfo a = spawn(actor_spec(driver, i, kJob, 3)); a.node == n2) there = a;
  ASSERT_EQ(there.node, n2);
  net.kill_node(n2);
  net.run_for(milliseconds(4'900));
  EXPECT_NE(net.head->membership().find(n2), nullptr);
  EXPECT_TRUE(net.head->membership().find(n2)->suspected);
  net.run_for(seconds(1));
  EXPECT_EQ(net.head->membership().find(n2), nullptr);
  const ActorInfo& moved = net.head->actors().find(there.id)->info;
  EXPECT_EQ(moved.state, ActorState::kAlive);
  EXPECT_EQ(moved.node, n1);
  const ProcessDied died = net.processes.at(driver).last<ProcessDied>();
  EXPECT_EQ(died.node, n2);
  EXPECT_FALSE(died.process);
}

TEST_F(HeadTest, ANodeIsSilentBeforeItsActorsMoveAndIsRefusedWhenItComesBack) {
  ActorInfo there;
  for (std::uint64_t i = 1; i <= 2; ++i)
    if (const ActorInfo a = spawn(actor_spec(driver, i, kJob, 3)); a.node == n2) there = a;
  net.silent.insert(n2);
  net.run_for(milliseconds(5'100));
  Effects out;
  net.nodes.at(n2)->on_deadline(net.now, out);
  EXPECT_TRUE(net.nodes.at(n2)->fenced());
  EXPECT_EQ(net.head->actors().find(there.id)->info.node, n2) << "moved before term + drift";
  net.run_for(seconds(2));
  EXPECT_EQ(net.head->actors().find(there.id)->info.node, n1);
  net.silent.clear();
  net.run_for(seconds(1));
  ASSERT_EQ(net.exits.size(), 1u);
  EXPECT_EQ(net.exits[0].failure.code, ErrorCode::kUnavailable);
}

TEST_F(HeadTest, ANewHeadResumesFromItsRowsAndDeclaresNobodyDeadAtOnce) {
  const ActorInfo a = spawn(actor_spec(driver, 1, kJob, 3, "a"));
  const ActorInfo b = spawn(actor_spec(driver, 2, kJob, 3));
  net.kill_head();
  net.run_for(seconds(2));
  net.kill_process(b.process.id);   // while no head listens
  net.start_head();
  net.check();
  EXPECT_EQ(net.head->incarnation().value, 2u);
  const ActorInfo& again = net.head->actors().find(a.id)->info;
  EXPECT_EQ(again.state, ActorState::kAlive);
  EXPECT_EQ(again.process.id, a.process.id);
  EXPECT_EQ(again.incarnation, a.incarnation);
  const ActorInfo& restarted = net.head->actors().find(b.id)->info;
  EXPECT_EQ(restarted.state, ActorState::kAlive);
  EXPECT_EQ(restarted.incarnation.value, 2u);
  EXPECT_EQ(restarted.restarts, 1);
  net.run_for(seconds(10));
  EXPECT_EQ(net.head->membership().members().size(), 2u);
}

TEST_F(HeadTest, ANewHeadGivesALostNodeAWholeTermThenMovesItsActors) {
  ActorInfo there;
  for (std::uint64_t i = 1; i <= 2; ++i)
    if (const ActorInfo a = spawn(actor_spec(driver, i, kJob, 3)); a.node == n2) there = a;
  net.kill_head();
  net.kill_node(n2);
  net.start_head();
  net.run_for(seconds(5));
  EXPECT_EQ(net.head->actors().find(there.id)->info.node, n2);
  net.run_for(seconds(1));
  EXPECT_EQ(net.head->actors().find(there.id)->info.node, n1);
  EXPECT_EQ(net.head->actors().find(there.id)->info.state, ActorState::kAlive);
}

TEST_F(HeadTest, NothingLeavesBeforeItsRowIsDurable) {
  net.disk_stalls = true;
  net.tell_node(driver, SpawnActor{actor_spec(driver, 1, kJob, 1)});
  EXPECT_TRUE(net.workers_of(n2).empty());
  EXPECT_TRUE(net.processes.at(driver).got<ActorUpdate>().empty());
  net.kill_head();                     // it dies before the row is on disk: nobody ever knew
  net.disk_stalls = false;
  net.start_head();                    // the node asks again
  EXPECT_EQ(info().state, ActorState::kAlive);
  EXPECT_EQ(info().incarnation.value, 1u);
}

TEST_F(HeadTest, AHeadThatDiesBetweenRowAndMessageStartsTheActorUnderTheSameIncarnation) {
  net.disk_stalls = true;
  net.tell_node(driver, SpawnActor{actor_spec(driver, 1, kJob)});
  for (const Persist& row : net.unsynced) net.rows[row.key] = *row.value;
  net.kill_head();                     // durable, but StartActor never left
  net.disk_stalls = false;
  net.start_head();
  EXPECT_EQ(info().state, ActorState::kAlive);
  EXPECT_EQ(info().incarnation.value, 1u);
  EXPECT_EQ(info().restarts, 0);
}

TEST_F(HeadTest, TheDriversDeathEndsTheJobEverywhere) {
  for (std::uint64_t i = 1; i <= 4; ++i) spawn(actor_spec(driver, i, kJob, -1));
  net.kill_process(driver);
  net.run_for(seconds(1));
  EXPECT_TRUE(net.workers_of(n1).empty());
  EXPECT_TRUE(net.workers_of(n2).empty());
  EXPECT_EQ(net.head->jobs().living(kJob), nullptr);
  EXPECT_TRUE(net.head->actors().all().empty());
  for (const auto& [key, value] : net.rows) EXPECT_FALSE(key.starts_with("actor/")) << key;
}

TEST_F(HeadTest, AJobThatEndsWhileNoHeadListensEndsAtTheNextHead) {
  spawn(actor_spec(driver, 1, kJob, -1));
  spawn(actor_spec(driver, 2, kJob, -1));
  net.kill_head();
  net.kill_process(driver);
  net.start_head();
  EXPECT_EQ(net.head->jobs().living(kJob), nullptr);
  EXPECT_TRUE(net.workers_of(n2).empty());
}

TEST_F(HeadTest, OwnSleepIsNobodysAbsence) {
  spawn(actor_spec(driver, 1, kJob, 3));
  net.run_for(seconds(1));
  net.now = net.now + seconds(60);   // the whole machine slept
  net.run_for(seconds(2));
  EXPECT_EQ(net.head->membership().members().size(), 2u);
  EXPECT_FALSE(net.nodes.at(n1)->fenced());
}

TEST_F(HeadTest, RefusesAnotherVersionInWords) {
  net.processes[{900}] = {n1, Role::kClient, {}};
  Hello hello;
  hello.self = {{900}, "ipc://client"};
  hello.role = Role::kClient;
  hello.version = 99;
  net.send({900}, net.head_id, hello);
  net.settle();
  EXPECT_NE(net.processes.at({900}).last<Refused>().failure.text.find("99"), std::string::npos);
}

TEST_F(HeadTest, ListsWhatLives) {
  spawn(actor_spec(driver, 1, kJob, 0, "c"));
  for (const char* what : {"nodes", "actors", "jobs", "status"})
    net.send({901}, net.head_id, Inspect{{5}, what});
  net.settle();
  ASSERT_EQ(net.answers.size(), 4u);
  EXPECT_EQ(net.answers[0].listing.rows.size(), 2u);
  ASSERT_EQ(net.answers[1].listing.rows.size(), 1u);
  EXPECT_EQ(net.answers[1].listing.rows[0][1].second, ListingCell{std::string("c")});
  EXPECT_EQ(net.answers[1].listing.rows[0][3].second, ListingCell{std::string("alive")});
}

}  // namespace
}  // namespace rondo::core::test
