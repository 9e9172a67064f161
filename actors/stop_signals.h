#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>

#include <rondo/base/end_signals.h>

// Ctrl-C, TERM and HUP in a program that trains.
//
// While nothing is worth saving, the first signal ends the program at once, in whatever it is
// doing. Once there is, the first one asks: a flag is raised, and the run saves and stops. The
// second always ends it at once.
//
// "At once" is on a thread of its own, while others go on: `end` must take along what the program
// made and not return. Make this first in main, before any other thread. Any thread.

namespace rondo::actors {

class StopSignals {
 public:
  // `end` gets the exit code: 130 after Ctrl-C, 143 after TERM.
  explicit StopSignals(std::function<void(int)> end);

  // From here on the first signal ends the program with this sentence on stderr.
  void end_at_once(std::string farewell);
  // From here on the first signal raises the flag.
  void ask_first();

  // The signal that asked; 0: none has.
  [[nodiscard]] const std::atomic<int>& asked() const { return asked_; }

 private:
  void on_signal(int number);

  std::function<void(int)> end_;
  std::atomic<int> asked_{0};
  std::mutex mutex_;
  bool ask_ = false;      // GUARDED_BY(mutex_)
  std::string farewell_;  // GUARDED_BY(mutex_)
  EndSignals signals_;    // last: its thread uses the others
};

}  // namespace rondo::actors
