#include <rondo/exec/process_watcher.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <chrono>

#include <rondo/base/check.h>
#include <rondo/exec/pidfd.h>

namespace rondo::exec {

namespace {
#ifndef P_PIDFD
constexpr auto kByPidfd = static_cast<idtype_t>(3);
#else
constexpr auto kByPidfd = P_PIDFD;
#endif

Exit describe(ProcessId process, pid_t pid, const siginfo_t& info) {
  Exit exit{process, pid, "", std::nullopt, std::nullopt};
  if (info.si_code == CLD_EXITED) {
    exit.code = info.si_status;
    exit.cause = "exited with code " + std::to_string(info.si_status);
  } else {
    exit.signal = info.si_status;
    exit.cause = "killed by signal " + std::to_string(info.si_status) + " (" +
                 signal_name(info.si_status) + ")";
    if (info.si_code == CLD_DUMPED) exit.cause += ", core dumped";
  }
  return exit;
}
}  // namespace

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(number);
}

ProcessWatcher::ProcessWatcher() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  RONDO_CHECK(static_cast<bool>(epoll_));
}
ProcessWatcher::~ProcessWatcher() = default;

void ProcessWatcher::add(Watched watched) {
  const std::uint64_t key = next_key_++;
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = key;
  RONDO_CHECK_EQ(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watched.pidfd.get(), &event), 0);
  RONDO_CHECK(!keys_.contains(watched.process));
  keys_[watched.process] = key;
  watched_.emplace(key, std::move(watched));
}

void ProcessWatcher::watch_child(ProcessId process, Launched child) {
  add({process, child.pid, std::move(child.pidfd), true, false});
}

Result<void> ProcessWatcher::watch_other(ProcessId process, pid_t pid) {
  OwnedFd pidfd = open_pidfd(pid);
  if (!pidfd)
    return Error(ErrorCode::kNotFound,
                 "process " + std::to_string(pid) + " cannot be watched: " + errno_text(errno));
  add({process, pid, std::move(pidfd), false, false});
  return {};
}

void ProcessWatcher::forget(ProcessId process) {
  const auto at = keys_.find(process);
  if (at == keys_.end()) return;
  const auto watched = watched_.find(at->second);
  keys_.erase(at);
  if (watched->second.child)
    watched->second.forgotten = true;  // somebody has to collect its status
  else watched_.erase(watched);
}

// The process of this entry has ended: collects it. nullopt: it has not, or nobody asks.
std::optional<Exit> ProcessWatcher::take(std::uint64_t key) {
  const auto at = watched_.find(key);
  if (at == watched_.end()) return std::nullopt;
  const Watched& watched = at->second;
  Exit exit{watched.process, watched.pid, "is gone", std::nullopt, std::nullopt};
  if (watched.child) {
    siginfo_t info = {};
    const int done =
        ::waitid(kByPidfd, static_cast<id_t>(watched.pidfd.get()), &info, WEXITED | WNOHANG);
    if (done == 0 && info.si_pid == 0) return std::nullopt;
    if (done == 0) exit = describe(watched.process, watched.pid, info);
  }
  const bool forgotten = watched.forgotten;
  if (!forgotten) keys_.erase(watched.process);
  watched_.erase(at);  // closes the pidfd, which takes it out of the set
  if (forgotten) return std::nullopt;
  return exit;
}

std::vector<Exit> ProcessWatcher::poll() {
  std::vector<Exit> exits;
  std::array<epoll_event, 64> events{};
  for (;;) {
    const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    if (n <= 0) return exits;
    std::size_t taken = 0;
    for (int i = 0; i < n; ++i) {
      const std::size_t before = watched_.size();
      if (auto exit = take(events[static_cast<std::size_t>(i)].data.u64))
        exits.push_back(std::move(*exit));
      taken += before - watched_.size();
    }
    if (taken == 0) return exits;
  }
}

bool ProcessWatcher::signal(ProcessId process, int number) {
  const auto at = keys_.find(process);
  if (at == keys_.end()) return false;
  return send_signal(watched_.at(at->second).pidfd, number);
}

bool ProcessWatcher::kill(ProcessId process) { return signal(process, SIGKILL); }

std::vector<Exit> ProcessWatcher::wait_all(DurationNs limit) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(limit.ns);
  const auto children = [this] {
    std::size_t count = 0;
    for (const auto& [key, watched] : watched_) count += watched.child ? 1U : 0U;
    return count;
  };
  std::vector<Exit> exits = poll();
  bool killed = false;
  while (children() > 0) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0 && !killed) {
      for (const auto& [key, watched] : watched_)
        if (watched.child) send_signal(watched.pidfd, SIGKILL);
      killed = true;
    }
    pollfd waiting{epoll_.get(), POLLIN, 0};
    ::poll(&waiting, 1, killed ? 1'000 : static_cast<int>(left.count()));
    for (Exit& exit : poll()) exits.push_back(std::move(exit));
  }
  return exits;
}

}  // namespace rondo::exec
