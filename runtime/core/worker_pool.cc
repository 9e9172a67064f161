#include <rondo/core/worker_pool.h>

#include <algorithm>
#include <utility>

#include <rondo/base/check.h>

namespace rondo::core {

ProcessId WorkerPool::start(TimeNs now, JobId job) {
  ProcessId id{ids_.next()};
  while (!id || workers_.contains(id)) id = {ids_.next()};
  Worker& worker = workers_[id];
  worker.peer.id = id;
  worker.job = job;
  worker.since = now;
  return id;
}

Worker* WorkerPool::ready(TimeNs now, const Peer& peer, std::int64_t pid) {
  Worker* worker = find(peer.id);
  if (worker == nullptr || worker->state != Worker::State::kStarting) return nullptr;
  worker->state = Worker::State::kReady;
  worker->peer = peer;
  worker->pid = pid;
  worker->since = now;
  return worker;
}

void WorkerPool::stop(Worker& worker, std::string cause) {
  if (worker.state == Worker::State::kStopping) return;
  worker.state = Worker::State::kStopping;
  worker.cause = std::move(cause);
}

std::optional<Worker> WorkerPool::exited(ProcessId id) {
  const auto it = workers_.find(id);
  if (it == workers_.end()) return std::nullopt;
  Worker worker = std::move(it->second);
  workers_.erase(it);
  return worker;
}

void WorkerPool::lease(Worker& worker, LeaseId id) {
  RONDO_CHECK(worker.state == Worker::State::kReady && !worker.actor);
  worker.ran_task = true;
  worker.leases.insert(id);
}

void WorkerPool::release(TimeNs now, Worker& worker, LeaseId id) {
  worker.leases.erase(id);
  worker.waiting.erase(id);
  if (worker.leases.empty()) worker.since = now;
}

void WorkerPool::house(Worker& worker, ActorId actor, Incarnation incarnation) {
  RONDO_CHECK(worker.fresh() && worker.state != Worker::State::kStopping);
  worker.actor = actor;
  worker.incarnation = incarnation;
}

Worker* WorkerPool::find(ProcessId id) {
  const auto it = workers_.find(id);
  return it == workers_.end() ? nullptr : &it->second;
}

std::size_t WorkerPool::starting(JobId job) const {
  return static_cast<std::size_t>(
      std::count_if(workers_.begin(), workers_.end(), [&](const auto& entry) {
        const Worker& w = entry.second;
        return w.job == job && w.state == Worker::State::kStarting && !w.actor;
      }));
}

std::size_t WorkerPool::task_workers(JobId job) const {
  return static_cast<std::size_t>(
      std::count_if(workers_.begin(), workers_.end(), [&](const auto& entry) {
        const Worker& w = entry.second;
        return w.job == job && w.state != Worker::State::kStopping && !w.actor;
      }));
}

Worker* WorkerPool::idle(JobId job, ProcessId owner) {
  Worker* best = nullptr;
  for (auto& [id, worker] : workers_) {
    if (!worker.idle() || worker.job != job || id == owner) continue;
    if (best == nullptr || (worker.ran_task && !best->ran_task)) best = &worker;
  }
  return best;
}

Worker* WorkerPool::all_wait(JobId job, ProcessId owner) {
  Worker* best = nullptr;
  for (auto& [id, worker] : workers_) {
    if (worker.state != Worker::State::kReady || worker.actor || worker.job != job || id == owner)
      continue;
    if (worker.leases.empty() || worker.waiting.size() != worker.leases.size()) continue;
    if (best == nullptr || worker.leases.size() < best->leases.size()) best = &worker;
  }
  return best;
}

Worker* WorkerPool::fresh(JobId job, bool starting_too) {
  Worker* best = nullptr;
  for (auto& [id, worker] : workers_) {
    if (!worker.fresh() || worker.job != job) continue;
    if (worker.state == Worker::State::kReady) return &worker;
    if (worker.state == Worker::State::kStarting && starting_too && best == nullptr)
      best = &worker;
  }
  return best;
}

std::vector<ProcessId> WorkerPool::overdue(TimeNs now, DurationNs start_within) const {
  std::vector<ProcessId> out;
  for (const auto& [id, worker] : workers_)
    if (worker.state == Worker::State::kStarting && now - worker.since >= start_within)
      out.push_back(id);
  return out;
}

std::vector<ProcessId> WorkerPool::stale(TimeNs now, DurationNs idle_for, std::size_t keep) const {
  std::map<JobId, std::vector<const Worker*>> idle;
  for (const auto& [id, worker] : workers_)
    if (worker.idle()) idle[worker.job].push_back(&worker);
  std::vector<ProcessId> out;
  for (auto& [job, workers] : idle) {
    if (workers.size() <= keep) continue;
    std::stable_sort(workers.begin(), workers.end(), [](const Worker* a, const Worker* b) {
      return a->since < b->since;
    });
    for (std::size_t i = 0; i < workers.size() - keep; ++i)
      if (now - workers[i]->since >= idle_for) out.push_back(workers[i]->peer.id);
  }
  return out;
}

TimeNs WorkerPool::next_deadline(DurationNs start_within, DurationNs idle_for,
                                 std::size_t keep) const {
  TimeNs next = kNever;
  std::map<JobId, std::vector<TimeNs>> idle;
  for (const auto& [id, worker] : workers_) {
    if (worker.state == Worker::State::kStarting)
      next = std::min(next, worker.since + start_within);
    if (worker.idle()) idle[worker.job].push_back(worker.since);
  }
  for (auto& [job, since] : idle)
    if (since.size() > keep)
      next = std::min(next, *std::min_element(since.begin(), since.end()) + idle_for);
  return next;
}

void WorkerPool::check_invariants() const {
  for (const auto& [id, worker] : workers_) {
    RONDO_CHECK_EQ(id, worker.peer.id);
    if (worker.actor) RONDO_CHECK(worker.leases.empty());
    for (const LeaseId lease : worker.waiting) RONDO_CHECK(worker.leases.contains(lease));
    if (worker.state == Worker::State::kStarting) RONDO_CHECK(worker.leases.empty());
  }
}

}  // namespace rondo::core
