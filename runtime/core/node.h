#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <rondo/base/limits.h>
#include <rondo/core/effects.h>
#include <rondo/core/job_files.h>
#include <rondo/core/lease_table.h>
#include <rondo/core/node_relay.h>
#include <rondo/core/node_term.h>
#include <rondo/core/peer_book.h>
#include <rondo/core/store_directory.h>
#include <rondo/core/worker_pool.h>

// Node: what one machine of the cluster does for its processes. It starts and buries worker
// processes, lends them to owners of tasks (leases), gives actors a process, keeps the books of the
// shared-memory store, and carries the questions of its processes to the head and the answers back.
//
// While the head is away everything local goes on for a membership term; questions wait, and are
// asked again of the next head. Past the term the node's workers stay silent (RenewTerm, Fenced)
// until a head confirms the node. A head that has declared the node dead refuses it: then the node
// ends (Exit) and starts again as another one.
//
// Loop thread only. Never blocks, never reads a clock.

namespace rondo::core {

struct NodeOptions {
  NodeInfo self;                        // total: what it may lend; peer: where it listens
  Peer head;                            // id 0: not known yet, on_head_changed follows
  std::uint64_t seed = 0;               // of its workers' ids: unique to this life of the node
  std::string release;
  std::uint64_t store_bytes = 0;        // the bound of its store
  std::uint32_t workers_extra = 2;      // task workers of a job beyond whole cpus
  bool prestart = true;                 // a worker is warm at home and beside actors that restart
  DurationNs worker_idle = limits::kWorkerIdle;
  DurationNs worker_start = limits::kWorkerStart;
  DurationNs lease_hold = milliseconds(100);   // then a lease is called back if others wait
};

class Node {
 public:
  using Options = NodeOptions;

  static constexpr std::uint32_t kHopsMax = 2;               // redirects of one request
  static constexpr std::uint32_t kStartFailuresMax = 3;      // in a row; then requests are refused
  static constexpr std::size_t kExitsMax = 1'024;      // deaths remembered for the next head:
  static constexpr std::size_t kExitCauseMax = 256;    // they must fit into one NodeJoin
  static constexpr DurationNs kSpareAfter = milliseconds(300);   // from a birth to the next spare

  explicit Node(Options);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  void start(TimeNs now, Effects& out);   // first of all: joins, if the head is known
  void on_message(TimeNs now, ProcessId from, const Message&, Effects& out);
  void on_deadline(TimeNs now, Effects& out);
  [[nodiscard]] TimeNs next_deadline() const;   // kNever: nothing to do

  // A head listens under another process id: the old one is gone. Joins the new one.
  void on_head_changed(TimeNs now, const Peer& head, Effects& out);
  // A worker, driver or client of this node has ended (pidfd), or a worker could not be started.
  // `begun` are the marks that it left: which calls may have begun.
  void on_process_exited(TimeNs now, ProcessId, const std::string& cause,
                         const std::vector<BegunMark>& begun, Effects& out);
  // The link to this process broke: it is of no use any more, and is ended.
  void on_link_broken(TimeNs now, ProcessId, const std::string& why, Effects& out);
  // Answers to effects.
  void on_files_checked(TimeNs now, JobId, const std::vector<std::string>& missing_hashes,
                        const std::optional<Failure>& failure, Effects& out);
  void on_file_written(TimeNs now, const std::string& hash, bool ok, Effects& out);
  void on_extent_created(TimeNs now, std::uint32_t extent, std::int64_t fd, Effects& out);
  void on_extent_unheld(TimeNs now, std::uint32_t extent, std::uint32_t generation, Effects& out);

  [[nodiscard]] bool joined() const { return term_.joined(); }
  [[nodiscard]] bool fenced() const { return term_.fenced(); }
  [[nodiscard]] const WorkerPool& workers() const { return pool_; }
  [[nodiscard]] const LeaseTable& leases() const { return leases_; }
  [[nodiscard]] const StoreDirectory& store() const { return store_; }
  void check_invariants() const;

 private:
  struct Step {
    TimeNs now;
    Effects& out;
  };
  struct Process {               // said Hello and lives here
    Peer peer;
    Role role = Role::kWorker;
    std::int64_t pid = 0;
    JobId job;
  };
  struct Job {
    JobSpec spec;
    enum class State { kAsked, kChecking, kFetching, kReady, kFailed } state = State::kAsked;
    Failure failure;             // kFailed
    std::uint32_t start_failures = 0;
    TimeNs spare_at = kNever;    // a warm worker is due
  };
  struct LocalActor {
    ActorSpec spec;
    Incarnation incarnation;
    ProcessId worker;            // 0: waits for the job's files
    bool alive = false;
  };

