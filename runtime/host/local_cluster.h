#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rondo/base/result.h>
#include <rondo/core/link.h>
#include <rondo/core/types.h>

// A cluster of one's own: a head and its nodes on threads of this process, for a driver that names
// no address, and for tests.
//
// The driver talks to it through sockets like to any other: nothing is shared but the process. Its
// workers are child processes. They end with it however it ends: by the destructor, or by the
// kernel when this process is killed; a folder that a killed one left is removed by the next start.
//
// Any thread may start and destroy one, and read what is const; several may live in one process.
// Not for children after fork without exec.

namespace rondo::host {

class LocalCluster {
 public:
  struct Options {
    unsigned nodes = 1;
    double cpus_per_node = 0;        // 0: this machine's, as its cgroup allows
    std::uint64_t store_bytes = 0;   // of each node; 0: 30 % of memory over all nodes
    std::uint64_t memory_bytes = 0;  // that each node may lend; 0: the machine's
    std::string home;                // "": RONDO_HOME's rules (store/dirs.h)
    bool show_logs = true;           // workers' lines on this process's stderr
  };

  // kUnavailable, in one sentence: no folder of ours, no room in it, no descriptors.
  static Result<std::unique_ptr<LocalCluster>> start(Options options);
  // Kills the workers, ends the threads, removes the folder. At most about a second.
  ~LocalCluster();
  LocalCluster(const LocalCluster&) = delete;
  LocalCluster& operator=(const LocalCluster&) = delete;

  // The first node, where a driver says Hello.
  [[nodiscard]] core::Peer node() const;
  [[nodiscard]] core::Peer node(unsigned index) const;  // Requires: index < options.nodes.
  [[nodiscard]] core::Peer head() const;
  [[nodiscard]] core::Token token() const;
  [[nodiscard]] std::string socket_folder() const;  // drivers bind "ipc://FOLDER/d-ID" there
  [[nodiscard]] std::string folder() const;         // all that it keeps on disk

  // Whatever workers have printed so far is on stderr when this returns.
  void flush_logs();

 private:
  struct State;
  explicit LocalCluster(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace rondo::host
