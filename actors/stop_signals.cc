#include <rondo/actors/stop_signals.h>

#include <cstdio>
#include <utility>

#include <unistd.h>

namespace rondo::actors {

StopSignals::StopSignals(std::function<void(int)> end)
    : end_(std::move(end)),
      farewell_("stopped before the first step: there is nothing to save"),
      signals_([this](int number) { on_signal(number); }) {}

void StopSignals::end_at_once(std::string farewell) {
  const std::lock_guard lock(mutex_);
  ask_ = false;
  farewell_ = std::move(farewell);
}

void StopSignals::ask_first() {
  const std::lock_guard lock(mutex_);
  ask_ = true;
}

void StopSignals::on_signal(int number) {
  const std::lock_guard lock(mutex_);
  const bool first = asked_.load() == 0;
  if (first && ask_) {
    asked_.store(number);
    return;
  }
  // A terminal shows ^C, or a progress line, at the start of this one.
  std::fprintf(stderr, "%s%s\n", ::isatty(STDERR_FILENO) == 1 ? "\n" : "",
               first ? farewell_.c_str() : "stopped at once, without another save");
  end_(128 + number);
}

}  // namespace rondo::actors
