#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

// One thread for work that a loop must not wait for: disks, hashes, large memory. In order; any
// thread may add. `finish`, or destruction, waits for the task at hand and drops the rest. An owner
// whose tasks reach this thread through its own pointer calls `finish` before that pointer goes.

namespace rondo::host {

class WorkThread {
 public:
  explicit WorkThread(const std::string& name);
  ~WorkThread();
  WorkThread(const WorkThread&) = delete;
  WorkThread& operator=(const WorkThread&) = delete;

  void run(std::function<void()> task);
  void finish();                    // the owner only; what is added later never runs
  [[nodiscard]] bool idle() const;  // nothing waits and nothing runs

 private:
  void loop();

  mutable std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool busy_ = false;                        // guarded by mutex_
  bool ending_ = false;                      // guarded by mutex_
  std::thread thread_;
};

}  // namespace rondo::host
