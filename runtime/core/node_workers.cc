#include <algorithm>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/base/branch_marks.h>
#include <rondo/core/node.h>

// Node: worker processes, and the actors that they house.

namespace rondo::core {

std::size_t Node::worker_cap() const {
  return static_cast<std::size_t>(std::max<std::int64_t>(options_.self.total.cpu_milli / 1000, 1)) +
         options_.workers_extra;
}

ProcessId Node::start_worker(Step& step, const Job& job, const Shape& shape, ActorId actor,
                             const std::string& label) {
  RONDO_CHECK(job.state == Job::State::kReady);
  const ProcessId id = pool_.start(step.now, job.spec.id);
  step.out.add(StartWorker{id, job.spec, shape, actor, label});
  return id;
}

void Node::stop_worker(Step& step, ProcessId id, const std::string& cause) {
  Worker* worker = pool_.find(id);
  if (worker == nullptr || worker->state == Worker::State::kStopping) return;
  pool_.stop(*worker, cause);
  step.out.add(StopWorker{id, cause});
}

void Node::worker_ready(Step& step, Worker& worker) {
  const auto job = jobs_.find(worker.job);
  if (job != jobs_.end()) job->second.start_failures = 0;
  if (worker.actor) {
    const auto it = actors_.find(worker.actor);
    if (it == actors_.end() || it->second.worker != worker.peer.id) return;
    step.out.send(worker.peer.id, CreateActor{it->second.spec, it->second.incarnation});
    return;
  }
  pump(step);
}

void Node::worker_gone(Step& step, const Worker& worker, const std::string& cause) {
  if (worker.actor) {
    const auto it = actors_.find(worker.actor);
    if (it != actors_.end() && it->second.worker == worker.peer.id)
      actor_gone(step, worker.actor, cause, false);
  }
  if (worker.state == Worker::State::kStarting ||
      (worker.state == Worker::State::kStopping && worker.pid == 0))
    start_failed(step, worker, cause);
}

// Workers that cannot even start are not tried for ever.
void Node::start_failed(Step& step, const Worker& worker, const std::string& cause) {
  const auto it = jobs_.find(worker.job);
  if (it == jobs_.end() || ++it->second.start_failures < kStartFailuresMax) return;
  hit(Branch::kWorkerNotStarted);
  it->second.start_failures = 0;
  it->second.spare_at = kNever;
  for (const LeaseWish& wish : leases_.cancel_job(worker.job))
    refuse(step, wish, {ErrorCode::kUnavailable, "no worker could be started: " + cause});
}

// A spare is a worker that has done nothing yet: the next birth or restart takes it.
void Node::keep_spares(Step& step) {
  for (auto& [id, job] : jobs_) {
    if (job.spare_at > step.now) continue;
    job.spare_at = kNever;
    if (job.state != Job::State::kReady || pool_.fresh(id, true) != nullptr) continue;
    if (pool_.task_workers(id) >= worker_cap()) continue;
    start_worker(step, job, {}, {}, "tasks");
  }
}

void Node::end_stale(Step& step) {
  const std::size_t keep = worker_cap() - options_.workers_extra;
  for (const ProcessId id : pool_.stale(step.now, options_.worker_idle, keep))
    stop_worker(step, id, "it was idle");
}

// ---- actors ----------------------------------------------------------------------------------

void Node::on(Step& step, ProcessId from, const StartActor& start) {
  if (from != options_.head.id) return;
  if (relay_.ending(start.job.id)) return;   // a head that has not heard yet; it will
  const ActorId id = start.spec.id;
  if (const auto exit = exits_.find(id);
      exit != exits_.end() && exit->second.incarnation >= start.incarnation) {
    step.out.send(from, ActorExited{id, exit->second.incarnation, exit->second.cause, false});
    return;
  }
  if (const auto it = actors_.find(id); it != actors_.end()) {
    if (it->second.incarnation >= start.incarnation) return;
    actor_gone(step, id, "a later incarnation of it was born", false);
  }
  relay_.job_known(start.job.id);
  learn_job(step, start.job);
  LocalActor& actor = actors_[id];
  actor.spec = start.spec;
  actor.incarnation = start.incarnation;
  leases_.take_actor(start.spec.shape);
  const Job& job = jobs_.at(start.job.id);
  if (job.state == Job::State::kFailed) {
    actor_gone(step, id, job.failure.text, false);
  } else if (job.state == Job::State::kReady) {
    give_worker(step, actor);
  }
}

void Node::give_worker(Step& step, LocalActor& actor) {
  const Job& job = jobs_.at(actor.spec.job);
  const std::string label = actor.spec.name.empty()
                                ? actor.spec.class_name
                                : actor.spec.class_name + " " + actor.spec.name;
  Worker* fresh = pool_.fresh(actor.spec.job, true);
  if (fresh != nullptr) step.out.add(LabelWorker{fresh->peer.id, actor.spec.id, label});
  else fresh = pool_.find(start_worker(step, job, actor.spec.shape, actor.spec.id, label));
  pool_.house(*fresh, actor.spec.id, actor.incarnation);
  actor.worker = fresh->peer.id;
  if (fresh->state == Worker::State::kReady)
    step.out.send(fresh->peer.id, CreateActor{actor.spec, actor.incarnation});
  pump(step);   // a starting worker may have been meant for a lease
}

void Node::on(Step& step, ProcessId from, const ActorCreated& created) {
  const auto it = actors_.find(created.actor);
  if (it == actors_.end() || it->second.worker != from ||
      it->second.incarnation != created.incarnation || it->second.alive)
    return;
  LocalActor& actor = it->second;
  if (!created.failure.empty()) {
    actor_gone(step, created.actor, created.failure.front().text, true);
    return;
  }
  actor.alive = true;
  const Worker& worker = *pool_.find(from);
  ActorInfo info;
  info.id = actor.spec.id;
  info.name = actor.spec.name;
  info.class_name = actor.spec.class_name;
  info.incarnation = actor.incarnation;
  info.state = ActorState::kAlive;
  info.process = worker.peer;
  info.node = options_.self.id;
  info.pid = worker.pid;
  info.max_task_retries = actor.spec.max_task_retries;
  info.max_pending = actor.spec.max_pending;
  tell_head(step, ActorStarted{info});
  if (options_.prestart && actor.spec.max_restarts != 0)
    jobs_.at(actor.spec.job).spare_at = step.now + kSpareAfter;
}

void Node::on(Step& step, ProcessId from, const StopActor& stop) {
  if (from != options_.head.id) return;
  const auto it = actors_.find(stop.actor);
  if (it != actors_.end() && it->second.incarnation <= stop.incarnation)
    actor_gone(step, stop.actor, stop.cause, false);
}

// This incarnation is over: its worker with it, whatever state it is in.
void Node::actor_gone(Step& step, ActorId id, const std::string& cause, bool constructor_threw) {
  const auto it = actors_.find(id);
  const LocalActor actor = std::move(it->second);
  actors_.erase(it);
  leases_.give_actor(actor.spec.shape);
  ActorInfo exit;
  exit.id = id;
  exit.name = actor.spec.name;
  exit.class_name = actor.spec.class_name;
  exit.incarnation = actor.incarnation;
  exit.state = ActorState::kDead;
  exit.node = options_.self.id;
  exit.cause = cause;
  remember_exit(exit);
  tell_head(step, ActorExited{id, actor.incarnation, cause, constructor_threw});
  stop_worker(step, actor.worker, cause);
}

// To the head that has our NodeJoin, also before it has answered that: this comes after it.
void Node::tell_head(Step& step, const Message& message) {
  if (options_.head.id) step.out.send(options_.head.id, message);
}

void Node::remember_exit(ActorInfo exit) {
  if (exit.cause.size() > kExitCauseMax) exit.cause.resize(kExitCauseMax);
  if (exits_.insert_or_assign(exit.id, exit).second) exit_order_.push_back(exit.id);
  if (exit_order_.size() > kExitsMax) {
    exits_.erase(exit_order_.front());
    exit_order_.pop_front();
  }
}

}  // namespace rondo::core
