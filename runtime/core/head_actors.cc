#include <algorithm>

#include <rondo/base/check.h>
#include <rondo/base/branch_marks.h>
#include <rondo/core/head.h>
#include <rondo/core/rows.h>

// Head: births, names, placement, deaths.

namespace rondo::core {

void Head::on(Step& step, ProcessId from, const SpawnActor& spawn) {
  const Member* asker = members_.find(from);
  if (asker == nullptr) return;
  if (jobs_.living(spawn.spec.job) == nullptr) {
    ActorInfo dead;
    dead.id = spawn.spec.id;
    dead.name = spawn.spec.name;
    dead.class_name = spawn.spec.class_name;
    dead.state = ActorState::kDead;
    dead.cause = "its job has ended";
    answer(step, asker->info.id, {}, dead);
    return;
  }
  watch(asker->info.id, spawn.spec.id);
  if (!actors_.spawn(step.now, spawn.spec)) {
    const ActorEntry* entry = actors_.find(spawn.spec.id);
    if (entry->confirmed) answer(step, asker->info.id, {}, entry->info);
  } else if (killed_early_.erase(spawn.spec.id) != 0) {
    actors_.end(spawn.spec.id, "it was killed", ErrorCode::kActorDied);
  }
}

void Head::on(Step& step, ProcessId from, const WatchActor& ask) {
  const Member* asker = members_.find(from);
  if (asker == nullptr) return;
  const NodeId node = asker->info.id;
  const ActorEntry* entry =
      ask.actor ? actors_.find(ask.actor) : actors_.find_name(ask.name);
  if (entry == nullptr) {
    ActorInfo unknown;
    unknown.id = ask.actor;
    unknown.name = ask.name;
    answer(step, node, ask.request, unknown);
    if (ask.actor) watch(node, ask.actor);   // its SpawnActor may still be on the way
    return;
  }
  watch(node, entry->info.id);
  if (entry->confirmed) {
    answer(step, node, ask.request, entry->info);
  } else if (question_count_ < kQuestionsMax) {
    questions_[entry->info.id].push_back({node, ask.request});
    ++question_count_;
  }
}

void Head::on(Step& step, ProcessId from, const KillActor& kill) {
  const Member* asker = members_.find(from);
  if (asker == nullptr) return;
  const ActorEntry* entry = actors_.find(kill.actor);
  if (entry == nullptr) {
    ActorInfo dead;
    dead.id = kill.actor;
    dead.state = ActorState::kDead;
    dead.cause = "it was killed, or its job has ended";
    if (killed_early_.size() < kWatchesMax) killed_early_.insert(kill.actor);
    answer(step, asker->info.id, {}, dead);
    return;
  }
  if (entry->info.state == ActorState::kDead) {
    answer(step, asker->info.id, {}, entry->info);
    return;
  }
  const NodeId node = entry->info.node;
  const Incarnation incarnation = entry->info.incarnation;
  actors_.end(kill.actor, "it was killed", ErrorCode::kActorDied);
  watch(asker->info.id, kill.actor);
  if (node) stop_on(step, node, kill.actor, incarnation, "it was killed");
}

void Head::on(Step& step, ProcessId from, const ActorStarted& started) {
  const Member* member = members_.find(from);
  if (member == nullptr) return;
  ActorInfo said = started.actor;
  said.node = member->info.id;
  if (!actors_.started(step.now, said)) not_wanted(step, said);
}

void Head::on(Step& step, ProcessId from, const ActorExited& exit) {
  const Member* member = members_.find(from);
  const ActorEntry* entry = actors_.find(exit.actor);
  if (member == nullptr || entry == nullptr || entry->info.node != member->info.id) return;
  actors_.exited(step.now, exit.actor, exit.incarnation, exit.cause);
}

// A node says what lives there and what died: what this head's rows expect there is compared.
void Head::reconcile(Step& step, const NodeJoin& join) {
  const NodeId node = join.node.id;
  std::set<ActorId> spoken_of;
  for (ActorInfo said : join.living) {
    said.node = node;
    const bool ours = said.state == ActorState::kAlive
                          ? actors_.started(step.now, said)
                          : actors_.starting(said.id, said.incarnation, node);
    if (ours) {
      spoken_of.insert(said.id);
    } else {
      not_wanted(step, said);
    }
  }
  for (const ActorInfo& said : join.deaths) {
    const ActorEntry* entry = actors_.find(said.id);
    if (entry == nullptr || entry->info.node != node) continue;
    hit(Branch::kDeathToldToNewHead);
    actors_.exited(step.now, said.id, said.incarnation, said.cause);
  }
  for (const ActorId id : actors_.placed_on(node)) {
    if (spoken_of.contains(id)) continue;
    // It was never told: the head died between the row and the message.
    hit(Branch::kStartSaidAgain);
    RONDO_CHECK(actors_.starting(id, actors_.find(id)->info.incarnation, node));
    start_on(step, id);
  }
}

void Head::not_wanted(Step& step, const ActorInfo& said) {
  hit(Branch::kActorNotWanted);
  stop_on(step, said.node, said.id, said.incarnation, "it is not wanted any more");
}

std::vector<Candidate> Head::candidates() const {
  std::vector<Candidate> out;
  for (const auto& [id, member] : members_.members()) {
    if (!member.joined) continue;
    out.push_back({id, member.info.name, member.info.total, member.info.free, actors_.load(id),
                   actors_.count(id), !member.suspected});
  }
  return out;
}

void Head::place_due(Step& step) {
  for (const ActorId id : actors_.due(step.now)) place_one(step, id);
}

void Head::place_one(Step& step, ActorId id) {
  const ActorEntry& entry = *actors_.find(id);
  const Job* job = jobs_.living(entry.spec.job);
  RONDO_CHECK(job != nullptr);
  const std::vector<Candidate> all = candidates();
  const Placement placement = place(entry.spec.shape, job->spec.home, all);
  if (placement.verdict == PlacementVerdict::kPlaced) {
    actors_.assign(id, placement.node);
    start_on(step, id);
    return;
  }
  const TimeNs until = wait_for_nodes_until(entry.spec.shape);
  if (placement.verdict == PlacementVerdict::kLater || all.empty() || step.now < until) {
    const TimeNs again = step.now + kRetryPlacement;
    actors_.wait_until(id, step.now < until ? std::min(again, until) : again);
    return;
  }
  actors_.end(id, why_nowhere(entry.spec.shape, all), ErrorCode::kInvalid);
}

// No living node can ever hold it: until then one that could may come, or come back.
TimeNs Head::wait_for_nodes_until(const Shape& shape) const {
  TimeNs until = settled_at_;
  for (const Loss& loss : losses_)
    if (shape.fits_in(loss.total))
      until = std::max(until, loss.at + options_.term + options_.drift);
  return until;
}

std::string Head::why_nowhere(const Shape& shape, const std::vector<Candidate>& nodes) const {
  constexpr std::size_t kNamed = 4;
  std::string offers;
  for (std::size_t n = 0; n < std::min(nodes.size(), kNamed); ++n) {
    Shape offered = nodes[n].total;  // of what is asked for
    if (shape.cpu_milli == 0) offered.cpu_milli = 0;
    if (shape.gpu_milli == 0) offered.gpu_milli = 0;
    if (shape.memory_bytes == 0) offered.memory_bytes = 0;
    offers += (n == 0 ? "" : "; ") + nodes[n].name + " has " +
              (offered == Shape{} ? "none" : describe(offered));
  }
  if (nodes.size() > kNamed) offers += "; and " + std::to_string(nodes.size() - kNamed) + " more";
  std::string gone;
  for (const Loss& loss : losses_)
    if (shape.fits_in(loss.total)) gone = ", and " + loss.name + ", which had, was lost";
  return "it needs " + describe(shape) + " on one node, and none has that (" + offers + ")" + gone +
         ": ask for less, or add a node";
}

void Head::start_on(Step& step, ActorId id) {
  const ActorEntry& entry = *actors_.find(id);
  const Member* member = members_.find(entry.info.node);
  const Job* job = jobs_.living(entry.spec.job);
  RONDO_CHECK(member != nullptr && member->joined && job != nullptr);
  step.effects.send(member->info.peer.id,
                    StartActor{entry.spec, entry.info.incarnation, job->spec});
}

void Head::stop_on(Step& step, NodeId node, ActorId id, Incarnation incarnation,
                   const std::string& cause) {
  const Member* member = members_.find(node);
  if (member != nullptr && member->joined)
    step.effects.send(member->info.peer.id, StopActor{id, incarnation, cause});
}

void Head::watch(NodeId node, ActorId id) {
  if (watchers_.contains(id) || watchers_.size() < kWatchesMax) watchers_[id].insert(node);
}

void Head::answer(Step& step, NodeId node, RequestId request, const ActorInfo& info) {
  const Member* member = members_.find(node);
  if (member != nullptr && member->joined)
    step.effects.send(member->info.peer.id, ActorUpdate{request, info});
}

void Head::tell_changes(Step& step) {
  const ActorDirectory::Changes changes = actors_.take_changes();
  for (const ActorId id : changes.rows)
    step.effects.add(Persist{0, actor_key(id), encode(actors_.row(id))});
  for (const ActorId id : changes.told) {
    const ActorEntry& entry = *actors_.find(id);
    if (const auto it = watchers_.find(id); it != watchers_.end())
      for (const NodeId node : it->second) answer(step, node, {}, entry.info);
    const auto asked = questions_.find(id);
    if (asked == questions_.end() || !entry.confirmed) continue;
    for (const Question& q : asked->second) answer(step, q.node, q.request, entry.info);
    question_count_ -= asked->second.size();
    questions_.erase(asked);
  }
}

}  // namespace rondo::core
