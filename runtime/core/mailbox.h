#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include <rondo/core/process_port.h>

// The executing side: calls that arrived, in order, and the ones that run.
//
// Picture counters in a post office. An actor is one counter: whoever comes is served in order, one
// at a time. A lease is a counter too. A clerk who must wait for something sends the queue of a
// lease away (it is served elsewhere), while an actor's queue waits with him.
//
// Loop only; the running call's record stays where it is until `finish`, so the executing thread
// may read it.

namespace rondo::core {

struct Incoming {
  ProcessId from;
  CallHeader head;
  ByteView payload;  // inside `frame`
  std::vector<RefEntry> refs;
  SharedBytes frame;
};

class Mailbox {
 public:
  explicit Mailbox(ProcessPort& port) : port_(port) {}

  void host_actor(ActorId, Incarnation);  // constructed: calls to it may run
  [[nodiscard]] bool hosts_actor() const { return static_cast<bool>(actor_); }
  [[nodiscard]] ActorId actor() const { return actor_; }

  void on_call(Incoming);
  [[nodiscard]] const Incoming& incoming(RunId run) const { return *runs_[run.index].call; }
  // The run is over (its reply was written by Process); its counter serves the next.
  void finish(RunId);

  // The run waits. A lease's queue goes back to its owner; the lease is returned for WaitBegin
  // (none for actors).
  std::optional<LeaseId> wait_begin(RunId);
  [[nodiscard]] std::vector<RunId> waiting_on(LeaseId) const;
  void wait_end(RunId);

  void on_process_died(ProcessId);  // its queued calls are dropped, its leases end
  [[nodiscard]] std::size_t running() const { return running_; }
  [[nodiscard]] std::size_t waiting() const { return waiting_; }
  [[nodiscard]] std::size_t queued() const;
  // For wait probes: the run that has this call, or that it queues behind.
  [[nodiscard]] std::optional<RunId> run_before(ProcessId from, std::uint32_t slot,
                                                std::uint32_t generation) const;
  // A queued call is taken out, unanswered (it closes a cycle of waits).
  std::optional<Incoming> take_queued(ProcessId from, std::uint32_t slot, std::uint32_t generation);
  void check_invariants() const;

 private:
  struct Run {
    std::optional<Incoming> call;
    std::uint64_t counter = 0;
    bool waiting = false;
  };
  struct Counter {
    std::deque<Incoming> queue;
    std::optional<std::uint32_t> running;
    ProcessId owner;
  };

  void serve(std::uint64_t key, Counter&);
  void give_back(const Incoming&, ReplyStatus, const std::string& text);
  static constexpr std::uint64_t kActorCounter = 0;

  ProcessPort& port_;
  ActorId actor_;
  Incarnation incarnation_;
  std::map<std::uint64_t, Counter> counters_;  // kActorCounter, else by lease
  std::deque<Run> runs_;
  std::vector<std::uint32_t> free_runs_;
  std::size_t running_ = 0;
  std::size_t waiting_ = 0;
};

}  // namespace rondo::core
