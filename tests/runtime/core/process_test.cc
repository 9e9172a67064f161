#include <gtest/gtest.h>

#include <cstring>

#include "process_net.h"

namespace rondo::core {
namespace {

constexpr ProcessId kDriver{1};

Outcome number(std::uint64_t value) {
  Outcome out;
  out.bytes.resize(sizeof value);
  std::memcpy(out.bytes.data(), &value, sizeof value);
  return out;
}

std::uint64_t value_of(const CellRef& cell) {
  std::uint64_t value = 0;
  EXPECT_EQ(cell->state.load(), CellState::kReady)
      << (cell->extra && cell->extra->failure ? cell->extra->failure->what() : "");
  if (cell->inline_view().size() == sizeof value)
    std::memcpy(&value, cell->inline_view().data(), sizeof value);
  return value;
}

std::string failure_of(const CellRef& cell) {
  if (cell->state.load() != CellState::kFailed) return "not failed";
  return std::string(to_string(cell->extra->failure->code())) + ": " + cell->extra->failure->what();
}

TEST(ProcessTest, RunsATaskAndGivesItsResultToTheCaller) {
  ProcessNet net(2);
  net.body = [](ProcessId, RunId, const Incoming& call) { return number(call.head.function * 10); };
  const CellRef result = net.submit(kDriver, 7);
  net.settle();
  EXPECT_EQ(value_of(result), 70u);
  EXPECT_EQ(net.driver().calls(), 0u);
}

TEST(ProcessTest, ATaskWaitsForItsArgumentsAndGetsTheirValuesInline) {
  ProcessNet net(2);
  net.body = [](ProcessId, RunId, const Incoming& call) {
    std::uint64_t argument = 0;
    if (call.payload.size() >= 24)
      std::memcpy(&argument, call.payload.data() + 16, sizeof argument);
    return number(argument + call.head.function);
  };
  const CellRef first = net.submit(kDriver, 3);
  const CellRef second = net.submit(kDriver, 4, {first});
  const CellRef third = net.submit(kDriver, 5, {second});
  net.settle();
  EXPECT_EQ(value_of(third), 12u);
}

TEST(ProcessTest, AFailedArgumentFailsTheCallsThatWantIt) {
  ProcessNet net(1);
  net.body = [](ProcessId, RunId, const Incoming&) {
    Outcome out;
    out.status = ReplyStatus::kFailed;
    out.failure = {ErrorCode::kTaskFailed, "boom"};
    return out;
  };
  const CellRef first = net.submit(kDriver, 1);
  const ActorId actor = net.spawn(kDriver, 0, 0);
  const CellRef second = net.call(kDriver, actor, 2, {first});
  net.settle();
  EXPECT_NE(failure_of(second).find("boom"), std::string::npos);
  EXPECT_EQ(net.driver().calls(), 0u);
}

TEST(ProcessTest, CallsToAnActorRunInTheOrderOfTheirCaller) {
  ProcessNet net(1);
  std::vector<std::uint32_t> order;
  net.body = [&](ProcessId, RunId, const Incoming& call) {
    if (call.head.kind == CallKind::kActor) order.push_back(call.head.function);
    return number(0);
  };
  const ActorId actor = net.spawn(kDriver, 0, 0);
  const CellRef slow = net.submit(kDriver, 9);
  net.call(kDriver, actor, 1);
  net.call(kDriver, actor, 2, {slow});  // waits for its argument: the later ones wait behind it
  for (std::uint32_t i = 3; i < 20; ++i) net.call(kDriver, actor, i);
  net.settle();
  ASSERT_EQ(order.size(), 19u);
  for (std::uint32_t i = 0; i < 19; ++i) EXPECT_EQ(order[i], i + 1);
}

TEST(ProcessTest, ATaskIsRunAgainWhenItsWorkerDiesAndFailsWhenRetriesAreSpent) {
  ProcessNet net(3);
  std::vector<ProcessId> ran;
  net.body = [&](ProcessId process, RunId, const Incoming&) -> std::optional<Outcome> {
    ran.push_back(process);
    return std::nullopt;  // never finishes: it will be killed
  };
  const CellRef result = net.submit(kDriver, 1, {}, 1);
  net.settle();
  ASSERT_EQ(ran.size(), 1u);
  net.kill(ran[0]);
  net.settle();
  ASSERT_EQ(ran.size(), 2u);
  net.kill(ran[1]);
  net.settle();
  EXPECT_EQ(ran.size(), 2u);
  EXPECT_NE(failure_of(result).find("TaskFailed"), std::string::npos) << failure_of(result);
  EXPECT_NE(failure_of(result).find("signal 9"), std::string::npos);
}

TEST(ProcessTest, ACallThatHadNotBegunWaitsForTheRestartAndBurnsNoRetry) {
  ProcessNet net(0);
  std::vector<std::uint32_t> begun;
  const ActorId actor = net.spawn(kDriver, 1, 0);
  net.settle();
  const ProcessId first{2};
  net.body = [&](ProcessId process, RunId, const Incoming& call) -> std::optional<Outcome> {
    begun.push_back(call.head.function);
    if (process == first) return std::nullopt;
    return number(call.head.function);
  };
  const CellRef running = net.call(kDriver, actor, 1);
  const CellRef queued = net.call(kDriver, actor, 2);
  const CellRef later = net.call(kDriver, actor, 3);
  net.settle();
  EXPECT_EQ(begun, (std::vector<std::uint32_t>{1}));
  net.kill(first);
  net.settle();
  EXPECT_NE(failure_of(running).find("ActorDied"), std::string::npos) << failure_of(running);
  EXPECT_EQ(value_of(queued), 2u);
  EXPECT_EQ(value_of(later), 3u);
  EXPECT_EQ(begun, (std::vector<std::uint32_t>{1, 2, 3}));
}

TEST(ProcessTest, ABegunCallIsRunAgainWhileTaskRetriesLast) {
  ProcessNet net(0);
  const ActorId actor = net.spawn(kDriver, 2, 1);
  net.settle();
  int runs = 0;
  net.body = [&](ProcessId process, RunId, const Incoming& call) -> std::optional<Outcome> {
    ++runs;
    if (process == ProcessId{2}) return std::nullopt;
    return number(call.head.function);
  };
  const CellRef one = net.call(kDriver, actor, 1);
  const CellRef two = net.call(kDriver, actor, 2);
  net.settle();
  net.kill(ProcessId{2});
  net.settle();
  EXPECT_EQ(value_of(one), 1u);
  EXPECT_EQ(value_of(two), 2u);
  EXPECT_EQ(runs, 3);
}

TEST(ProcessTest, ABoundCallNeverReachesALaterIncarnation) {
  ProcessNet net(0);
  const ActorId actor = net.spawn(kDriver, 3, 3);
  net.settle();
  int runs = 0;
  net.body = [&](ProcessId process, RunId, const Incoming&) -> std::optional<Outcome> {
    ++runs;
    if (process == ProcessId{2}) return std::nullopt;
    return number(0);
  };
  const CellRef one = net.call(kDriver, actor, 1, {}, Incarnation{1});
  const CellRef two = net.call(kDriver, actor, 2, {}, Incarnation{1});
  net.settle();
  net.kill(ProcessId{2});
  const CellRef three = net.call(kDriver, actor, 3, {}, Incarnation{1});
  net.settle();
  for (const CellRef& cell : {one, two, three})
    EXPECT_NE(failure_of(cell).find("ActorDied"), std::string::npos);
  EXPECT_EQ(runs, 1);
}

TEST(ProcessTest, AnActorWhoseBudgetIsSpentFailsEveryCall) {
  ProcessNet net(0);
  const ActorId actor = net.spawn(kDriver, 0, 5);
  net.settle();
  net.held.insert(ProcessId{2});
  const CellRef one = net.call(kDriver, actor, 1);
  net.settle();
  net.kill(ProcessId{2});
  net.settle();
  const CellRef after = net.call(kDriver, actor, 2);
  net.settle();
  EXPECT_NE(failure_of(one).find("ActorDied"), std::string::npos) << failure_of(one);
  EXPECT_NE(failure_of(after).find("ActorDied"), std::string::npos) << failure_of(after);
}

TEST(ProcessTest, AWaitingTaskGivesBackWhatStandsBehindIt) {
  ProcessNet net(1);
  std::vector<RunId> waiting;
  CellRef inner;
  const ProcessId worker{2};
  net.body = [&](ProcessId process, RunId run, const Incoming& call) -> std::optional<Outcome> {
    if (call.head.function != 1) return number(call.head.function);
    CellRef second;
    inner = net.cell(process, second);
    waiting.push_back(run);
    net.at(process).machine->wait_begin(net.now, run, inner);
    return std::nullopt;
  };
  const CellRef outer = net.submit(kDriver, 1);
  const CellRef behind = net.submit(kDriver, 2);
  net.settle();
  EXPECT_EQ(value_of(behind), 2u);
  EXPECT_EQ(net.waiting.size(), 1u);
  ASSERT_EQ(waiting.size(), 1u);
  EXPECT_FALSE(net.at(worker).machine->wait_end(waiting[0]));
  net.settle();
  ASSERT_EQ(net.at(worker).port->resumed.size(), 1u);
  net.at(worker).machine->finish(net.now, waiting[0], number(5));
  net.settle();
  EXPECT_EQ(value_of(outer), 5u);
}

TEST(ProcessTest, ARefInAReplyIsRegisteredWithItsOwnerBeforeTheReplierLetsGo) {
  ProcessNet net(1);
  const ProcessId worker{2};
  CellRef inside;
  net.body = [&](ProcessId process, RunId, const Incoming&) {
    CellRef second;
    inside = net.cell(process, second);
    inside->small_bytes = 1;
    inside->small[0] = std::byte{42};
    inside->state.store(CellState::kReady);
    Outcome out = number(0);
    out.refs.push_back(inside);
    return out;
  };
  const CellRef result = net.submit(kDriver, 1);
  net.settle();
  ASSERT_TRUE(result->extra != nullptr);
  ASSERT_EQ(result->extra->refs.size(), 1u);
  const CellRef borrowed = result->extra->refs[0].cell;
  inside = {};
  net.settle();
  EXPECT_EQ(borrowed->state.load(), CellState::kReady);
  EXPECT_EQ(borrowed->inline_view()[0], std::byte{42});
  EXPECT_EQ(net.at(worker).machine->objects().lent(), 1u);
}

TEST(ProcessTest, TheLastDropOfABorrowedRefReleasesItAtItsOwner) {
  ProcessNet net(1);
  CellRef second;
  CellRef owned = net.cell(kDriver, second);
  second = {};
  const RefEntry entry{owned->id, "mem", NodeId{1}};
  CellRef borrowed = net.at(ProcessId{2}).machine->borrow_all(std::span(&entry, 1))[0];
  net.settle();
  EXPECT_EQ(net.driver().objects().lent(), 1u);
  borrowed = {};
  net.settle();
  EXPECT_EQ(net.driver().objects().lent(), 0u);
  EXPECT_EQ(net.at(ProcessId{2}).machine->objects().borrowed(), 0u);
}

TEST(ProcessTest, ABorrowedRefFailsWhenItsOwnerDies) {
  ProcessNet net(2);
  CellRef second;
  const CellRef owned = net.cell(ProcessId{3}, second);
  const RefEntry entry{owned->id, "mem", NodeId{1}};
  const CellRef borrowed = net.driver().borrow_all(std::span(&entry, 1))[0];
  net.settle();
  EXPECT_TRUE(borrowed->pending());
  net.kill(ProcessId{3});
  net.settle();
  EXPECT_NE(failure_of(borrowed).find("ObjectLost"), std::string::npos);
}

TEST(ProcessTest, ACycleOfWaitsFailsTheCallThatClosedIt) {
  ProcessNet net(0);
  const ActorId a = net.spawn(kDriver, 0, 0);
  const ActorId b = net.spawn(kDriver, 0, 0);
  net.settle();
  // a.f (0) calls b.g (1) and waits; b.g calls a.h (2) and waits.
  std::map<std::uint32_t, std::pair<ProcessId, RunId>> waits;
  std::map<std::uint32_t, CellRef> on;
  net.body = [&](ProcessId process, RunId run, const Incoming& call) -> std::optional<Outcome> {
    const std::uint32_t method = call.head.function;
    waits[method] = {process, run};
    on[method] = net.call(process, method == 0 ? b : a, method + 1);
    net.at(process).machine->wait_begin(net.now, run, on[method]);
    return std::nullopt;
  };
  const CellRef result = net.call(kDriver, a, 0);
  net.settle();
  ASSERT_EQ(waits.size(), 2u);
  net.now = net.now + seconds(2);
  for (const std::uint64_t id : {2u, 3u}) net.at(ProcessId{id}).machine->on_deadline(net.now);
  net.settle();
  EXPECT_NE(failure_of(on[1]).find("Invalid: a cycle of waits: A.a → A.b → A.c"), std::string::npos)
      << failure_of(on[1]);
}

TEST(ProcessTest, CallsToALostNodeAreSettledThoughTheActorAlreadyLivesElsewhere) {
  ProcessNet net(0);
  const ActorId actor = net.spawn(kDriver, 1, 5);
  net.settle();
  net.body = [](ProcessId, RunId, const Incoming& call) { return number(call.head.function); };
  net.held.insert(ProcessId{2});
  const CellRef one = net.call(kDriver, actor, 1);
  net.settle();
  net.at(ProcessId{2}).dead = true;
  const ProcessId reborn = net.add();
  CreateActor birth;
  birth.spec.id = actor;
  birth.incarnation = Incarnation{2};
  net.at(reborn).machine->constructed(birth, std::nullopt);
  ActorUpdate update;
  update.actor.id = actor;
  update.actor.incarnation = Incarnation{2};
  update.actor.state = ActorState::kAlive;
  update.actor.process = {reborn, "mem"};
  update.actor.node = NodeId{2};
  update.actor.max_task_retries = 5;
  net.driver().on_message(net.now, ProcessNet::kNode, update);
  net.settle();
  EXPECT_TRUE(one->pending());
  net.driver().on_message(net.now, ProcessNet::kNode,
                          ProcessDied{.process = {}, .node = NodeId{1}, .cause = "not heard"});
  net.settle();
  EXPECT_EQ(value_of(one), 1u);
}

TEST(ProcessTest, WhatComesAfterTheEndIsIgnoredAndEveryVerbFails) {
  ProcessNet net(1);
  net.held.insert(ProcessId{2});
  const CellRef running = net.submit(kDriver, 1);
  const CellRef dependent = net.submit(kDriver, 2, {running});
  net.settle();
  net.driver().fail_everything({ErrorCode::kUnavailable, "its node died"});
  net.held.clear();
  net.settle();
  EXPECT_NE(failure_of(running).find("Unavailable"), std::string::npos);
  EXPECT_NE(failure_of(dependent).find("Unavailable"), std::string::npos);
  EXPECT_NE(failure_of(net.submit(kDriver, 3)).find("Unavailable"), std::string::npos);
}

TEST(ProcessTest, ACallInTheSlotOfAFailedOneWaitsForItsOwnArgumentsOnly) {
  ProcessNet net(2);
  std::map<std::uint32_t, std::pair<ProcessId, RunId>> going_on;
  net.body = [&](ProcessId at, RunId run, const Incoming& call) -> std::optional<Outcome> {
    if (call.head.function == 6) return Outcome{};
    going_on[call.head.function] = {at, run};
    return std::nullopt;
  };
  const CellRef first = net.submit(kDriver, 1);
  const CellRef second = net.submit(kDriver, 2);
  const ActorId actor = net.spawn(kDriver, 0, 0);
  CellRef failing = net.call(kDriver, actor, 3, {first});
  const std::uint32_t slot = failing->slot;
  net.settle();
  ASSERT_EQ(going_on.size(), 2u);
  ActorInfo dead;
  dead.id = actor;
  dead.incarnation = Incarnation{1};
  dead.state = ActorState::kDead;
  net.driver().on_message(net.now, ProcessNet::kNode, ActorUpdate{{}, dead});
  net.settle();
  ASSERT_FALSE(failing->pending());
  failing = {};
  const CellRef waiting = net.submit(kDriver, 6, {second});
  ASSERT_EQ(waiting->slot, slot);
  const auto finish = [&](std::uint32_t function) {
    const auto [at, run] = going_on.at(function);
    net.at(at).machine->finish(net.now, run, Outcome{});
    net.settle();
  };
  finish(1);
  EXPECT_TRUE(waiting->pending());
  finish(2);
  EXPECT_FALSE(waiting->pending());
}

TEST(ProcessTest, NothingIsHeldAtRest) {
  ProcessNet net(2);
  net.body = [](ProcessId, RunId, const Incoming& call) { return number(call.head.function); };
  {
    std::vector<CellRef> cells;
    for (std::uint32_t i = 0; i < 500; ++i) cells.push_back(net.submit(kDriver, i));
    net.settle();
    for (std::uint32_t i = 0; i < 500; ++i) EXPECT_EQ(value_of(cells[i]), i);
  }
  net.settle();
  net.now = net.now + seconds(1);
  net.driver().on_deadline(net.now);
  net.settle();
  EXPECT_EQ(net.at(kDriver).cells->live(), 0u);
  EXPECT_EQ(net.driver().tasks().leases(), 0u);
  EXPECT_EQ(net.leases_out, 0);
}

}  // namespace
}  // namespace rondo::core
