#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <rondo/base/ids.h>
#include <rondo/base/time.h>
#include <rondo/exec/process_launcher.h>
#include <rondo/exec/process_watcher.h>

// Keeps a few daemons running: starts each again when it dies, and ends all of them together.
//
// A daemon that was asked to end (exit code 0) stays away; one that falls again and again within a
// second of its start is given up, and with it everything. Children end with this process, however
// it ends. One thread.

namespace rondo::cli {

class Supervisor {
 public:
  struct Child {
    std::string name;                    // "head", "node n1"
    std::vector<std::string> arguments;  // of this program
    std::string log_path;
  };
  explicit Supervisor(std::string program) : program_(std::move(program)) {}

  void add(Child child);  // starts it; throws Exit when it cannot be started
  [[nodiscard]] int fd() const { return watcher_.fd(); }  // readable: `look` has something
  // Reaps and starts again. The sentence: why all must end; "" : the head was asked to end.
  std::optional<std::string> look();
  // When `look` is due without a death: a restart that was put off.
  [[nodiscard]] TimeNs next_deadline() const;

  void ask_all(int signal);  // to end: from now on nobody is started again
  [[nodiscard]] bool any() const;
  void end_all(DurationNs patience);  // waits so long for those asked, then kills
  [[nodiscard]] std::int64_t pid_of(const std::string& name) const;

 private:
  struct Running {
    Child child;
    ProcessId id;
    std::int64_t pid = 0;  // 0: not running
    TimeNs started;
    TimeNs restart_at = kNever;
    unsigned quick_deaths = 0;
    bool asked_to_end = false;
  };
  void start(Running& running);
  std::optional<std::string> died(Running& running, const exec::Exit& exit);

  std::string program_;
  bool ending_ = false;
  std::vector<Running> running_;
  exec::ProcessWatcher watcher_;
  exec::ProcessLauncher launcher_;  // last: ends first
};

}  // namespace rondo::cli
