#pragma once

#include <signal.h>

#include <array>
#include <functional>
#include <thread>

#include <rondo/base/owned_fd.h>

// Ctrl-C, TERM and HUP in a driver that has a private cluster: they end it, and first what it
// started and made.
//
// Only a signal whose handling is the default is taken; a program that handles one itself keeps it.
// At the first, `clean_up` runs on a thread of ours; then the process ends by that signal, so that
// a shell sees 130 or 143. If cleaning takes longer than a second, a second signal ends the
// process at once; what is left is removed by the next start.
//
// One a process (the handler has no other way to find it). Destroying it gives the signals back;
// it does not return while `clean_up` runs.

namespace rondo::host {

class Interrupts {
 public:
  explicit Interrupts(std::function<void()> clean_up);
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

 private:
  static constexpr std::array<int, 3> kSignals{SIGINT, SIGTERM, SIGHUP};
  void run();

  std::function<void()> clean_up_;
  OwnedFd reader_;
  OwnedFd writer_;
  std::array<bool, kSignals.size()> taken_{};
  std::thread thread_;
};

}  // namespace rondo::host
