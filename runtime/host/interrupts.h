#pragma once

#include <signal.h>

#include <array>
#include <functional>
#include <thread>

#include <rondo/base/owned_fd.h>

// Ctrl-C, TERM and HUP in a driver that has a private cluster: they end it, and first what it
// started and made.
//
// Only a signal whose handling is the default, and that is not blocked, is taken; a program that
// handles one itself keeps it. At the first, `clean_up` runs on a thread of its own; then
// `at_once`, which must be quick, takes along what is still there, and the process ends by that
// signal, so that a shell sees 130 or 143. It waits two seconds for clean_up; after a second
// signal a fraction of one.
//
// Make it before what it cleans up: a signal may come at any moment. One a process (the handler has
// no other way to find it). Destroying it gives the signals back; it does not return once a signal
// has come.

namespace rondo::host {

class Interrupts {
 public:
  Interrupts(std::function<void()> clean_up, std::function<void()> at_once);
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

 private:
  static constexpr std::array<int, 3> kSignals{SIGINT, SIGTERM, SIGHUP};
  void run();
  void wait_for_clean_up();

  std::function<void()> clean_up_;
  std::function<void()> at_once_;
  OwnedFd reader_;
  OwnedFd writer_;
  OwnedFd cleaned_;
  std::array<bool, kSignals.size()> taken_{};
  std::thread thread_;
};

}  // namespace rondo::host
