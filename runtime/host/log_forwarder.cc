#include <rondo/host/log_forwarder.h>

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/host/daemon_loop.h>

namespace rondo::host {

namespace {
constexpr auto kGather = std::chrono::milliseconds(5);  // lines that come together go together
}  // namespace

Result<std::unique_ptr<LogForwarder>> LogForwarder::open(const std::string& folder, Sink sink) {
  OwnedFd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  OwnedFd ending(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!inotify || !ending || ::inotify_add_watch(inotify.get(), folder.c_str(), IN_MODIFY) < 0)
    return Error(ErrorCode::kUnavailable,
                 "the logs in " + folder + " cannot be watched: " + errno_text(errno));
  return std::unique_ptr<LogForwarder>(
      new LogForwarder(std::move(inotify), std::move(ending), std::move(sink)));
}

LogForwarder::LogForwarder(OwnedFd inotify, OwnedFd ending, Sink sink)
    : inotify_(std::move(inotify)), ending_(std::move(ending)), sink_(std::move(sink)) {
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

LogForwarder::~LogForwarder() {
  const std::uint64_t one = 1;
  RONDO_CHECK_EQ(::write(ending_.get(), &one, sizeof one), ssize_t{sizeof one});
  thread_.join();
}

void LogForwarder::run() {
  pthread_setname_np(pthread_self(), "rondo-logs");
  for (;;) {
    std::array<pollfd, 2> fds{{{inotify_.get(), POLLIN, 0}, {ending_.get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    if (fds[0].revents == 0) continue;
    std::this_thread::sleep_for(kGather);
    alignas(inotify_event) std::array<char, 16'384> events{};
    while (::read(inotify_.get(), events.data(), events.size()) > 0) {
    }
    look();
  }
}

void LogForwarder::look() {
  const std::lock_guard lock(mutex_);
  for (auto& [worker, followed] : followed_) pass_on(followed, false);
}

void LogForwarder::drain() { look(); }

void LogForwarder::follow(ProcessId worker, JobId job, std::string label, std::int64_t pid,
                          const std::string& path) {
  const std::lock_guard lock(mutex_);
  followed_.emplace(worker,
                    Followed{{worker, job, std::move(label), pid, {}}, exec::LogFollower(path)});
}

void LogForwarder::label(ProcessId worker, std::string label) {
  const std::lock_guard lock(mutex_);
  const auto it = followed_.find(worker);
  if (it == followed_.end()) return;  // not launched yet: it will be followed under its new label
  pass_on(it->second, false);
  it->second.head.label = std::move(label);
}

void LogForwarder::finish(ProcessId worker) {
  const std::lock_guard lock(mutex_);
  const auto it = followed_.find(worker);
  if (it == followed_.end()) return;
  pass_on(it->second, true);
  followed_.erase(it);
}

// Requires: mutex_ held.
void LogForwarder::pass_on(Followed& followed, bool all) {
  WorkerLines lines = followed.head;
  lines.lines = followed.follower.read_new(all);
  if (!lines.lines.empty()) sink_(lines);
}

std::string shown_line(const std::string& label, const std::string& node_name, std::int64_t pid,
                       const std::string& line) {
  return "(" + label + ", " + node_name + ", pid " + std::to_string(pid) + ") " + line;
}

}  // namespace rondo::host