  template <class T>
  void on(Step&, ProcessId, const T&) {}   // what a node has no business with
  // node.cc: joining, membership, deaths
  void on(Step&, ProcessId, const Hello&);
  void on(Step&, ProcessId, const Welcome&);
  void on(Step&, ProcessId, const Refused&);
  void on(Step&, ProcessId, const Goodbye&);
  void on(Step&, ProcessId, const NodeAccepted&);
  void on(Step&, ProcessId, const HeartbeatAck&);
  void on(Step&, ProcessId, const ProbeNode&);
  void on(Step&, ProcessId, const ProbePing&);
  void on(Step&, ProcessId, const ProbePong&);
  void on(Step&, ProcessId, const ClusterView&);
  void on(Step&, ProcessId, const ProcessDied&);
  void on(Step&, ProcessId, const ProcessQuery&);
  void on(Step&, ProcessId, const Shutdown&);
  // node_relay_messages.cc: between processes and the head
  void on(Step&, ProcessId, const StartJob&);
  void on(Step&, ProcessId, const JobStarted&);
  void on(Step&, ProcessId, const JobInfo&);
  void on(Step&, ProcessId, const EndJob&);
  void on(Step&, ProcessId, const SpawnActor&);
  void on(Step&, ProcessId, const WatchActor&);
  void on(Step&, ProcessId, const ActorUpdate&);
  void on(Step&, ProcessId, const KillActor&);
  void on(Step&, ProcessId, const Inspect&);
  // node_actors.cc
  void on(Step&, ProcessId, const StartActor&);
  void on(Step&, ProcessId, const StopActor&);
  void on(Step&, ProcessId, const ActorCreated&);
  // node_leases.cc
  void on(Step&, ProcessId, const LeaseRequest&);
  void on(Step&, ProcessId, const LeaseCancel&);
  void on(Step&, ProcessId, const LeaseReturn&);
  void on(Step&, ProcessId, const WaitBegin&);
  void on(Step&, ProcessId, const WaitEnd&);
  // the store, node_store.cc
  void on(Step&, ProcessId, const ExtentRequest&);
  void on(Step&, ProcessId, const ExtentReturn&);
  void on(Step&, ProcessId, const ObjectSealed&);
  void on(Step&, ProcessId, const ObjectOpen&);
  void on(Step&, ProcessId, const ObjectFree&);
  void on(Step&, ProcessId, const ChunkRequest&);
  void on(Step&, ProcessId, const Chunk&);
  void on(Step&, ProcessId, const ChunkMissing&);

  void join(Step&);
  void process_gone(Step&, const ProcessDied&);
  void tell_processes(Step&, const Message&);
  void node_lost(Step&, const NodeInfo&);
  void stranger_gone(Step&, ProcessId, const std::string& cause);
  void learn_job(Step&, const JobSpec&);
  void ask_job(Step&, JobId);
  void job_ready(Step&, Job&);
  void job_failed(Step&, Job&, const Failure&);
  void take_files(Step&);
  void end_job(Step&, JobId, const std::string& cause);
  [[nodiscard]] JobId job_of(ProcessId) const;

  ProcessId start_worker(Step&, const Job&, const Shape&, ActorId, const std::string& label);
  void stop_worker(Step&, ProcessId, const std::string& cause);
  void worker_ready(Step&, Worker&);
  void worker_gone(Step&, const Worker&, const std::string& cause);
  void start_failed(Step&, const Worker&, const std::string& cause);
  void keep_spares(Step&);
  void end_stale(Step&);

  void give_worker(Step&, LocalActor&);
  void actor_gone(Step&, ActorId, const std::string& cause, bool constructor_threw);
  void tell_head(Step&, const Message&);
  void remember_exit(ActorInfo);

  void pump(Step&);
  bool serve(Step&, const LeaseWish&, std::map<JobId, std::size_t>& starting, Shape& room);
  bool redirect(Step&, const LeaseWish&, bool anywhere);
  void grant(Step&, const LeaseWish&, Worker&);
  void refuse(Step&, const LeaseWish&, const Failure&);
  void leases_ended(Step&, const std::vector<Lease>&, const std::string& cause);
  [[nodiscard]] std::size_t worker_cap() const;
  [[nodiscard]] Listing list_workers() const;
  [[nodiscard]] Listing status() const;

  Options options_;
  NodeTerm term_;
  NodeRelay relay_;
  WorkerPool pool_;
  LeaseTable leases_;
  StoreDirectory store_;
  JobFiles files_;
  std::map<ProcessId, Process> processes_;
  std::map<JobId, Job> jobs_;
  std::map<ActorId, LocalActor> actors_;
  std::map<ActorId, ActorInfo> exits_;       // the last death of each actor here, for a new head
  std::deque<ActorId> exit_order_;
  std::map<NodeId, NodeInfo> view_;          // the other nodes
  PeerBook book_;                            // processes of other nodes; the dead of every node
  std::uint64_t view_version_ = 0;
  std::map<RequestId, Peer> probes_;         // who asked us to ask
  std::uint64_t cluster_ = 0;
  bool ended_ = false;
};

}  // namespace rondo::core
