#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <rondo/base/ids.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>
#include <rondo/base/time.h>
#include <rondo/exec/process_launcher.h>

// Learns of processes' deaths within milliseconds: pidfds in one epoll set, whose descriptor a loop
// polls.
//
// Watches children (their exit status is collected, so no zombie is left) and other processes of
// the machine, such as drivers (only that they are gone). One thread at a time.

namespace rondo::exec {

struct Exit {
  ProcessId process;
  pid_t pid = 0;
  // "killed by signal 9 (SIGKILL)", "exited with code 1", "exited", "is gone"
  std::string cause;
  std::optional<int> code;  // exited by itself
  std::optional<int> signal;
};

class ProcessWatcher {
 public:
  ProcessWatcher();
  ~ProcessWatcher();
  ProcessWatcher(const ProcessWatcher&) = delete;
  ProcessWatcher& operator=(const ProcessWatcher&) = delete;

  [[nodiscard]] int fd() const { return epoll_.get(); }  // readable: poll() has something

  void watch_child(ProcessId process, Launched child);
  Result<void> watch_other(ProcessId process, pid_t pid);  // kNotFound: gone already
  void forget(ProcessId process);                          // a child is still reaped
  [[nodiscard]] std::vector<Exit> poll();                  // never waits; each exit once

  bool signal(ProcessId process, int number);  // false: not watched or gone
  bool kill(ProcessId process);                // SIGKILL
  [[nodiscard]] std::size_t size() const { return watched_.size(); }

  // Waits until every child has exited, at most this long. What is left then is killed and waited
  // for.
  std::vector<Exit> wait_all(DurationNs limit);

 private:
  struct Watched {
    ProcessId process;
    pid_t pid = 0;
    OwnedFd pidfd;
    bool child = false;
    bool forgotten = false;
  };
  void add(Watched watched);
  std::optional<Exit> take(std::uint64_t key);

  OwnedFd epoll_;
  std::uint64_t next_key_ = 1;
  std::map<std::uint64_t, Watched> watched_;
  std::map<ProcessId, std::uint64_t> keys_;
};

[[nodiscard]] std::string signal_name(int number);  // "SIGKILL"

}  // namespace rondo::exec
