#pragma once

#include <functional>
#include <thread>

#include <rondo/base/owned_fd.h>

// Ctrl-C, TERM and HUP as events: they are blocked in every thread from here on and read on a
// thread of their own, which calls `on_signal` with the number each time. Make it before any other
// thread.
//
// For programs that end in an orderly way of their own: the daemons, `rondo up`, `rondo train`. A
// HUP that is ignored at the start (nohup) stays ignored.
//
// With `insist`, a second signal means it: a process that has not ended a second later is ended,
// with the code of the first signal. What it leaves is removed by the next start.

namespace rondo {

class EndSignals {
 public:
  explicit EndSignals(std::function<void(int)> on_signal, bool insist = false);
  ~EndSignals();
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;

 private:
  void run();
  void end_soon(int first);
  const bool insist_;
  std::function<void(int)> on_signal_;
  OwnedFd signals_;
  OwnedFd ending_;
  std::thread thread_;
};

}  // namespace rondo
