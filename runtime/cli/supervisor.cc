#include "supervisor.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <utility>

#include <rondo/base/prng.h>
#include <rondo/exec/log_tail.h>
#include <rondo/host/clock.h>

#include "exit_code.h"

extern char** environ;

namespace rondo::cli {

namespace {
constexpr DurationNs kQuick = seconds(1);  // died so soon: something is wrong with it
constexpr DurationNs kPutOff = milliseconds(500);
constexpr unsigned kQuickDeathsMax = 5;
}  // namespace

void Supervisor::add(Child child) {
  Running running;
  running.child = std::move(child);
  start(running);
  running_.push_back(std::move(running));
}

void Supervisor::start(Running& running) {
  exec::LaunchSpec spec;
  spec.executable = program_;
  spec.arguments = running.child.arguments;
  for (char** line = environ; *line != nullptr; ++line) spec.environment.emplace_back(*line);
  spec.log_path = running.child.log_path;
  exec::Launched launched = need(launcher_.launch(std::move(spec)), kMachine);
  running.id = ProcessId{entropy()};
  running.pid = launched.pid;
  running.started = host::boot_time();
  running.restart_at = kNever;
  watcher_.watch_child(running.id, std::move(launched));
}

std::optional<std::string> Supervisor::look() {
  std::optional<std::string> why;
  for (const exec::Exit& exit : watcher_.poll())
    for (Running& running : running_)
      if (running.pid != 0 && running.id == exit.process)
        if (auto reason = died(running, exit); reason && !why) why = std::move(reason);
  if (why) return why;
  const TimeNs now = host::boot_time();
  for (Running& running : running_)
    if (running.restart_at <= now) {
      start(running);
      std::printf("%s runs again as pid %lld\n", running.child.name.c_str(),
                  static_cast<long long>(running.pid));
      std::fflush(stdout);
    }
  return std::nullopt;
}

std::optional<std::string> Supervisor::died(Running& running, const exec::Exit& exit) {
  const TimeNs now = host::boot_time();
  const std::string who = running.child.name + " (pid " + std::to_string(running.pid) + ")";
  running.pid = 0;
  if (ending_) return std::nullopt;
  if (exit.code == 0) {
    running.asked_to_end = true;
    if (running.child.name == "head") return "";
    std::printf("%s has ended, as it was asked to\n", who.c_str());
    std::fflush(stdout);
    return std::nullopt;
  }
  const bool quick = now - running.started < kQuick;
  running.quick_deaths = quick ? running.quick_deaths + 1 : 0;
  if (running.quick_deaths >= kQuickDeathsMax) {
    const std::string words = exec::last_lines(running.child.log_path, 3);
    return who + " does not stay up: " + exit.cause + "; log " + running.child.log_path +
           (words.empty() ? "" : ": " + words);
  }
  running.restart_at = quick ? now + kPutOff : now;
  std::printf("%s %s; starting it again\n", who.c_str(), exit.cause.c_str());
  std::fflush(stdout);
  return std::nullopt;
}

TimeNs Supervisor::next_deadline() const {
  TimeNs next = kNever;
  for (const Running& running : running_) next = std::min(next, running.restart_at);
  return next;
}

void Supervisor::ask_all(int signal) {
  ending_ = true;
  for (Running& running : running_) {
    running.restart_at = kNever;
    if (running.pid != 0) watcher_.signal(running.id, signal);
  }
}

bool Supervisor::any() const {
  return std::any_of(running_.begin(), running_.end(),
                     [](const Running& running) { return running.pid != 0; });
}

void Supervisor::end_all(DurationNs patience) {
  for (const exec::Exit& exit : watcher_.wait_all(patience))
    for (Running& running : running_)
      if (running.id == exit.process) running.pid = 0;
}

std::int64_t Supervisor::pid_of(const std::string& name) const {
  for (const Running& running : running_)
    if (running.child.name == name) return running.pid;
  return 0;
}

}  // namespace rondo::cli
