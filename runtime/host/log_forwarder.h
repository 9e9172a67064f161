#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <rondo/base/ids.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>
#include <rondo/exec/log_tail.h>

// Follows the logs of a node's workers and hands on what they print, in whole lines.
//
// A thread of its own sleeps on inotify and calls `sink`; `finish` calls it on the caller's thread,
// so that a dead worker's last lines come before the news of its death. One call of `sink` at a
// time. Any thread may use it. A log that cannot be read is silent here; the file is the record.

namespace rondo::host {

struct WorkerLines {
  ProcessId worker;
  JobId job;
  std::string label;
  std::int64_t pid = 0;
  std::vector<std::string> lines;
};

class LogForwarder {
 public:
  using Sink = std::function<void(const WorkerLines&)>;
  // kUnavailable: the folder cannot be watched (inotify's limits).
  static Result<std::unique_ptr<LogForwarder>> open(const std::string& folder, Sink sink);
  ~LogForwarder();
  LogForwarder(const LogForwarder&) = delete;
  LogForwarder& operator=(const LogForwarder&) = delete;

  void follow(ProcessId worker, JobId job, std::string label, std::int64_t pid,
              const std::string& path);
  void label(ProcessId worker, std::string label);  // of its lines from now on
  void finish(ProcessId worker);  // its rest, then no more
  void drain();                   // what all have printed so far

 private:
  struct Followed {
    WorkerLines head;  // without lines
    exec::LogFollower follower;
  };
  LogForwarder(OwnedFd inotify, OwnedFd ending, Sink sink);
  void run();
  void look();
  void pass_on(Followed& followed, bool all);

  OwnedFd inotify_;
  OwnedFd ending_;
  Sink sink_;
  std::mutex mutex_;
  std::map<ProcessId, Followed> followed_;  // guarded by mutex_
  std::thread thread_;
};

// "(Counter c, n1, pid 12) text": one line as people see it.
[[nodiscard]] std::string shown_line(const std::string& label, const std::string& node_name,
                                     std::int64_t pid, const std::string& line);

}  // namespace rondo::host
