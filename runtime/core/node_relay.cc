#include <rondo/core/node_relay.h>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>

namespace rondo::core {

void NodeRelay::head_accepted(ProcessId head, Effects& out) {
  head_ = head;
  if (!spawning_.empty() || !watched_.empty() || !ending_.empty() || !starting_.empty())
    hit(Branch::kWishesSaidAgain);
  for (const auto& [job, starting] : starting_) say(starting.start, out);
  for (const JobId job : asked_) say(QueryJob{job}, out);
  for (const auto& [actor, spawn] : spawning_) say(spawn, out);
  for (const auto& [actor, watched] : watched_)
    if (!spawning_.contains(actor)) say(WatchActor{{}, actor, {}}, out);
  for (const auto& [request, question] : names_) say(WatchActor{request, {}, question.name}, out);
  for (const ActorId actor : killing_) say(KillActor{actor}, out);
  for (const auto& [job, cause] : ending_) say(EndJob{job, cause}, out);
}

void NodeRelay::say(Message message, Effects& out) {
  if (head_) out.send(head_, std::move(message));
}

bool NodeRelay::full() const {
  return spawning_.size() + watched_.size() + names_.size() + killing_.size() >= kWishesMax;
}

void NodeRelay::refuse(ProcessId process, RequestId request, ActorId actor, Effects& out) {
  ActorUpdate update;
  update.request = request;
  update.actor.id = actor;
  update.actor.state = ActorState::kDead;
  update.actor.code = ErrorCode::kOverloaded;
  update.actor.cause = "its node has as many actors to watch as it may (" +
                       std::to_string(kWishesMax) + ")";
  out.send(process, update);
}

// ---- jobs ------------------------------------------------------------------------------------

void NodeRelay::start_job(ProcessId driver, const StartJob& start, Effects& out) {
  starting_[start.job.id] = {driver, start};
  say(start, out);
}

void NodeRelay::job_started(const JobStarted& started, Effects& out) {
  const auto it = starting_.find(started.job);
  if (it == starting_.end()) return;
  out.send(it->second.driver, started);
  starting_.erase(it);
}

void NodeRelay::query_job(JobId job, Effects& out) {
  if (asked_.insert(job).second) say(QueryJob{job}, out);
}

void NodeRelay::job_known(JobId job) { asked_.erase(job); }

void NodeRelay::end_job(JobId job, const std::string& cause, Effects& out) {
  starting_.erase(job);
  if (ending_.emplace(job, cause).second) say(EndJob{job, cause}, out);
}

void NodeRelay::job_ended(JobId job, const std::string& cause, Effects& out) {
  asked_.erase(job);
  ending_.erase(job);
  if (const auto it = starting_.find(job); it != starting_.end()) {
    out.send(it->second.driver, EndJob{job, cause});
    starting_.erase(it);
  }
  std::erase_if(spawning_, [&](const auto& entry) { return entry.second.spec.job == job; });
}

// ---- actors ----------------------------------------------------------------------------------

void NodeRelay::spawn(ProcessId process, const SpawnActor& spawn, Effects& out) {
  if (full()) return refuse(process, {}, spawn.spec.id, out);
  watched_[spawn.spec.id].watchers.insert(process);
  if (spawning_.emplace(spawn.spec.id, spawn).second) say(spawn, out);
}

void NodeRelay::watch(ProcessId process, const WatchActor& ask, Effects& out) {
  if (full()) return refuse(process, ask.request, ask.actor, out);
  if (!ask.actor) {
    const RequestId ours{next_request_++};
    names_[ours] = {process, ask.request, ask.name};
    say(WatchActor{ours, {}, ask.name}, out);
    return;
  }
  const auto [it, is_new] = watched_.try_emplace(ask.actor);
  it->second.watchers.insert(process);
  if (it->second.last) {
    out.send(process, ActorUpdate{ask.request, *it->second.last});
  } else if (is_new || it->second.unknown) {
    it->second.unknown = false;
    say(WatchActor{{}, ask.actor, {}}, out);
  }
}

void NodeRelay::kill(ProcessId process, const KillActor& kill, Effects& out) {
  if (full()) return refuse(process, {}, kill.actor, out);
  watched_[kill.actor].watchers.insert(process);
  killing_.insert(kill.actor);
  say(kill, out);
}

void NodeRelay::update(const ActorUpdate& update, Effects& out) {
  const ActorId actor = update.actor.id;
  if (update.request) {
    const auto it = names_.find(update.request);
    if (it == names_.end()) return;
    const NameQuestion question = it->second;
    names_.erase(it);
    out.send(question.process, ActorUpdate{question.request, update.actor});
    if (!actor) return;   // no living actor has this name
    watched_[actor].watchers.insert(question.process);
    watched_[actor].last = update.actor;
    return;
  }
  if (update.actor.state != ActorState::kUnknown) spawning_.erase(actor);
  if (update.actor.state == ActorState::kDead) killing_.erase(actor);
  const auto it = watched_.find(actor);
  if (it == watched_.end()) return;
  Watched& watched = it->second;
  if (watched.last && watched.last->state == ActorState::kDead) return;   // for ever
  ActorInfo news = update.actor;
  watched.unknown = news.state == ActorState::kUnknown;
  if (watched.unknown && watched.last) {   // it ended while no head could tell us
    hit(Branch::kEndedWhileHeadAway);
    news = *watched.last;
    news.state = ActorState::kDead;
    news.cause = "its job has ended";
    killing_.erase(actor);
  }
  if (watched.last && news.incarnation < watched.last->incarnation) return;
  if (news.state != ActorState::kUnknown) watched.last = news;
  for (const ProcessId process : watched.watchers) out.send(process, ActorUpdate{{}, news});
}

void NodeRelay::process_gone(ProcessId process) {
  std::erase_if(names_, [&](const auto& entry) { return entry.second.process == process; });
  for (auto it = watched_.begin(); it != watched_.end();) {
    it->second.watchers.erase(process);
    const bool idle = it->second.watchers.empty() && !spawning_.contains(it->first);
    it = idle ? watched_.erase(it) : std::next(it);
  }
}

void NodeRelay::check_invariants() const {
  for (const auto& [actor, spawn] : spawning_) RONDO_CHECK(watched_.contains(actor));
  for (const auto& [job, starting] : starting_) RONDO_CHECK_EQ(job, starting.start.job.id);
}

}  // namespace rondo::core
