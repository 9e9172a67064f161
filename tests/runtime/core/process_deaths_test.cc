#include <gtest/gtest.h>

#include <rondo/base/branch_marks.h>
#include <rondo/base/limits.h>

#include "process_net.h"

// What a process makes of deaths: whole nodes, deaths older than itself, calls to itself. Each case
// is a seed of the simulator that once went wrong.

namespace rondo::core {
namespace {

constexpr ProcessId kDriver{1};
constexpr ProcessId kFar{700};
constexpr NodeId kFarNode{9};

std::string failure_of(const CellRef& cell) {
  if (cell->state.load() != CellState::kFailed) return "not failed";
  return std::string(to_string(cell->extra->failure->code())) + ": " + cell->extra->failure->what();
}

ProcessDied lost(NodeId node) { return {.process = {}, .node = node, .pid = 0, .cause = "lost"}; }

TEST(ProcessDeathsTest, AHolderThatIsGoneWithItsNodeHoldsNothing) {
  ProcessNet net(1);
  net.settle();
  CellRef result = net.submit(kDriver, 1);
  net.settle();
  net.driver().on_peer({kFar, "mem"}, kFarNode);
  net.driver().on_message(net.now, kFar, RefRegister{result->id});
  result = {};
  net.settle();
  EXPECT_EQ(net.driver().objects().lent(), 1u);
  net.driver().on_message(net.now, ProcessNet::kNode, lost(kFarNode));
  net.settle();
  EXPECT_EQ(net.driver().objects().lent(), 0u);
  EXPECT_TRUE(net.at(kDriver).port->forgotten.contains(kFar));
}

TEST(ProcessDeathsTest, WhoSpeaksFirstWhenItsNodeIsLostIsNotHeard) {
  ProcessNet net(0);
  net.settle();
  net.driver().on_message(net.now, ProcessNet::kNode, lost(kFarNode));
  net.driver().on_peer({kFar, "mem"}, kFarNode);
  EXPECT_TRUE(net.at(kDriver).port->forgotten.contains(kFar));
}

TEST(ProcessDeathsTest, ARefOfAnOwnerOnALostNodeIsLostAtOnce) {
  ProcessNet net(0);
  net.settle();
  net.driver().on_message(net.now, ProcessNet::kNode, lost(kFarNode));
  const RefEntry entry{{kFar, 1, 1}, "mem", kFarNode};
  const std::vector<CellRef> refs = net.driver().borrow_all(std::span(&entry, 1));
  EXPECT_NE(failure_of(refs[0]).find("ObjectLost"), std::string::npos) << failure_of(refs[0]);
  EXPECT_EQ(net.driver().entry_of(*refs[0]).owner_node, kFarNode);   // who gets it next sees it too
}

TEST(ProcessDeathsTest, AsksAboutAnOwnerThatDoesNotConfirm) {
  ProcessNet net(0);
  net.settle();
  const RefEntry entry{{kFar, 1, 1}, "mem", kFarNode};
  const std::vector<CellRef> refs = net.driver().borrow_all(std::span(&entry, 1));
  net.settle();
  EXPECT_TRUE(net.queries.empty());
  net.now = net.now + limits::kAskAfter;
  ASSERT_EQ(net.driver().next_deadline(), net.now);
  net.driver().on_deadline(net.now);
  net.settle();
  ASSERT_EQ(net.queries.size(), 1u);
  EXPECT_EQ(net.queries[0].process, kFar);
  EXPECT_EQ(net.queries[0].node, kFarNode);
  net.driver().on_message(net.now, ProcessNet::kNode,
                          ProcessDied{kFar, kFarNode, 0, "it ended some time ago", {}});
  net.settle();
  EXPECT_NE(failure_of(refs[0]).find("some time ago"), std::string::npos) << failure_of(refs[0]);
  net.now = net.now + limits::kAskAfter;
  net.driver().on_deadline(net.now);
  net.settle();
  EXPECT_EQ(net.queries.size(), 1u);
  EXPECT_FALSE(net.driver().next_deadline().has_value());
}

// A young process is given an address of long ago, calls there, and the actor turns up elsewhere.
TEST(ProcessDeathsTest, AsksAboutAProcessThatItsActorHasLeft) {
  ProcessNet net(0);
  net.settle();
  ActorInfo info;
  info.id = {ProcessId{500}, 1};
  info.state = ActorState::kAlive;
  info.incarnation = {1};
  info.node = kFarNode;
  info.process = {kFar, "mem"};
  const CellRef result = net.call(kDriver, info.id, 0);
  net.driver().on_message(net.now, ProcessNet::kNode, ActorUpdate{{}, info});
  net.settle();   // it is sent, and lost
  info.incarnation = {2};
  info.process = {ProcessId{701}, "mem"};
  net.driver().on_message(net.now, ProcessNet::kNode, ActorUpdate{{}, info});
  net.settle();
  net.now = net.now + limits::kAskAfter;
  net.driver().on_deadline(net.now);
  net.settle();
  ASSERT_EQ(net.queries.size(), 1u);
  EXPECT_EQ(net.queries[0].process, kFar);
  net.driver().on_message(net.now, ProcessNet::kNode,
                          ProcessDied{kFar, kFarNode, 0, "long ago", {kAnyMayHaveBegun}});
  net.settle();
  EXPECT_NE(failure_of(result).find("ActorDied"), std::string::npos) << failure_of(result);
}

TEST(ProcessDeathsTest, ACallThatOvertakesTheWelcomeWaitsForIt) {
  ProcessNet net(1);   // its Hello is not answered before settle()
  const ProcessId worker{2};
  CallHeader head;
  head.target = 5;
  head.slot = 3;
  head.number = 1;
  const SharedBytes nothing = share({});
  net.at(worker).machine->on_call(net.now, {kDriver, head, {}, {}, nothing});
  EXPECT_TRUE(net.at(worker).port->runs.empty());
  int ran = 0;
  net.body = [&](ProcessId, RunId, const Incoming&) {
    ++ran;
    return Outcome{};
  };
  net.settle();
  EXPECT_EQ(ran, 1);
}

TEST(ProcessDeathsTest, AnActorThatWaitsForItselfIsToldSo) {
  ProcessNet net(0);
  const ActorId a = net.spawn(kDriver, 0, 0);
  net.settle();
  CellRef on;
  net.body = [&](ProcessId process, RunId run, const Incoming&) -> std::optional<Outcome> {
    on = net.call(process, a, 1);
    net.at(process).machine->wait_begin(net.now, run, on);
    return std::nullopt;
  };
  const CellRef result = net.call(kDriver, a, 0);
  net.settle();
  net.now = net.now + seconds(2);
  net.at(ProcessId{2}).machine->on_deadline(net.now);
  net.settle();
  EXPECT_NE(failure_of(on).find("Invalid: a cycle of waits: A.a → A.b"), std::string::npos)
      << failure_of(on);
  on = {};
}

// Somebody outside waits for one on the round: his probe goes round once, not for ever.
TEST(ProcessDeathsTest, AProbeFromOutsideACycleEnds) {
  MarkSheet sheet;
  ProcessNet net(0);
  const ActorId a = net.spawn(kDriver, 0, 0);
  const ActorId b = net.spawn(kDriver, 0, 0);
  const ActorId outside = net.spawn(kDriver, 0, 0);
  net.settle();
  std::vector<CellRef> on;
  net.body = [&](ProcessId process, RunId run, const Incoming& call) -> std::optional<Outcome> {
    const bool to_b = call.head.function == 0;
    on.push_back(net.call(process, to_b ? b : a, to_b ? 1 : 2));
    net.at(process).machine->wait_begin(net.now, run, on.back());
    return std::nullopt;
  };
  const CellRef round = net.call(kDriver, a, 0);
  net.settle();
  const CellRef result = net.call(kDriver, outside, 3);   // waits for a
  net.settle();
  net.now = net.now + seconds(2);
  net.at(ProcessId{4}).machine->on_deadline(net.now);     // only the outsider's probe
  net.settle();
  EXPECT_GT(sheet.hits(Branch::kWaitProbed), 0u);
  EXPECT_LT(sheet.hits(Branch::kWaitProbed), 10u);
  on.clear();
}

}  // namespace
}  // namespace rondo::core
