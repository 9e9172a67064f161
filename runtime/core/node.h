#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <rondo/base/limits.h>
#include <rondo/base/prng.h>
#include <rondo/core/effects.h>

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
  NodeInfo self;           // total: what it may lend; peer: where it listens
  Peer head;               // the head at the start; id 0: not known yet (on_head_changed follows)
  std::uint64_t seed = 0;  // of the ids of its workers: unique to this life of the node
  std::string release;
  std::uint64_t store_bytes = 0;    // the bound of its store
  std::uint32_t workers_extra = 2;  // task workers of a job beyond whole cpus
  bool prestart = true;  // keep a worker warm at a job's home and beside actors that may restart
  DurationNs worker_idle = limits::kWorkerIdle;
  DurationNs worker_start = limits::kWorkerStart;
  DurationNs heartbeat_every = limits::kHeartbeatEvery;
  DurationNs lease_hold =
      milliseconds(100);  // while others wait, a lease is called back after this
};

class Node {
 public:
  using Options = NodeOptions;

  explicit Node(Options);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  void start(TimeNs now, Effects& out);  // says Hello and joins, if the head is known
  void on_message(TimeNs now, ProcessId from, const Message&, Effects& out);
  void on_deadline(TimeNs now, Effects& out);
  [[nodiscard]] TimeNs next_deadline() const;

  // A head listens under another process id: the old one is gone. Joins the new one.
  void on_head_changed(TimeNs now, const Peer& head, Effects& out);
  // A worker, driver or client of this node has ended (pidfd), or a worker could not be started.
  // `begun` are the marks that it left: which calls may have begun.
  void on_process_exited(TimeNs now, ProcessId, const std::string& cause,
                         const std::vector<BegunMark>& begun, Effects& out);
  // Answers to effects.
  void on_files_checked(TimeNs now, JobId, const std::vector<std::string>& missing_hashes,
                        const std::optional<Failure>& failure, Effects& out);
  void on_file_written(TimeNs now, const std::string& hash, bool ok, Effects& out);
  void on_extent_created(TimeNs now, std::uint32_t extent, std::int64_t fd,
                         Effects& out);  // fd -1: it failed
  void on_extent_unheld(TimeNs now, std::uint32_t extent, std::uint32_t generation, Effects& out);

  [[nodiscard]] bool joined() const { return joined_; }
  [[nodiscard]] bool fenced() const { return fenced_; }
  void check_invariants() const;

 private:
  bool joined_ = false;
  bool fenced_ = false;
};

}  // namespace rondo::core
