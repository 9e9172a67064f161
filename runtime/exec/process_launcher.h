#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <rondo/base/bytes.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// Starts processes that die with their parent.
//
// The kernel ends such a child when the *thread* that started it ends, so one thread of the
// launcher's own starts them all and lives until the launcher is destroyed. Requires: the launcher
// lives as long as the node; destroying it kills what it started. The child gets a session of its
// own (Ctrl-C reaches only the driver), exactly the descriptors named, and default signals.
//
// Any thread. A failure is one sentence: the executable is missing, may not be run, is of another
// machine. A library that the loader does not find shows only after the start: exit code 127 and
// the loader's words in the log.

namespace rondo::exec {

struct LaunchSpec {
  // path; only a name for errors if executable_fd is given
  std::string executable;
  int executable_fd = -1;
  std::vector<std::string> arguments;            // argv, with argv[0]
  std::vector<std::string> environment;          // "K=V", all of it
  std::string directory;                         // "": the parent's
  std::vector<std::pair<int, int>> descriptors;  // (ours, the child's number): 3 and above
  // stdout and stderr are appended to it; "": the parent's own
  std::string log_path;
  int output_fd = -1;  // instead of a log: a pipe or socket
  bool own_session = true;
  bool dies_with_parent = true;
};

struct Launched {
  pid_t pid = 0;
  OwnedFd pidfd;
};

class ProcessLauncher {
 public:
  ProcessLauncher();
  ~ProcessLauncher();
  ProcessLauncher(const ProcessLauncher&) = delete;
  ProcessLauncher& operator=(const ProcessLauncher&) = delete;

  using Done = std::function<void(Result<Launched>)>;
  // `done` is called on the launcher's thread; it must not wait
  void launch(LaunchSpec spec, Done done);
  Result<Launched> launch(LaunchSpec spec);  // waits (about a millisecond)

 private:
  struct Order {
    LaunchSpec spec;
    Done done;
  };
  void run();

  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<Order> orders_;  // guarded by mutex_
  bool ending_ = false;       // guarded by mutex_
  std::thread thread_;
};

}  // namespace rondo::exec
