#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <rondo/base/time.h>

// The flags of every verb, as they stand on the command line. Values.

namespace rondo::cli {

struct ClusterOptions {
  std::string cluster = "main";  // its folder in RONDO_HOME
  std::string listen;            // "": a socket in that folder
  double heartbeat_s = 0.5;
  double suspect_s = 2;
  double term_s = 5;
};

struct NodeOptions {
  std::string head;     // "": the one cluster in RONDO_HOME
  std::string name;     // "": the first of n1, n2, ... that is free
  std::string cluster;  // "": the head's, if it is in this RONDO_HOME
  double cpus = 0;      // 0: the machine's
  std::uint64_t memory_bytes = 0;
  std::uint64_t store_bytes = 0;  // 0: 30 % of memory
  std::string token_file;
};

struct UpOptions {
  ClusterOptions cluster;
  unsigned nodes = 1;
  bool detach = false;
  double cpus = 0;  // of each node; 0: the machine's, shared out
  std::uint64_t memory_bytes = 0;
  std::uint64_t store_bytes = 0;
};

struct AskOptions {
  std::string address;
  std::string what;             // list: nodes, ...; logs: the id
  std::string output = "text";  // or json
  int tail = 0;                 // logs: the last lines only
};

inline DurationNs duration(double seconds) { return {static_cast<std::int64_t>(seconds * 1e9)}; }

// Throws Exit(kUsage) for times out of order, or an address that nothing of ours may listen at.
void check(const ClusterOptions& options);

// The verbs: each returns its exit code or throws Exit.
int run_head(const ClusterOptions& options);
int run_node(const NodeOptions& options);
int run_up(const UpOptions& options);
int run_down(const AskOptions& options);
int run_status(const AskOptions& options);
int run_list(const AskOptions& options);
int run_logs(const AskOptions& options);

// `rondo X` where X is not one of ours: becomes rondo-X, or throws with what was perhaps meant.
int run_other(const std::string& verb, char** arguments, const std::vector<std::string>& own);

}  // namespace rondo::cli
