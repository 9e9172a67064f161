#include <rondo/exec/process_launcher.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <memory>

#include <rondo/base/check.h>
#include <rondo/exec/pidfd.h>

namespace rondo::exec {

namespace {
// Where the child failed: told through a pipe that closes at the exec.
enum class Step : int { kNone, kDeathSignal, kParentGone, kDirectory, kDescriptors, kExec };

struct Child {
  const LaunchSpec* spec = nullptr;
  int executable = -1;
  int input = -1;   // stdin: /dev/null
  int output = -1;  // stdout and stderr; -1: as they are
  std::vector<char*> arguments;
  std::vector<char*> environment;
  std::vector<std::pair<int, int>> descriptors;  // (from, to), where no `from` is a later `to`
  int last_descriptor = 2;
  pid_t parent = 0;
  int report = -1;  // where a Failed is written to
};

struct Failed {
  Step step = Step::kNone;
  int number = 0;
};

[[noreturn]] void give_up(const Child& child, Step step) {
  const Failed failed{step, errno};
  const ssize_t written = ::write(child.report, &failed, sizeof failed);
  ::_exit(written == sizeof failed ? 127 : 126);
}

void default_signals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int n = 1; n < NSIG; ++n) ::sigaction(n, &action, nullptr);  // some cannot be: no matter
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// In the child, on the parent's memory (vfork): system calls only, no allocation, no locks, no
// return.
[[noreturn]] void become(const Child& child) {
  const LaunchSpec& spec = *child.spec;
  if (spec.dies_with_parent) {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up(child, Step::kDeathSignal);
    // it ended before the line above
    if (::getppid() != child.parent) give_up(child, Step::kParentGone);
  }
  if (spec.own_session) ::setsid();
  if (!spec.directory.empty() && ::chdir(spec.directory.c_str()) != 0)
    give_up(child, Step::kDirectory);
  if (::dup2(child.input, 0) < 0) give_up(child, Step::kDescriptors);
  if (child.output >= 0 && (::dup2(child.output, 1) < 0 || ::dup2(child.output, 2) < 0))
    give_up(child, Step::kDescriptors);
  for (const auto& [from, to] : child.descriptors)
    if (::dup2(from, to) < 0) give_up(child, Step::kDescriptors);  // a copy stays open over exec
  // The rest closes at the exec. Named ones were copied to numbers that are not in the rest.
  ::close_range(static_cast<unsigned>(child.last_descriptor) + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  for (int n = 3; n <= child.last_descriptor; ++n) {
    const bool named = std::any_of(child.descriptors.begin(), child.descriptors.end(),
                                   [n](const auto& pair) { return pair.second == n; });
    if (!named) ::fcntl(n, F_SETFD, FD_CLOEXEC);
  }
  default_signals();
  ::fexecve(child.executable, child.arguments.data(), child.environment.data());
  give_up(child, Step::kExec);
}

// A separate function: what vfork's child does on the stack ends with this frame.
__attribute__((noinline)) pid_t start(const Child& child) {
  const pid_t pid = ::vfork();
  if (pid == 0) become(child);
  return pid;
}

std::string why_not_executed(const std::string& path, int fd, int number) {
  struct statvfs mounted = {};
  const bool noexec = ::fstatvfs(fd, &mounted) == 0 && (mounted.f_flag & ST_NOEXEC) != 0;
  if (number == EACCES && noexec)
    return path + " lies on a file system mounted noexec: set RONDO_HOME to another place";
  if (number == ENOEXEC) return path + " is not a program for this machine";
  // the file itself is open
  if (number == ENOENT) return path + " needs a loader that this machine lacks";
  if (number == ETXTBSY) return path + " is still being written";
  return path + ": " + errno_text(number);
}

Error failure_of(const Child& child, const Failed& failed) {
  const LaunchSpec& spec = *child.spec;
  const std::string what = "could not start " + spec.executable + ": ";
  switch (failed.step) {
    case Step::kDirectory:
      return {ErrorCode::kUnavailable,
              what + "no folder " + spec.directory + " (" + errno_text(failed.number) + ")"};
    case Step::kParentGone:
    case Step::kDeathSignal:
      return {ErrorCode::kUnavailable, what + "its node is ending"};
    case Step::kDescriptors:
      return {ErrorCode::kUnavailable,
              what + "descriptors could not be passed on: " + errno_text(failed.number)};
    default:
      return {
          ErrorCode::kUnavailable,
          "could not start " + why_not_executed(spec.executable, child.executable, failed.number)};
  }
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  // exec does not write
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

Result<OwnedFd> open_executable(const LaunchSpec& spec) {
  if (spec.executable_fd >= 0) {
    // fexecve needs /proc for a script or a write-only descriptor; our own copy closes at the exec.
    OwnedFd copy(::fcntl(spec.executable_fd, F_DUPFD_CLOEXEC, 3));
    if (copy) return copy;
    return Error(ErrorCode::kUnavailable,
                 "could not start " + spec.executable + ": " + errno_text(errno));
  }
  OwnedFd fd(::open(spec.executable.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status = {};
  if (fd && ::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode)) return fd;
  if (fd)
    return Error(ErrorCode::kNotFound, "could not start " + spec.executable + ": it is not a file");
  const ErrorCode code =
      errno == ENOENT || errno == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kUnavailable;
  return Error(code, "could not start " + spec.executable + ": " + errno_text(errno));
}

// Descriptors whose own number is somebody's target would be overwritten half-way: they move out of
// the way first.
Result<std::vector<OwnedFd>> place_descriptors(Child& child) {
  std::vector<OwnedFd> moved;
  for (const auto& [from, to] : child.spec->descriptors) {
    RONDO_CHECK(to >= 3);
    child.last_descriptor = std::max(child.last_descriptor, to);
  }
  const auto above = [&](int fd) -> int {
    moved.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, child.last_descriptor + 1));
    return moved.back().get();
  };
  for (const auto& [from, to] : child.spec->descriptors)
    child.descriptors.emplace_back(above(from), to);
  child.executable = above(child.executable);
  child.report = above(child.report);
  child.input = above(child.input);
  if (child.output >= 0) child.output = above(child.output);
  if (std::all_of(moved.begin(), moved.end(),
                  [](const OwnedFd& fd) { return static_cast<bool>(fd); }))
    return moved;
  return Error(ErrorCode::kOverloaded,
               "could not start " + child.spec->executable + ": " + errno_text(errno));
}

Result<Launched> carry_out(const LaunchSpec& spec) {
  Child child;
  child.spec = &spec;
  child.parent = ::getpid();
  child.arguments = pointers(spec.arguments);
  child.environment = pointers(spec.environment);
  auto executable = open_executable(spec);
  if (!executable) return executable.error();
  child.executable = executable.value().get();
  const OwnedFd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!nothing)
    return Error(ErrorCode::kUnavailable,
                 "could not start " + spec.executable + ": /dev/null: " + errno_text(errno));
  child.input = nothing.get();
  OwnedFd log;
  child.output = spec.output_fd;
  if (spec.output_fd < 0 && !spec.log_path.empty()) {
    log.reset(::open(spec.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!log)
      return Error(ErrorCode::kUnavailable,
                   "could not write the log " + spec.log_path + ": " + errno_text(errno));
    child.output = log.get();
  }
  int pipe[2] = {-1, -1};
  if (::pipe2(pipe, O_CLOEXEC) != 0)
    return Error(ErrorCode::kOverloaded,
                 "could not start " + spec.executable + ": " + errno_text(errno));
  const OwnedFd reports(pipe[0]);
  OwnedFd report(pipe[1]);
  child.report = report.get();
  auto placed = place_descriptors(child);
  if (!placed) return placed.error();

  // Between vfork and exec no handler of ours may run on the shared memory in the child's name.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = start(child);
  const int number = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0)
    return Error(ErrorCode::kOverloaded,
                 "could not start " + spec.executable + ": " + errno_text(number));
  report.reset();
  Failed failed;
  placed.value().clear();  // our copy of the writing end too: at its exec the child's was the last
  while (::read(reports.get(), &failed, sizeof failed) < 0 && errno == EINTR) {
  }
  if (failed.step != Step::kNone) {
    ::waitpid(pid, nullptr, 0);
    return failure_of(child, failed);
  }
  // The child was not waited for, so its number cannot have passed to another process.
  Launched launched{pid, open_pidfd(pid)};
  if (launched.pidfd) return launched;
  const int why = errno;
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return Error(ErrorCode::kOverloaded,
               "could not watch " + spec.executable + ": " + errno_text(why));
}
}  // namespace

ProcessLauncher::ProcessLauncher() : thread_([this] { run(); }) {}

ProcessLauncher::~ProcessLauncher() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  filled_.notify_one();
  thread_.join();
}

void ProcessLauncher::launch(LaunchSpec spec, Done done) {
  {
    const std::lock_guard lock(mutex_);
    orders_.push_back({std::move(spec), std::move(done)});
  }
  filled_.notify_one();
}

Result<Launched> ProcessLauncher::launch(LaunchSpec spec) {
  std::promise<Result<Launched>> promise;
  std::future<Result<Launched>> result = promise.get_future();
  launch(std::move(spec),
         [&promise](Result<Launched> launched) { promise.set_value(std::move(launched)); });
  return result.get();
}

void ProcessLauncher::run() {
  for (;;) {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return ending_ || !orders_.empty(); });
    if (orders_.empty()) return;
    Order order = std::move(orders_.front());
    orders_.pop_front();
    const bool ending = ending_;
    lock.unlock();
    if (ending)
      order.done(Error(ErrorCode::kCancelled,
                       "could not start " + order.spec.executable + ": its node is ending"));
    else order.done(carry_out(order.spec));
  }
}

}  // namespace rondo::exec
