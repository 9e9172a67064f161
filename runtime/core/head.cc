#include <rondo/core/head.h>

#include <algorithm>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>
#include <rondo/core/rows.h>

// Steps, membership and jobs. Actors: head_actors.cc. Listings: head_listings.cc.

namespace rondo::core {

Head::Head(Options options)
    : options_(std::move(options)),
      members_({options_.heartbeat_every, options_.suspect_after, options_.term, options_.drift}) {}

void Head::start(TimeNs now, std::span<const Row> rows, Effects& out) {
  started_ = now;
  settled_at_ = now + options_.settle;
  view_sent_ = now;
  members_.awake(now);
  for (const bool dead_first : {true, false}) {   // so that no dead node is expected
    for (const Row& row : rows) {
      if (row.first.starts_with("dead/") != dead_first || restore(now, row)) continue;
      ended_ = true;
      out.add(Exit{{ErrorCode::kUnavailable,
                    "the head's saved state cannot be read (row " + row.first +
                        "): it was written by another version, or damaged"}});
      return;
    }
  }
  if (!rows.empty()) hit(Branch::kHeadResumed);
  if (!members_.members().empty()) settled_at_ = now + options_.term + options_.drift;
  Step step{now, {}};
  ++incarnation_.value;
  step.effects.add(Persist{0, std::string(kHeadKey), encode(incarnation_)});
  actors_.retry_all(now);
  std::set<JobId> orphaned;   // a head died between a job's end and its actors' rows
  for (const auto& [id, entry] : actors_.all())
    if (jobs_.living(entry.spec.job) == nullptr) orphaned.insert(entry.spec.job);
  for (const JobId job : orphaned) end_job(step, job, "its job has ended");
  finish(step, out);
}

bool Head::restore(TimeNs now, const Row& row) {
  const auto& [key, value] = row;
  if (key == kHeadKey) {
    const auto incarnation = decode_incarnation(value);
    if (incarnation) incarnation_ = *incarnation;
    return incarnation.has_value();
  }
  if (key.starts_with("dead/")) {
    const auto node = decode_node(value);
    if (node) members_.restore_dead(*node);
    return node.has_value();
  }
  if (key.starts_with("node/")) {
    const auto node = decode_node(value);
    if (node) members_.expect(now, *node);
    return node.has_value();
  }
  if (key.starts_with("job/")) {
    const auto job = decode_job(value);
    if (!job) return false;
    jobs_.restore(*job);
    return true;
  }
  const auto actor = decode_actor(value);
  if (!actor || !key.starts_with("actor/")) return false;
  actors_.restore(*actor);
  return true;
}

void Head::on_message(TimeNs now, ProcessId from, const Message& message, Effects& out) {
  if (ended_) return;
  members_.awake(now);
  Step step{now, {}};
  std::visit([&](const auto& m) { on(step, from, m); }, message);
  finish(step, out);
}

void Head::on_deadline(TimeNs now, Effects& out) {
  if (ended_) return;
  members_.awake(now);
  Step step{now, {}};
  Membership::Findings findings = members_.on_deadline(now);
  view_changed_ |= findings.changed;
  for (const Membership::Death& death : findings.died) node_died(step, death);
  for (const NodeId id : findings.probe) probe(step, id);
  finish(step, out);
}

void Head::on_durable(TimeNs, std::uint64_t number, Effects& out) {
  gate_.on_durable(number, out);
}

void Head::on_link_broken(TimeNs now, ProcessId process, Effects& out) {
  if (ended_) return;
  Step step{now, {}};
  // It may still run, so its actors go elsewhere only when its term has run out: nobody renews it.
  if (const Member* member = members_.find(process)) members_.cut(member->info.id);
  finish(step, out);
}

TimeNs Head::next_deadline() const {
  if (ended_) return kNever;
  TimeNs next = std::min(members_.next_deadline(), actors_.next_retry());
  if (load_changed_) next = std::min(next, view_sent_ + options_.heartbeat_every);
  return next;
}

// The end of every step: place who waits, write down and tell what changed.
void Head::finish(Step& step, Effects& out) {
  place_due(step);
  tell_changes(step);
  if (view_changed_ || (load_changed_ && step.now >= view_sent_ + options_.heartbeat_every))
    send_view(step);
  for (const NodeId id : members_.forgotten()) {
    refused_.erase(id);
    step.effects.add(Persist{0, dead_node_key(id), std::nullopt});
  }
  Effects rows_first;   // nobody hears of a change before its row is written
  for (Effect& e : step.effects.list)
    if (std::holds_alternative<Persist>(e)) rows_first.add(std::move(e));
  for (Effect& e : step.effects.list)
    if (!std::holds_alternative<Persist>(e)) rows_first.add(std::move(e));
  gate_.pass(std::move(rows_first), out);
}

void Head::send_view(Step& step) {
  view_changed_ = load_changed_ = false;
  view_sent_ = step.now;
  ClusterView view;
  view.version = ++view_version_;
  for (const auto& [id, member] : members_.members())
    if (member.joined) view.nodes.push_back(member.info);
  for (const auto& [id, info] : members_.dead())
    if (info.peer.id) view.nodes.push_back(info);
  for (const auto& [id, member] : members_.members())
    if (member.joined) step.effects.send(member.info.peer.id, view);
}

// ---- membership ------------------------------------------------------------------------------

void Head::on(Step& step, ProcessId, const Hello& hello) {
  step.effects.learn(hello.self);
  if (hello.version != limits::kProtocolVersion) {
    step.effects.send(
        hello.self.id,
        Refused{{ErrorCode::kUnavailable,
                 "the head speaks protocol " + std::to_string(limits::kProtocolVersion) +
                     " (release " + options_.release + "), not " + std::to_string(hello.version) +
                     " (release " + hello.release + "): install the same release everywhere"}});
    return;
  }
  step.effects.send(hello.self.id, Welcome{{}, {}, options_.cluster});
}

void Head::on(Step& step, ProcessId from, const Goodbye& goodbye) {
  const Member* member = members_.find(from);
  if (member == nullptr) return;
  const std::string cause = "node " + member->info.name + " was ended: " + goodbye.reason;
  if (const auto death = members_.leave(step.now, member->info.id, cause)) node_died(step, *death);
}

void Head::on(Step& step, ProcessId from, const NodeJoin& join) {
  const Member* before = members_.find(join.node.id);
  const bool before_unknown = before == nullptr;
  const bool known = !before_unknown && before->joined;
  if (!members_.join(step.now, join.node)) {
    refuse_dead(step, join.node.id, from);
    return;
  }
  view_changed_ = true;
  // The next head must know whom to expect: it alone can tell that this node is dead.
  if (before_unknown) step.effects.add(Persist{0, node_key(join.node.id), encode(join.node)});
  step.effects.send(from, NodeAccepted{incarnation_, options_.term, options_.heartbeat_every});
  reconcile(step, join);
  if (!known) actors_.retry_all(step.now);
}

void Head::on(Step& step, ProcessId from, const Heartbeat& beat) {
  const Member* member = members_.find(beat.node);
  if (member == nullptr) {
    if (members_.dead().contains(beat.node)) refuse_dead(step, beat.node, from);
    return;
  }
  const Shape before = member->info.free;
  const bool suspected = member->suspected;
  if (!members_.heard(step.now, beat.node, beat.number, beat.free, beat.backlog)) return;
  step.effects.datagram(from, HeartbeatAck{incarnation_, beat.node, beat.number});
  if (suspected) view_changed_ = true;
  if (before != member->info.free) {
    load_changed_ = true;
    actors_.retry_all(step.now);
  }
}

void Head::refuse_dead(Step& step, NodeId id, ProcessId process) {
  if (!refused_.insert(id).second) return;
  hit(Branch::kDeadNodeRefused);
  step.effects.send(process,
                    Refused{{ErrorCode::kUnavailable,
                             "the head declared this node dead, because it was not heard for "
                             "longer than its term: it must start again under a new id"}});
}

void Head::node_died(Step& step, const Membership::Death& death) {
  view_changed_ = true;
  if (losses_.size() == kLossesMax) losses_.erase(losses_.begin());
  losses_.push_back({step.now, death.info.name, death.info.total});
  step.effects.add(Persist{0, dead_node_key(death.info.id), encode(death.info)});
  step.effects.add(Persist{0, node_key(death.info.id), std::nullopt});
  for (auto it = watchers_.begin(); it != watchers_.end();) {
    it->second.erase(death.info.id);
    it = it->second.empty() ? watchers_.erase(it) : std::next(it);
  }
  for (auto& [actor, asked] : questions_)
    question_count_ -= std::erase_if(asked, [&](auto& q) { return q.node == death.info.id; });
  std::erase_if(questions_, [](const auto& entry) { return entry.second.empty(); });
  for (const JobId job : jobs_.at_home(death.info.id))
    end_job(step, job, "its driver's " + death.cause);
  for (const ActorId actor : actors_.placed_on(death.info.id))
    actors_.exited(step.now, actor, actors_.find(actor)->info.incarnation, death.cause);
}

// Asks up to three neighbours, others each time, whether they hear the suspect.
void Head::probe(Step& step, NodeId suspect) {
  const Member* target = members_.find(suspect);
  if (target == nullptr) return;
  std::vector<const Member*> neighbours;
  for (const auto& [id, member] : members_.members())
    if (id != suspect && member.joined && !member.suspected) neighbours.push_back(&member);
  const std::size_t asked = std::min<std::size_t>(3, neighbours.size());
  for (std::size_t i = 0; i < asked; ++i) {
    const RequestId request{next_request_++};
    const Member& neighbour = *neighbours[(request.value + i) % neighbours.size()];
    probes_[request] = neighbour.info.id;
    if (probes_.size() > limits::kNodesMax) probes_.erase(probes_.begin());
    step.effects.datagram(neighbour.info.peer.id, ProbeNode{request, target->info.peer, suspect});
  }
}

void Head::on(Step&, ProcessId, const ProbePong& pong) {
  const auto it = probes_.find(pong.request);
  if (it == probes_.end()) return;
  if (const Member* through = members_.find(it->second))
    members_.reached(pong.node, through->info.name);
  probes_.erase(it);
}

// ---- jobs ------------------------------------------------------------------------------------

void Head::on(Step& step, ProcessId from, const StartJob& start) {
  if (members_.find(from) == nullptr) return;
  switch (jobs_.start(start.job, step.now.ns + options_.wall_offset_ns)) {
    case JobTable::Start::kStarted:
      step.effects.add(Persist{0, job_key(start.job.id), encode(jobs_.row(start.job.id))});
      [[fallthrough]];
    case JobTable::Start::kAlready:
      step.effects.send(from, JobStarted{start.request, start.job.id});
      break;
    case JobTable::Start::kEnded:
      step.effects.send(from, EndJob{start.job.id, "the job has ended already"});
      break;
    case JobTable::Start::kFull:
      step.effects.send(from, EndJob{start.job.id, "the cluster runs as many jobs as it may (" +
                                                       std::to_string(JobTable::kLivingMax) + ")"});
      break;
  }
}

void Head::on(Step& step, ProcessId from, const QueryJob& query) {
  if (members_.find(from) == nullptr) return;
  if (const Job* job = jobs_.living(query.job)) {
    step.effects.send(from, JobInfo{job->spec});
  } else {
    step.effects.send(from, EndJob{query.job, "the job is unknown to the head, or has ended"});
  }
}

void Head::on(Step& step, ProcessId from, const EndJob& end) {
  if (members_.find(from) == nullptr) return;
  if (jobs_.living(end.job) != nullptr) {
    end_job(step, end.job, end.cause);
  } else {
    step.effects.send(from, end);
  }
}

void Head::end_job(Step& step, JobId id, const std::string& cause) {
  jobs_.end(id, cause);
  step.effects.add(Persist{0, job_key(id), std::nullopt});
  const std::vector<ActorId> ended = actors_.end_job(id, "its job has ended: " + cause);
  tell_changes(step);
  for (const ActorId actor : ended) {
    step.effects.add(Persist{0, actor_key(actor), std::nullopt});
    watchers_.erase(actor);
    actors_.erase(actor);
  }
  for (const auto& [node, member] : members_.members())
    if (member.joined) step.effects.send(member.info.peer.id, EndJob{id, cause});
}

void Head::on(Step& step, ProcessId, const Shutdown& shutdown) {
  for (const auto& [node, member] : members_.members())
    if (member.joined) step.effects.send(member.info.peer.id, shutdown);
  step.effects.add(Exit{{ErrorCode::kCancelled, shutdown.cause}});
}

void Head::check_invariants() const {
  gate_.check_invariants();
  members_.check_invariants();
  jobs_.check_invariants();
  actors_.check_invariants();
  for (const auto& [actor, nodes] : watchers_) {
    RONDO_CHECK(!nodes.empty());
    for (const NodeId node : nodes) RONDO_CHECK(members_.find(node) != nullptr);
  }
  for (const auto& [id, entry] : actors_.all()) {
    RONDO_CHECK(jobs_.living(entry.spec.job) != nullptr);
    if (entry.info.node) RONDO_CHECK(members_.find(entry.info.node) != nullptr);
  }
  std::size_t questions = 0;
  for (const auto& [actor, asked] : questions_) questions += asked.size();
  RONDO_CHECK_EQ(questions, question_count_);
}

}  // namespace rondo::core
