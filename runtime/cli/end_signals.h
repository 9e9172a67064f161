#pragma once

#include <functional>
#include <thread>

#include <rondo/base/owned_fd.h>

// Ctrl-C and TERM as events: they are blocked in every thread from here on and read on a thread of
// their own, which calls `on_signal` with the number each time. Make it before any other thread.

namespace rondo::cli {

class EndSignals {
 public:
  explicit EndSignals(std::function<void(int)> on_signal);
  ~EndSignals();
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;

 private:
  void run();
  std::function<void(int)> on_signal_;
  OwnedFd signals_;
  OwnedFd ending_;
  std::thread thread_;
};

}  // namespace rondo::cli
