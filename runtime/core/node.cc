#include <rondo/core/node.h>

#include <algorithm>
#include <utility>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>

// Node: joining, membership, deaths. Its other parts: node_jobs.cc (jobs, files, the head),
// node_workers.cc (worker processes and actors), node_leases.cc, node_store.cc.

namespace rondo::core {

Node::Node(Options options)
    : options_(std::move(options)),
      pool_(options_.seed),
      leases_(options_.self.total),
      store_({options_.self.id, options_.self.peer, options_.self.pid, options_.store_bytes}) {
  options_.self.free = options_.self.total;
  options_.self.alive = true;
}

void Node::start(TimeNs now, Effects& out) {
  Step step{now, out};
  if (options_.head.id) join(step);
}

void Node::on_message(TimeNs now, ProcessId from, const Message& message, Effects& out) {
  if (ended_) return;
  Step step{now, out};
  std::visit([&](const auto& m) { on(step, from, m); }, message);
}

void Node::on_deadline(TimeNs now, Effects& out) {
  if (ended_) return;
  Step step{now, out};
  std::uint64_t number = 0;
  if (term_.on_deadline(now, number, out)) {
    out.datagram(options_.head.id,
                 Heartbeat{options_.self.id, number, leases_.free(),
                           static_cast<std::uint32_t>(leases_.waiting())});
  }
  store_.on_deadline(now, out);
  for (const ProcessId id : pool_.overdue(now, options_.worker_start))
    stop_worker(step, id, "it did not report within " +
                              std::to_string(options_.worker_start.ns / 1'000'000'000) +
                              " s of its start");
  end_stale(step);
  keep_spares(step);
  for (const Lease& lease : leases_.revoke(now, options_.lease_hold))
    out.send(lease.owner, LeaseRevoke{lease.id});
  pump(step);
}

TimeNs Node::next_deadline() const {
  if (ended_) return kNever;
  TimeNs next = std::min(term_.next_deadline(), store_.next_deadline());
  next = std::min(next, leases_.next_revoke(options_.lease_hold));
  for (const auto& [id, job] : jobs_) next = std::min(next, job.spare_at);
  return std::min(next, pool_.next_deadline(options_.worker_start, options_.worker_idle,
                                            worker_cap() - options_.workers_extra));
}

// ---- joining ---------------------------------------------------------------------------------

void Node::on_head_changed(TimeNs now, const Peer& head, Effects& out) {
  if (ended_ || head.id == options_.head.id) return;
  Step step{now, out};
  if (options_.head.id) {
    hit(Branch::kNodeRejoined);
    out.add(Forget{options_.head.id});
  }
  options_.head = head;
  join(step);
}

void Node::join(Step& step) {
  const ProcessId head = options_.head.id;
  relay_.head_changed();
  term_.joining(step.now);
  step.out.learn(options_.head);
  Hello hello;
  hello.self = options_.self.peer;
  hello.role = Role::kNode;
  hello.pid = options_.self.pid;
  hello.version = limits::kProtocolVersion;
  hello.release = options_.release;
  step.out.send(head, hello);
  NodeJoin join;
  join.node = options_.self;
  join.node.free = leases_.free();
  for (const auto& [id, actor] : actors_) {
    ActorInfo info;
    info.id = id;
    info.name = actor.spec.name;
    info.class_name = actor.spec.class_name;
    info.incarnation = actor.incarnation;
    info.state = actor.alive ? ActorState::kAlive : ActorState::kStarting;
    info.node = options_.self.id;
    if (const Worker* worker = pool_.find(actor.worker); worker != nullptr && actor.alive) {
      info.process = worker->peer;
      info.pid = worker->pid;
    }
    join.living.push_back(std::move(info));
  }
  for (const auto& [id, info] : exits_) join.deaths.push_back(info);   // few, and short
  step.out.send(head, std::move(join));
}

void Node::on(Step& step, ProcessId from, const NodeAccepted& accepted) {
  if (from != options_.head.id) return;
  const bool again = term_.joined();
  term_.accepted(step.now, accepted, step.out);
  if (again) return;
  relay_.head_accepted(from, step.out);
  for (const auto& [id, job] : jobs_)   // one may have ended while no head told us
    if (job.spec.id) relay_.query_job(id, step.out);
  pump(step);
}

void Node::on(Step& step, ProcessId from, const HeartbeatAck& ack) {
  if (from == options_.head.id && ack.node == options_.self.id)
    term_.acknowledged(step.now, ack, step.out);
}

void Node::on(Step&, ProcessId from, const Welcome& welcome) {
  if (from == options_.head.id) cluster_ = welcome.cluster;
}

void Node::on(Step& step, ProcessId from, const Refused& refused) {
  if (from != options_.head.id) return;
  ended_ = true;
  step.out.add(Exit{refused.failure});
}

void Node::on(Step& step, ProcessId, const Shutdown& shutdown) {
  if (term_.joined()) step.out.send(options_.head.id, Goodbye{shutdown.cause});
  ended_ = true;
  step.out.add(Exit{{ErrorCode::kCancelled, shutdown.cause}});
}

void Node::on_link_broken(TimeNs now, ProcessId process, const std::string& why, Effects& out) {
  if (ended_) return;
  Step step{now, out};
  if (process == options_.head.id) {
    ended_ = true;
    out.add(Exit{{ErrorCode::kUnavailable, "the link to the head broke: " + why}});
  } else if (pool_.find(process) != nullptr) {
    stop_worker(step, process, "the link to it broke: " + why);
  } else if (const auto it = processes_.find(process); it != processes_.end()) {
    const std::int64_t pid = it->second.pid;
    process_gone(step, {process, options_.self.id, pid, "the link to it broke: " + why, {}});
  }
}

// ---- neighbours ------------------------------------------------------------------------------

void Node::on(Step& step, ProcessId from, const ProbeNode& probe) {
  if (from != options_.head.id) return;
  step.out.learn(probe.target);
  probes_[probe.request] = options_.head;
  if (probes_.size() > limits::kNodesMax) probes_.erase(probes_.begin());
  step.out.datagram(probe.target.id, ProbePing{probe.request, options_.self.peer});
}

void Node::on(Step& step, ProcessId from, const ProbePing& ping) {
  if (ping.reply_to.id != from) return;
  step.out.learn(ping.reply_to);
  step.out.datagram(from, ProbePong{ping.request, options_.self.id});
}

void Node::on(Step& step, ProcessId, const ProbePong& pong) {
  const auto it = probes_.find(pong.request);
  if (it == probes_.end()) return;
  step.out.datagram(it->second.id, pong);
  probes_.erase(it);
}

void Node::on(Step& step, ProcessId from, const ClusterView& view) {
  if (from != options_.head.id) return;
  view_version_ = view.version;
  std::map<NodeId, NodeInfo> others;
  for (const NodeInfo& info : view.nodes) {
    if (info.id == options_.self.id || book_.dead(info.id)) continue;
    if (info.alive) {
      if (!view_.contains(info.id)) step.out.learn(info.peer);
      others[info.id] = info;
    } else {
      node_lost(step, info);
    }
  }
  // A node that a new head has not met yet is neither alive nor dead: keep what we knew.
  for (const auto& [id, info] : view_)
    if (!book_.dead(id)) others.emplace(id, info);
  view_ = std::move(others);
  pump(step);
}

void Node::node_lost(Step& step, const NodeInfo& info) {
  const std::string cause = "its node " + info.name + " is dead";
  const std::vector<ProcessId> lived_there = book_.bury(info.id, cause);
  step.out.add(Forget{info.peer.id});
  tell_processes(step, ProcessDied{info.peer.id, info.id, info.pid, cause, {}});
  tell_processes(step, ProcessDied{{}, info.id, info.pid, cause, {}});
  for (const ProcessId process : lived_there)
    if (book_.bury(process, cause)) stranger_gone(step, process, cause);
  store_.node_died(step.now, info.id, step.out);
  files_.source_lost(info.peer.id, cause, step.out);
  take_files(step);
}

// ---- processes -------------------------------------------------------------------------------

void Node::on(Step& step, ProcessId from, const Hello& hello) {
  if (hello.self.id != from) return;
  step.out.learn(hello.self);
  if (hello.version != limits::kProtocolVersion) {
    step.out.send(from, Refused{{ErrorCode::kUnavailable,
                                 "the node speaks protocol " +
                                     std::to_string(limits::kProtocolVersion) + " (release " +
                                     options_.release + "), not " +
                                     std::to_string(hello.version) + " (release " +
                                     hello.release + "): install the same release everywhere"}});
    return;
  }
  if (processes_.contains(from)) return;
  Worker* worker = nullptr;
  if (hello.role == Role::kWorker) {
    worker = pool_.ready(step.now, hello.self, hello.pid);
    if (worker == nullptr) {
      step.out.send(from, Refused{{ErrorCode::kCancelled, "the node did not start this worker, "
                                                          "or does not want it any more"}});
      return;
    }
  }
  processes_[from] = {hello.self, hello.role, hello.pid, hello.job};
  step.out.send(from, Welcome{options_.self.id, options_.self.name, cluster_});
  if (worker != nullptr) worker_ready(step, *worker);
}

void Node::on(Step& step, ProcessId from, const Goodbye& goodbye) {
  const auto it = processes_.find(from);
  if (it == processes_.end() || it->second.role == Role::kWorker) return;   // pidfd will tell
  const std::int64_t pid = it->second.pid;
  process_gone(step, {from, options_.self.id, pid, "it ended: " + goodbye.reason, {}});
}

void Node::on_process_exited(TimeNs now, ProcessId process, const std::string& cause,
                             const std::vector<BegunMark>& begun, Effects& out) {
  if (ended_) return;
  Step step{now, out};
  const auto it = processes_.find(process);
  const std::int64_t pid = it == processes_.end() ? 0 : it->second.pid;
  if (it == processes_.end() && pool_.find(process) == nullptr) return;   // Goodbye came first
  process_gone(step, {process, options_.self.id, pid, cause, begun});
}

// One of ours is gone: everyone who may know it hears, its leases and memory come back.
void Node::process_gone(Step& step, const ProcessDied& died) {
  Process process;
  if (const auto it = processes_.find(died.process); it != processes_.end()) {
    process = it->second;
    processes_.erase(it);
  }
  const std::optional<Worker> worker = pool_.exited(died.process);
  ProcessDied told = died;
  if (worker && !worker->cause.empty()) told.cause = worker->cause + " (" + died.cause + ")";
  book_.bury(died.process, told.cause);
  step.out.add(Forget{died.process});
  relay_.process_gone(died.process);
  if (process.peer.id && process.role != Role::kClient) {
    tell_processes(step, told);
    for (const auto& [id, node] : view_) step.out.send(node.peer.id, told);
  }
  store_.process_died(step.now, died.process, step.out);
  if (worker) {
    if (!leases_.drop_worker(died.process).empty()) hit(Branch::kLeaseOfDeadWorker);
    worker_gone(step, *worker, told.cause);
  }
  leases_ended(step, leases_.drop_owner(died.process), "its owner ended: " + told.cause);
  if (process.role == Role::kDriver) {
    std::vector<JobId> driven;
    for (const auto& [id, j] : jobs_)
      if (j.spec.driver.id == died.process) driven.push_back(id);
    for (const JobId id : driven) {
      const std::string cause = "its driver ended: " + told.cause;
      relay_.end_job(id, cause, step.out);
      end_job(step, id, cause);
    }
  }
  pump(step);
}

// A process of another node is gone.
void Node::on(Step& step, ProcessId from, const ProcessDied& died) {
  if (died.node == options_.self.id || !died.process) return;
  const auto it = view_.find(died.node);
  if (it != view_.end() && it->second.peer.id != from) return;
  tell_processes(step, died);
  if (book_.bury(died.process, died.cause)) stranger_gone(step, died.process, died.cause);
  pump(step);
}

// Processes and nodes that are younger than a death have not been told of it: they ask.
void Node::on(Step& step, ProcessId from, const ProcessQuery& ask) {
  if (ask.node == options_.self.id ? processes_.contains(ask.process) : !ask.node) return;
  if (book_.dead(ask.process, ask.node)) {
    hit(Branch::kLateDeathTold);
    const std::string why = book_.why(ask.process, ask.node);
    step.out.send(from, ProcessDied{ask.process, ask.node, 0, why, {kAnyMayHaveBegun}});
  } else if (ask.node == options_.self.id) {
    step.out.send(from, ProcessDied{ask.process, ask.node, 0, "it ended some time ago",
                                    {kAnyMayHaveBegun}});
  } else if (const auto it = view_.find(ask.node); it != view_.end() && processes_.contains(from)) {
    step.out.send(it->second.peer.id, ask);
  }
}

// Whatever it had of us: links, leases, objects.
void Node::stranger_gone(Step& step, ProcessId process, const std::string& cause) {
  step.out.add(Forget{process});
  leases_ended(step, leases_.drop_owner(process), "its owner ended: " + cause);
  store_.process_died(step.now, process, step.out);
}

void Node::tell_processes(Step& step, const Message& message) {
  for (const auto& [id, process] : processes_) {
    if (process.role == Role::kClient) continue;
    const auto worker = pool_.all().find(id);   // one that is ending needs no news
    if (worker != pool_.all().end() && worker->second.state == Worker::State::kStopping) continue;
    step.out.send(id, message);
  }
}

JobId Node::job_of(ProcessId process) const {
  if (const auto it = pool_.all().find(process); it != pool_.all().end()) return it->second.job;
  const auto it = processes_.find(process);
  return it == processes_.end() ? JobId{} : it->second.job;
}

void Node::check_invariants() const {
  relay_.check_invariants();
  pool_.check_invariants();
  leases_.check_invariants();
  store_.check_invariants();
  files_.check_invariants();
  for (const auto& [id, lease] : leases_.leases()) {
    const Worker& worker = pool_.all().at(lease.worker);
    RONDO_CHECK(worker.leases.contains(id) || worker.state == Worker::State::kStopping);
    RONDO_CHECK_EQ(worker.waiting.contains(id), lease.waiting);
  }
  for (const auto& [id, worker] : pool_.all()) {
    for (const LeaseId lease : worker.leases) RONDO_CHECK(leases_.find(lease) != nullptr);
    if (worker.actor && worker.state != Worker::State::kStopping)
      RONDO_CHECK_EQ(actors_.at(worker.actor).worker, id);
  }
  for (const auto& [id, actor] : actors_) RONDO_CHECK(jobs_.contains(actor.spec.job));
  for (const auto& [id, info] : view_) RONDO_CHECK(!book_.dead(id));
}

}  // namespace rondo::core
