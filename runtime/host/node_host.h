#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <rondo/base/result.h>
#include <rondo/core/node.h>
#include <rondo/host/daemon_loop.h>
#include <rondo/host/fd_watch.h>
#include <rondo/host/job_files.h>
#include <rondo/host/log_forwarder.h>
#include <rondo/host/worker_processes.h>
#include <rondo/store/dirs.h>
#include <rondo/store/extent_server.h>
#include <rondo/store/hold_table.h>

// A node as a daemon: core::Node, its loop, its worker processes, its shared memory and its files.
//
// It finds a head that was started again by itself: it greets the head's address whenever the head
// has been silent. It ends, with every worker, when a head refuses it, when it is asked to, or by
// `stop`.
//
// `open`, `run` or `start`+`join`, then destruction: one thread. `stop`, `drain_logs`: any thread.

namespace rondo::host {

struct NodeHostOptions {
  std::string name;
  core::Address listen;
  core::Peer head;  // id 0: whoever listens at that address
  core::Token token;
  store::ClusterPaths paths;  // its own folder in there exists
  std::string socket_folder;  // for its workers; "": ports of the loopback
  core::Shape total;          // what it lends
  std::uint64_t store_bytes = 0;
  // A worker's line, as people see it, on this process's own terminal. Empty: lines go to the job's
  // driver. Any thread.
  std::function<void(const std::string&)> show;
  std::shared_ptr<net::ZmqContext> context;
};

class NodeHost final : private Daemon {
 public:
  using Options = NodeHostOptions;
  static Result<std::unique_ptr<NodeHost>> open(Options options);
  ~NodeHost() override;  // Requires: not running. Kills what is left of its workers.

  [[nodiscard]] const core::Peer& self() const { return loop_->self(); }
  [[nodiscard]] NodeId id() const { return id_; }
  void run() { loop_->run(*this); }
  void start() { loop_->start(*this); }
  // Says goodbye, kills the workers, ends; last words have so long to be acknowledged.
  void stop(const std::string& reason, DurationNs patience = milliseconds(500));
  void join() { loop_->join(); }
  void drain_logs();
  // After run: why it ended, if nobody called stop. kCancelled: it was asked to.
  [[nodiscard]] const std::optional<core::Failure>& failure() const { return failure_; }

 private:
  struct Unheld {  // freed, but perhaps still read
    std::uint32_t extent = 0;
    std::uint32_t generation = 0;
  };

  explicit NodeHost(Options options);
  Result<void> prepare();
  Result<void> prepare_store();
  Result<void> prepare_workers();
  void on_start(TimeNs now, core::Effects& out) override;
  void on_peer(TimeNs now, const core::Peer& peer, core::Effects& out) override;
  void on_message(TimeNs now, ProcessId from, const core::Message&, core::Effects& out) override;
  void on_broken(TimeNs now, ProcessId peer, const std::string& why, core::Effects& out) override;
  void on_deadline(TimeNs now, core::Effects& out) override;
  [[nodiscard]] TimeNs next_deadline() const override;
  void carry_out(TimeNs now, core::Effect effect, core::Effects& more) override;
  void before_send(ProcessId to, core::Message& message) override;
  void end_turn(TimeNs) override {}

  // One a kind of effect.
  void on(TimeNs now, core::StartWorker&, core::Effects& more);
  void on(TimeNs now, core::LabelWorker&, core::Effects& more);
  void on(TimeNs now, core::StopWorker&, core::Effects& more);
  void on(TimeNs now, core::CheckFiles&, core::Effects& more);
  void on(TimeNs now, core::ReadFile&, core::Effects& more);
  void on(TimeNs now, core::WriteFile&, core::Effects& more);
  void on(TimeNs now, core::CreateExtent&, core::Effects& more);
  void on(TimeNs now, core::DestroyExtent&, core::Effects& more);
  void on(TimeNs now, core::WatchExtent&, core::Effects& more);
  void on(TimeNs now, core::ReadChunk&, core::Effects& more);
  void on(TimeNs now, core::WriteChunk&, core::Effects& more);
  void on(TimeNs now, core::RenewTerm&, core::Effects& more);
  void on(TimeNs now, core::Fenced&, core::Effects& more);
  void on(TimeNs now, core::Unfenced&, core::Effects& more);
  void on(TimeNs now, core::Answer&, core::Effects& more);
  void on(TimeNs now, core::ShowLog&, core::Effects& more);
  void on(TimeNs now, core::Exit&, core::Effects& more);
  template <class T>
  void on(TimeNs, T&, core::Effects&) {}  // a head's

  void met(TimeNs now, const core::Hello& hello, core::Effects& out);
  void head_spoke(TimeNs now, ProcessId from, core::Effects& out);
  void seek_head(TimeNs now);
  void look_at_processes(TimeNs now, core::Effects& out);
  void gone(TimeNs now, const WorkerProcesses::Gone& gone, core::Effects& out);
  void look_at_unheld(TimeNs now, core::Effects& out);
  void forget_job(JobId job);
  void remove_socket(ProcessId process);
  void keep_log(ProcessId worker);
  void show(const WorkerLines& lines);
  [[nodiscard]] core::Inspected log_of(const core::ShowLog& wanted) const;
  void end(core::Failure failure);

  Options options_;
  NodeId id_;
  std::unique_ptr<DaemonLoop> loop_;
  std::unique_ptr<core::Node> node_;
  std::optional<core::Failure> failure_;

  core::Peer head_;
  TimeNs head_heard_;                                     // its last word
  DurationNs heartbeat_every_ = limits::kHeartbeatEvery;  // as the head said
  TimeNs seek_at_;                                        // when to greet its address

  std::map<ProcessId, core::Role> locals_;   // drivers and clients that said Hello
  std::map<JobId, core::Peer> drivers_;      // of the jobs that have workers here
  std::set<JobId> ended_jobs_;               // whose workers are not all gone yet
  std::map<ActorId, ProcessId> actor_logs_;  // the latest worker of each actor
  std::deque<ProcessId> dead_logs_;          // workers that ended, whose logs are still there
  std::shared_ptr<store::GenerationBoard> board_;
  std::unique_ptr<store::ExtentServer> extents_;
  store::HoldScanner holds_;
  std::vector<Unheld> unheld_;
  TimeNs unheld_at_ = kNever;
  DurationNs unheld_every_;

  std::unique_ptr<WorkerProcesses> workers_;
  std::unique_ptr<LogForwarder> logs_;
  std::unique_ptr<JobFiles> files_;
  std::unique_ptr<WorkThread> memory_;  // makes and gives back large extents
  std::unique_ptr<FdWatch> watch_;      // last: its thread posts to the loop
};

}  // namespace rondo::host
