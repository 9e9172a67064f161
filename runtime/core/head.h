#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <rondo/base/limits.h>
#include <rondo/core/actor_directory.h>
#include <rondo/core/effects.h>
#include <rondo/core/job_table.h>
#include <rondo/core/membership.h>
#include <rondo/core/persist_gate.h>
#include <rondo/core/placement.h>

// Head: the cluster's registry office. It knows which nodes live, which jobs run, and for every
// actor its birth, its incarnation and its death; it never hears of tasks or calls.
//
// Everything that it acknowledges is a row first: effects that follow a Persist are held back until
// that row is durable, answers to reads included. A head that is killed starts again from its rows,
// waits for its nodes to join and to say what lives there, and declares no node dead before it has
// itself lived a whole membership term plus drift.
//
// Loop thread only. Never blocks, never reads a clock. The host calls on_deadline at next_deadline
// or later, also if other inputs came in between.

namespace rondo::core {

struct HeadOptions {
  Peer self;
  std::int64_t pid = 0;
  std::uint64_t cluster = 0;   // random, told to everyone who says Hello
  std::string release;
  DurationNs term = limits::kMembershipTerm;
  DurationNs heartbeat_every = limits::kHeartbeatEvery;
  DurationNs suspect_after = limits::kSuspectAfter;
  DurationNs drift = limits::kClockDrift;
  // A fresh head waits so long for nodes before it says "can never be placed".
  DurationNs settle = limits::kSuspectAfter;
  std::int64_t wall_offset_ns = 0;   // wall clock = now + this: for people only
};

class Head {
 public:
  using Options = HeadOptions;
  using Row = std::pair<std::string, Bytes>;

  static constexpr std::size_t kWatchesMax = 1'000'000;      // actors that somebody watches
  static constexpr std::size_t kQuestionsMax = 65'536;       // by name, while a node is awaited
  static constexpr DurationNs kRetryPlacement = milliseconds(200);
  static constexpr std::size_t kLossesMax = 64;              // of nodes, remembered

  explicit Head(Options);
  Head(const Head&) = delete;
  Head& operator=(const Head&) = delete;

  // First of all, once: the rows that an earlier head left (none: a new cluster). Raises this
  // head's incarnation.
  void start(TimeNs now, std::span<const Row> rows, Effects& out);

  void on_message(TimeNs now, ProcessId from, const Message&, Effects& out);
  void on_deadline(TimeNs now, Effects& out);
  // Every row up to `number` is on disk.
  void on_durable(TimeNs now, std::uint64_t number, Effects& out);
  // The link to this process broke: a node is lost with it.
  void on_link_broken(TimeNs now, ProcessId, Effects& out);
  [[nodiscard]] TimeNs next_deadline() const;   // kNever: nothing to do

  [[nodiscard]] Incarnation incarnation() const { return incarnation_; }
  [[nodiscard]] const Membership& membership() const { return members_; }
  [[nodiscard]] const ActorDirectory& actors() const { return actors_; }
  [[nodiscard]] const JobTable& jobs() const { return jobs_; }
  void check_invariants() const;

 private:
  struct Step {
    TimeNs now;
    Effects effects;
  };
  struct Loss {   // of a node: it may come back, under another id
    TimeNs at;
    std::string name;
    Shape total;
  };
  struct Question {   // WatchActor by name, whose answer waits for a node
    NodeId node;
    RequestId request;
  };

  bool restore(TimeNs now, const Row&);
  void finish(Step&, Effects& out);
  void tell_changes(Step&);
  void send_view(Step&);

  template <class T>
  void on(Step&, ProcessId, const T&) {}   // what a head has no business with
  void on(Step&, ProcessId, const Hello&);
  void on(Step&, ProcessId, const Goodbye&);
  void on(Step&, ProcessId, const NodeJoin&);
  void on(Step&, ProcessId, const Heartbeat&);
  void on(Step&, ProcessId, const ProbePong&);
  void on(Step&, ProcessId, const StartJob&);
  void on(Step&, ProcessId, const QueryJob&);
  void on(Step&, ProcessId, const EndJob&);
  void on(Step&, ProcessId, const SpawnActor&);
  void on(Step&, ProcessId, const WatchActor&);
  void on(Step&, ProcessId, const KillActor&);
  void on(Step&, ProcessId, const ActorStarted&);
  void on(Step&, ProcessId, const ActorExited&);
  void on(Step&, ProcessId, const Inspect&);
  void on(Step&, ProcessId, const Shutdown&);

  void reconcile(Step&, const NodeJoin&);
  void refuse_dead(Step&, NodeId, ProcessId);
  void node_died(Step&, const Membership::Death&);
  void probe(Step&, NodeId suspect);
  void end_job(Step&, JobId, const std::string& cause);
  void place_due(Step&);
  void place_one(Step&, ActorId);
  void start_on(Step&, ActorId);
  void not_wanted(Step&, const ActorInfo&);
  void stop_on(Step&, NodeId, ActorId, Incarnation, const std::string& cause);
  [[nodiscard]] std::vector<Candidate> candidates() const;
  [[nodiscard]] TimeNs wait_for_nodes_until(const Shape&) const;
  [[nodiscard]] std::string why_nowhere(const Shape&, const std::vector<Candidate>&) const;
  void answer(Step&, NodeId, RequestId, const ActorInfo&);
  void watch(NodeId, ActorId);
  [[nodiscard]] Listing list_nodes() const;
  [[nodiscard]] Listing list_actors() const;
  [[nodiscard]] Listing list_jobs() const;
  [[nodiscard]] Listing status() const;

  Options options_;
  Incarnation incarnation_;
  TimeNs started_;
  TimeNs settled_at_;                // from then on all nodes are known
  bool ended_ = false;
  PersistGate gate_;
  Membership members_;
  std::vector<Loss> losses_;         // the latest last
  JobTable jobs_;
  ActorDirectory actors_;
  std::map<ActorId, std::set<NodeId>> watchers_;
  std::map<ActorId, std::vector<Question>> questions_;
  std::size_t question_count_ = 0;
  std::set<ActorId> killed_early_;   // before their SpawnActor came
  std::map<RequestId, NodeId> probes_;
  std::uint64_t next_request_ = 1;
  std::set<NodeId> refused_;         // dead nodes that were told so
  std::uint64_t view_version_ = 0;
  bool view_changed_ = false;        // somebody's standing: tell at once
  bool load_changed_ = false;        // somebody's free share: tell within a period
  TimeNs view_sent_;
};

}  // namespace rondo::core
