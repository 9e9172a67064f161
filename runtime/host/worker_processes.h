#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <rondo/core/effects.h>
#include <rondo/core/link.h>
#include <rondo/exec/process_launcher.h>
#include <rondo/exec/process_watcher.h>
#include <rondo/store/marks_page.h>

// The worker processes of a node, and the other local processes whose end it must notice: starts,
// signals, deaths and their causes in words.
//
// A worker is `expected`, then launched (its program is found first, on another thread), then gone:
// `poll` or `failed` tells it once. The node's loop thread only, except where said. Destruction
// kills what is left.

namespace rondo::host {

class WorkerProcesses {
 public:
  struct Options {
    core::Peer node;
    NodeId node_id;
    std::string node_name;
    core::Token token;
    std::string socket_folder;
    std::string logs_folder;
    std::function<void()> wake;  // any thread: poll has something
  };
  struct Worker {
    core::JobSpec job;
    core::Shape shape;
    ActorId actor;
    std::string label;
    std::string log_path;
    std::int64_t pid = 0;  // 0: not launched yet
    bool launching = false;
    std::string stop_cause;  // "": nobody stopped it
    std::unique_ptr<store::MarksPage> marks;
  };
  struct Gone {
    ProcessId process;
    bool worker = false;
    JobId job;
    std::string cause;
    std::vector<core::BegunMark> begun;
  };
  struct Changes {
    std::vector<ProcessId> launched;
    std::vector<Gone> gone;
  };

  explicit WorkerProcesses(Options options);

  // A descriptor that becomes readable when `poll` has something.
  [[nodiscard]] int fd() const { return watcher_.fd(); }

  Result<void> expect(const core::StartWorker& start);
  // It serves this actor from now on. False: it is gone.
  bool give(ProcessId worker, ActorId actor, const std::string& label);
  // `poll` tells how it went. Nothing, if it was stopped meanwhile.
  void launch(ProcessId worker, const std::string& executable, const std::string& library_folder);
  std::optional<Gone> failed(ProcessId worker, const std::string& cause);
  // Gone: nothing was launched yet. Otherwise `poll` will tell.
  std::optional<Gone> stop(ProcessId worker, const std::string& cause);

  // A driver or client of this machine. kNotFound: it is gone already.
  Result<void> watch_other(ProcessId process, std::int64_t pid);
  void forget_other(ProcessId process) { watcher_.forget(process); }
  [[nodiscard]] Changes poll();

  void set_term_end(TimeNs end);  // of all, and of those to come
  [[nodiscard]] const Worker* find(ProcessId worker) const;
  [[nodiscard]] bool any_of(JobId job) const;
  [[nodiscard]] std::string log_path(ProcessId worker) const;
  void kill_all();  // and waits until they are gone

 private:
  using Landed = std::pair<ProcessId, Result<exec::Launched>>;
  void land(Landed landed);  // any thread
  void take_landed(Changes& changes);
  Gone bury(ProcessId worker, const std::string& cause);
  [[nodiscard]] std::string cause_of(const Worker& worker, const exec::Exit& exit) const;

  Options options_;
  TimeNs term_end_ = kNever;
  std::map<ProcessId, Worker> workers_;
  exec::ProcessWatcher watcher_;
  std::mutex mutex_;
  std::vector<Landed> landed_;                       // guarded by mutex_
  std::unique_ptr<exec::ProcessLauncher> launcher_;  // last: ends first
};

}  // namespace rondo::host
