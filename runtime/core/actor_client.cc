#include <rondo/core/actor_client.h>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>
#include <rondo/base/limits.h>

namespace rondo::core {

ActorClient::ActorClient(ProcessId self, CallTable& calls, CallSender& sender, PeerBook& book,
                         ProcessPort& port)
    : self_(self), calls_(calls), sender_(sender), book_(book), port_(port) {}

std::uint32_t ActorClient::group_of(const ActorId& id) {
  const auto [it, fresh] = by_id_.try_emplace(id, static_cast<std::uint32_t>(actors_.size()));
  if (fresh) {
    actors_.emplace_back().info.id = id;
    watch(id);
  }
  return it->second;
}

void ActorClient::watch(const ActorId& id) {
  if (node_) port_.send(node_, WatchActor{RequestId{}, id, {}});
}

void ActorClient::expect(const ActorSpec& spec) {
  const bool fresh = by_id_.emplace(spec.id, static_cast<std::uint32_t>(actors_.size())).second;
  RONDO_CHECK(fresh);
  ActorInfo& info = actors_.emplace_back().info;
  info.id = spec.id;
  info.class_name = spec.class_name;
  info.name = spec.name;
  info.max_task_retries = spec.max_task_retries;
  info.max_pending = spec.max_pending;
  info.state = ActorState::kPending;
}

bool ActorClient::accepts(std::uint32_t group) const {
  const Actor& actor = actors_[group];
  const std::size_t most =
      actor.info.max_pending != 0 ? actor.info.max_pending : limits::kCallsQueuedMax;
  return actor.queue.size() + (actor.info.max_pending != 0 ? actor.sent.size() : 0) < most;
}

void ActorClient::mark_dirty(std::uint32_t group) {
  if (actors_[group].dirty) return;
  actors_[group].dirty = true;
  dirty_.push_back(group);
}

void ActorClient::enqueue(Call& call) {
  call.state = call.unready == 0 ? Call::State::kReady : Call::State::kWaiting;
  actors_[call.group].queue.push_back(calls_, call);
  mark_dirty(call.group);
}

void ActorClient::pump_dirty(TimeNs now, std::vector<Call*>& failed) {
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    actors_[dirty_[i]].dirty = false;
    pump(now, dirty_[i], failed);
  }
  dirty_.clear();
}

Failure ActorClient::why_dead(const Call& call) const {
  const Actor& actor = actors_[call.group];
  const std::string what =
      "actor " + (actor.info.name.empty() ? actor.info.class_name : "'" + actor.info.name + "'") +
      " (" + to_string(actor.info.id) + ")";
  if (actor.info.state == ActorState::kUnknown)
    return {ErrorCode::kNotFound, "there is no " + what + " in this cluster"};
  const std::string& cause = actor.info.cause.empty() ? actor.cause : actor.info.cause;
  if (actor.info.state == ActorState::kDead)
    return {ErrorCode::kActorDied, what + " is dead: " + cause};
  if (call.bound) {
    return {ErrorCode::kActorDied,
            what + ": the incarnation that this handle is bound to is gone: " + cause};
  }
  return {ErrorCode::kActorDied,
          what + " died while it may have run this call, and max_task_retries is spent: " + cause};
}

void ActorClient::pump(TimeNs now, std::uint32_t group, std::vector<Call*>& failed) {
  Actor& actor = actors_[group];
  const ActorInfo& info = actor.info;
  while (Call* call = actor.queue.front(calls_)) {
    // bound to one that we have not heard of yet: its news comes
    if (call->bound && info.state != ActorState::kDead && info.incarnation < call->bound) return;
    const bool dead = info.state == ActorState::kDead;
    const bool missed =
        call->bound && (call->bound < info.incarnation ||
                        (call->bound == info.incarnation && info.process.id == actor.lost));
    if (dead || missed) {
      if (missed && !dead) hit(Branch::kBoundCallMissed);
      actor.queue.remove(calls_, *call);
      failed.push_back(call);
      continue;
    }
    if (info.state != ActorState::kAlive || info.process.id == actor.lost ||
        call->state != Call::State::kReady)
      return;
    if (!actor.sent.empty() && actor.sent.front(calls_)->to != info.process.id)
      return;  // its death is not settled yet
    if (actor.sent.size() >= limits::kCallsInFlightMax) return;
    actor.queue.remove(calls_, *call);
    actor.sent.push_back(calls_, *call);
    sender_.send(now, *call, info.process.id, info.incarnation.value);
  }
}

