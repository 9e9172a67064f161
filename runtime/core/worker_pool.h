#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <rondo/base/prng.h>
#include <rondo/base/time.h>
#include <rondo/core/types.h>

// WorkerPool: the worker processes of a node, from their start to their end.
//
// A worker belongs to one job. It serves leases, or it houses one actor for its whole life; a
// *fresh* worker has done neither yet and may become either, which makes births and restarts quick.
// A worker whose running tasks all wait may be leased again when no more processes may start.

namespace rondo::core {

struct Worker {
  Peer peer;                   // its address comes with its Hello
  std::int64_t pid = 0;
  JobId job;
  enum class State { kStarting, kReady, kStopping } state = State::kStarting;
  bool ran_task = false;
  ActorId actor;               // it houses this one
  Incarnation incarnation;
  std::set<LeaseId> leases;
  std::set<LeaseId> waiting;   // of these, whose tasks wait
  TimeNs since;                // it starts, or is idle, since then
  std::string cause;           // why it was stopped

  [[nodiscard]] bool idle() const { return state == State::kReady && leases.empty() && !actor; }
  [[nodiscard]] bool fresh() const { return !ran_task && !actor && leases.empty(); }
};

class WorkerPool {
 public:
  explicit WorkerPool(std::uint64_t seed) : ids_(seed) {}

  ProcessId start(TimeNs now, JobId);
  Worker* ready(TimeNs now, const Peer&, std::int64_t pid);   // nullptr: none that starts
  void stop(Worker&, std::string cause);
  std::optional<Worker> exited(ProcessId);

  void lease(Worker&, LeaseId);
  void release(TimeNs now, Worker&, LeaseId);
  void house(Worker&, ActorId, Incarnation);

  [[nodiscard]] Worker* find(ProcessId);
  [[nodiscard]] const std::map<ProcessId, Worker>& all() const { return workers_; }
  [[nodiscard]] std::size_t starting(JobId) const;      // for tasks
  [[nodiscard]] std::size_t task_workers(JobId) const;  // not stopping, without actor
  // For a lease: an idle one, those that ran tasks first; never the owner itself.
  [[nodiscard]] Worker* idle(JobId, ProcessId owner);
  [[nodiscard]] Worker* all_wait(JobId, ProcessId owner);   // every lease of it waits; fewest first
  [[nodiscard]] Worker* fresh(JobId, bool starting_too);    // for an actor: ready ones first
  [[nodiscard]] std::vector<ProcessId> overdue(TimeNs now, DurationNs start_within) const;
  [[nodiscard]] std::vector<ProcessId> stale(TimeNs now, DurationNs idle_for,
                                             std::size_t keep) const;
  [[nodiscard]] TimeNs next_deadline(DurationNs start_within, DurationNs idle_for,
                                     std::size_t keep) const;
  void check_invariants() const;

 private:
  Prng ids_;
  std::map<ProcessId, Worker> workers_;
};

}  // namespace rondo::core
