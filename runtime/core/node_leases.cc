#include <algorithm>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/base/branch_marks.h>
#include <rondo/core/node.h>
#include <rondo/core/placement.h>

// Node: lending workers to owners of tasks.

namespace rondo::core {

void Node::on(Step& step, ProcessId from, const LeaseRequest& ask) {
  if (ask.owner.id != from || book_.dead(from, ask.owner_node)) return;
  if (!processes_.contains(from)) book_.meet(from, ask.owner_node, ask.owner.address);
  step.out.learn(ask.owner);
  LeaseWish wish;
  wish.request = ask.request;
  wish.owner = ask.owner;
  wish.job = ask.job;
  wish.shape = ask.shape;
  wish.hops = ask.hops;
  wish.since = step.now;
  if (leases_.full()) {
    refuse(step, wish, {ErrorCode::kOverloaded, "too many lease requests wait at this node"});
    return;
  }
  ask_job(step, ask.job);
  if (leases_.ask(wish)) pump(step);
}

void Node::on(Step&, ProcessId from, const LeaseCancel& cancel) {
  if (cancel.owner == from) leases_.cancel(cancel.owner, cancel.request);
}

void Node::on(Step& step, ProcessId from, const LeaseReturn& back) {
  if (back.owner != from) return;
  const std::optional<Lease> lease = leases_.give_back(back.lease, back.owner);
  if (!lease) return;
  if (Worker* worker = pool_.find(lease->worker)) pool_.release(step.now, *worker, lease->id);
  pump(step);
}

void Node::on(Step& step, ProcessId from, const WaitBegin& wait) {
  if (!leases_.wait_begin(wait.lease, from)) return;
  pool_.find(from)->waiting.insert(wait.lease);
  pump(step);
}

void Node::on(Step& step, ProcessId from, const WaitEnd& wait) {
  const Lease* lease = leases_.find(wait.lease);
  if (lease == nullptr || lease->worker != from || !lease->waiting) {
    step.out.send(from, WaitResume{wait.lease});   // its lease is gone: nothing to wait for
    return;
  }
  leases_.wait_end(wait.lease, from);
  pump(step);
}

// Gives what is free to who is next: first the tasks that wake up, then the requests in turn.
void Node::pump(Step& step) {
  for (const Lease& lease : leases_.resume()) {
    pool_.find(lease.worker)->waiting.erase(lease.id);
    step.out.send(lease.worker, WaitResume{lease.id});
  }
  if (leases_.waiting() == 0) return;
  std::map<JobId, std::size_t> starting;   // workers on their way that nobody counted on yet
  for (const auto& [id, job] : jobs_) starting[id] = pool_.starting(id);
  Shape room = leases_.resumes_wait() ? Shape{} : leases_.free();
  for (const LeaseWish& wish : leases_.in_turn())
    if (!serve(step, wish, starting, room)) break;
}

// One request's turn. False: nobody behind it may be served.
bool Node::serve(Step& step, const LeaseWish& wish, std::map<JobId, std::size_t>& starting,
                 Shape& room) {
  if (!wish.shape.fits_in(options_.self.total)) {
    if (view_version_ != 0 && !redirect(step, wish, true))
      refuse(step, wish, {ErrorCode::kInvalid,
                          "it needs " + describe(wish.shape) + " on one node, and no node has that "
                          "(this one has " + describe(options_.self.total) + ")"});
    return true;
  }
  const auto it = jobs_.find(wish.job);
  if (it == jobs_.end()) {
    ask_job(step, wish.job);
    return true;
  }
  const Job& job = it->second;
  if (job.state == Job::State::kFailed) {
    refuse(step, wish, job.failure);
    return true;
  }
  if (!wish.shape.fits_in(room)) {
    if (wish.hops < kHopsMax && redirect(step, wish, false)) return true;
    return step.now - wish.since < options_.lease_hold * 5;   // then the room is kept for it
  }
  if (job.state != Job::State::kReady) return true;
  Worker* worker = pool_.idle(wish.job, wish.owner.id);
  const bool at_cap = pool_.task_workers(wish.job) >= worker_cap();
  if (worker == nullptr && at_cap) worker = pool_.all_wait(wish.job, wish.owner.id);
  if (worker != nullptr) {
    grant(step, wish, *worker);
    room -= wish.shape;
    return true;
  }
  if (starting[wish.job] > 0) {
    --starting[wish.job];
    room -= wish.shape;
  } else if (!at_cap) {
    start_worker(step, job, wish.shape, {}, "tasks");
    room -= wish.shape;
  }
  return true;
}

void Node::grant(Step& step, const LeaseWish& wish, Worker& worker) {
  const Lease lease = leases_.grant(step.now, wish.owner.id, wish.request, worker.peer.id);
  pool_.lease(worker, lease.id);
  step.out.send(wish.owner.id,
                LeaseGrant{wish.request, lease.id, worker.peer, options_.self.id});
}

void Node::refuse(Step& step, const LeaseWish& wish, const Failure& failure) {
  leases_.cancel(wish.owner.id, wish.request);
  step.out.send(wish.owner.id, LeaseRefused{wish.request, failure});
}

// To the node with the most room, as far as we know; `anywhere`: one that could ever serve it.
bool Node::redirect(Step& step, const LeaseWish& wish, bool anywhere) {
  NodeInfo* best = nullptr;
  for (auto& [id, node] : view_) {
    if (!wish.shape.fits_in(anywhere ? node.total : node.free)) continue;
    if (!anywhere && wish.shape == Shape{}) continue;
    if (best == nullptr || best->free.cpu_milli < node.free.cpu_milli) best = &node;
  }
  if (best == nullptr) return false;
  best->free -= wish.shape;   // until the next view: not everyone to the same
  leases_.cancel(wish.owner.id, wish.request);
  step.out.send(wish.owner.id, LeaseRedirect{wish.request, best->peer});
  return true;
}

// Leases whose owner is gone: a worker that serves nobody else runs its children, and ends.
void Node::leases_ended(Step& step, const std::vector<Lease>& ended, const std::string& cause) {
  for (const Lease& lease : ended) {
    hit(Branch::kLeaseReclaimed);
    Worker* worker = pool_.find(lease.worker);
    if (worker == nullptr) continue;
    pool_.release(step.now, *worker, lease.id);
    if (worker->leases.empty()) stop_worker(step, lease.worker, cause);
  }
}

}  // namespace rondo::core