void ActorClient::on_answered(Call& call) {
  Actor& actor = actors_[call.group];
  actor.sent.remove(calls_, call);
  if (!actor.queue.empty()) mark_dirty(call.group);
}

void ActorClient::on_returned(Call& call) {
  Actor& actor = actors_[call.group];
  actor.sent.remove(calls_, call);
  ++call.attempt;
  call.state = Call::State::kReady;
  actor.queue.push_front(calls_, call);
  mark_dirty(call.group);
}

void ActorClient::cancel(Call& call) {
  actors_[call.group].queue.remove(calls_, call);
  mark_dirty(call.group);
}

void ActorClient::on_update(TimeNs now, const ActorUpdate& update, bool gone,
                            std::vector<Call*>& failed) {
  const auto it = by_id_.find(update.actor.id);
  if (it == by_id_.end()) return;
  Actor& actor = actors_[it->second];
  if (update.actor.incarnation < actor.info.incarnation) return;  // older news
  if (actor.info.state == ActorState::kDead) return;              // the dead stay dead
  if (update.actor.state == ActorState::kUnknown && actor.info.state == ActorState::kPending)
    return;  // spawn overtaken
  actor.info = update.actor;
  if (gone) actor.lost = actor.info.process.id;
  if (actor.info.state == ActorState::kUnknown)
    actor.info.state = ActorState::kDead, actor.info.cause = "it is unknown";
  if (actor.info.state == ActorState::kAlive) {
    book_.meet(actor.info.process.id, actor.info.node, actor.info.process.address);
    port_.learn(actor.info.process);
  }
  if (actor.info.state == ActorState::kDead) {
    while (Call* call = actor.sent.front(calls_)) {
      actor.sent.remove(calls_, *call);
      failed.push_back(call);
    }
  }
  Call* oldest = actor.sent.front(calls_);
  if (oldest != nullptr && oldest->to != actor.info.process.id) any_left_behind_ = true;
  pump(now, it->second, failed);
}

std::map<ProcessId, NodeId> ActorClient::left_behind() {
  std::map<ProcessId, NodeId> out;
  for (const Actor& actor : actors_) {
    const Call* oldest = actor.sent.front(calls_);
    if (oldest != nullptr && oldest->to != actor.info.process.id)
      out[oldest->to] = book_.home(oldest->to);
  }
  any_left_behind_ = !out.empty();
  return out;
}

void ActorClient::settle(Actor& actor, const ProcessDied& death, std::vector<Call*>& failed) {
  std::uint64_t begun = 0;
  for (const BegunMark& of : death.begun) {
    if (of.caller == self_ || !of.caller) begun = of.number;
  }
  while (Call* call = actor.sent.back(calls_)) {  // newest first: each goes to the queue's front
    if (call->to != death.process) return;
    actor.sent.remove(calls_, *call);
    const bool may_have_begun = call->number <= begun;
    if (call->bound || (may_have_begun && call->retries_left == 0)) {
      hit(Branch::kCallSpent);
      failed.push_back(call);
      continue;
    }
    hit(may_have_begun ? Branch::kCallTriedAgain : Branch::kCallNotBegun);
    if (may_have_begun && call->retries_left > 0) --call->retries_left;
    ++call->attempt;
    call->state = Call::State::kReady;
    actor.queue.push_front(calls_, *call);
  }
}

void ActorClient::on_process_died(TimeNs now, const ProcessDied& death,
                                  std::vector<Call*>& failed) {
  for (std::uint32_t group = 0; group < actors_.size(); ++group) {
    Actor& actor = actors_[group];
    Call* oldest = actor.sent.front(calls_);
    const bool lives_there = actor.info.process.id == death.process;
    // By where they were sent: the news that the actor lives elsewhere may have come first.
    const bool has_calls = oldest != nullptr && oldest->to == death.process;
    if (!lives_there && !has_calls) continue;
    if (lives_there) actor.lost = actor.info.process.id;
    actor.cause = death.cause;
    settle(actor, death, failed);
    pump(now, group, failed);
  }
}

void ActorClient::watch_again() {
  for (const Actor& actor : actors_) {
    if (actor.info.state != ActorState::kDead)
      port_.send(node_, WatchActor{RequestId{}, actor.info.id, {}});
  }
}

void ActorClient::check_invariants() const {
  for (const Actor& actor : actors_) RONDO_CHECK_LE(actor.sent.size(), limits::kCallsInFlightMax);
}

}  // namespace rondo::core
