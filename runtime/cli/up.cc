#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include <rondo/base/end_signals.h>
#include <rondo/base/owned_fd.h>
#include <rondo/exec/log_tail.h>
#include <rondo/host/clock.h>
#include <rondo/host/control_client.h>
#include <rondo/host/machine.h>
#include <rondo/store/dirs.h>

#include "exit_code.h"
#include "options.h"
#include "supervisor.h"

// `rondo up`: a head and N nodes as processes of their own, watched over in the foreground.

namespace rondo::cli {

namespace {

constexpr DurationNs kUpWithin = seconds(20);
constexpr DurationNs kEndWithin = seconds(5);

std::string text(double value) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%g", value);
  return buffer.data();
}

std::string own_program() {
  std::error_code failed;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", failed);
  if (failed) throw Exit{kMachine, "/proc/self/exe cannot be read: " + failed.message()};
  return path.string();
}

Supervisor::Child head_child(const UpOptions& o, const store::ClusterPaths& paths) {
  Supervisor::Child child{"head", {"rondo", "head", "--cluster", o.cluster.cluster}, ""};
  for (const auto& [flag, value] :
       {std::pair{"--heartbeat", o.cluster.heartbeat_s},
        std::pair{"--suspect", o.cluster.suspect_s}, std::pair{"--term", o.cluster.term_s}}) {
    child.arguments.emplace_back(flag);
    child.arguments.push_back(text(value));
  }
  if (!o.cluster.listen.empty()) {
    child.arguments.emplace_back("--listen");
    child.arguments.push_back(o.cluster.listen);
  }
  child.log_path = paths.logs() + "/head.log";
  return child;
}

// The machine is shared out: two nodes on two cores have one each.
Supervisor::Child node_child(const UpOptions& o, const store::ClusterPaths& paths,
                             const std::string& head, unsigned index) {
  const std::string name = "n" + std::to_string(index + 1);
  const double share = static_cast<double>(host::machine_cpu_milli()) / 1000.0 / o.nodes;
  const double cpus = o.cpus > 0 ? o.cpus : std::max(1.0, share);
  const std::uint64_t memory =
      o.memory_bytes > 0 ? o.memory_bytes : host::machine_memory_bytes() / o.nodes;
  Supervisor::Child child{
      "node " + name,
      {"rondo", "node", "--head", head, "--name", name, "--cluster", o.cluster.cluster},
      ""};
  for (const auto& [flag, value] :
       {std::pair{"--cpus", text(cpus)}, std::pair{"--memory", std::to_string(memory)}}) {
    child.arguments.emplace_back(flag);
    child.arguments.push_back(value);
  }
  if (o.store_bytes > 0) {
    child.arguments.emplace_back("--store-bytes");
    child.arguments.push_back(std::to_string(o.store_bytes));
  }
  child.log_path = paths.logs() + "/node-" + name + ".log";
  return child;
}

// The sentence with which a daemon ended.
std::string why_in(const std::string& log_path) {
  const std::string mark = "rondo: ";
  const std::string words = exec::last_lines(log_path, 20);
  const std::size_t at = words.rfind(mark);
  if (at == std::string::npos) return "a daemon did not start; log " + log_path + ": " + words;
  return words.substr(at + mark.size(), words.find('\n', at) - at - mark.size());
}

// What ends the wait below: a signal, or a death.
class Events {
 public:
  Events() : woken_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  void on_signal(int number) {
    if (number == SIGHUP) number = SIGTERM;
    if (first_ == 0) first_ = number;
    ++count_;
    const std::uint64_t one = 1;
    if (::write(woken_.get(), &one, sizeof one) < 0) return;  // it is awake already
  }
  void wait(int children, DurationNs most) {
    std::array<pollfd, 2> fds{{{children, POLLIN, 0}, {woken_.get(), POLLIN, 0}}};
    const std::int64_t ms = std::clamp<std::int64_t>(most.ns / 1'000'000 + 1, 0, 3'600'000);
    ::poll(fds.data(), fds.size(), static_cast<int>(ms));
    std::uint64_t taken = 0;
    while (::read(woken_.get(), &taken, sizeof taken) > 0) {
    }
  }
  [[nodiscard]] int signal() const { return first_; }
  [[nodiscard]] int count() const { return count_; }

 private:
  OwnedFd woken_;
  std::atomic<int> first_{0};
  std::atomic<int> count_{0};
};

class Up {
 public:
  explicit Up(const UpOptions& options)
      : o_(options),
        signals_([this](int number) { events_.on_signal(number); }),
        folder_(enter(options)),
        supervisor_(own_program()) {}

  int run(int ready_fd);

 private:
  static store::ClusterFolder enter(const UpOptions& o) {
    const std::string home = need(store::open_home(), kMachine);
    store::remove_stale(home);
    return need(store::ClusterFolder::enter(home, o.cluster.cluster), kMachine);
  }
  void start();
  std::string wait_for_address();
  void wait_for_nodes(const host::ClusterPlace& place);
  void say_banner(const host::ClusterPlace& place);
  std::optional<std::string> step(DurationNs most);
  int watch();
  int end(int code);
  void detach(int ready_fd);
  void check_signal() const {
    if (events_.signal() != 0) throw Exit{128 + events_.signal(), ""};
  }

  const UpOptions& o_;
  Events events_;
  EndSignals signals_;
  store::ClusterFolder folder_;
  OwnedFd owned_;
  Supervisor supervisor_;
};

void Up::start() {
  auto owned = folder_.own("supervisor");
  if (!owned)
    throw Exit{kMachine, "a cluster \"" + o_.cluster.cluster + "\" is up already in " +
                             folder_.paths().folder +
                             ": rondo status shows it, rondo down ends it"};
  owned_ = std::move(owned).value();
  if (o_.cluster.listen.empty()) need(folder_.paths().check_sockets(), kMachine);
  need(store::write_file(folder_.paths().folder + "/supervisor.pid",
                         std::to_string(::getpid()) + "\n"),
       kMachine);
  std::error_code gone;
  std::filesystem::remove(folder_.paths().address(), gone);
  supervisor_.add(head_child(o_, folder_.paths()));
  host::ClusterPlace place;
  place.address = wait_for_address();
  place = need(host::locate(place.address), kMachine);
  for (unsigned n = 0; n < o_.nodes; ++n)
    supervisor_.add(node_child(o_, folder_.paths(), place.address, n));
  wait_for_nodes(place);
  say_banner(place);
}

// A child that ends while the cluster comes up says why in its log: that is our sentence too.
std::optional<std::string> Up::step(DurationNs most) {
  const TimeNs now = host::boot_time();
  const TimeNs due = supervisor_.next_deadline();
  events_.wait(supervisor_.fd(), due == kNever ? most : std::min(most, due - now));
  return supervisor_.look();
}

std::string Up::wait_for_address() {
  const TimeNs limit = host::boot_time() + kUpWithin;
  while (host::boot_time() < limit) {
    check_signal();
    if (auto text = store::read_file(folder_.paths().address()))
      return text.value().substr(0, text.value().find('\n'));
    const std::int64_t before = supervisor_.pid_of("head");
    if (step(milliseconds(10)) || supervisor_.pid_of("head") != before)
      throw Exit{kMachine, why_in(folder_.paths().logs() + "/head.log")};
  }
  throw Exit{kMachine, "the head does not come up; log " + folder_.paths().logs() + "/head.log"};
}

void Up::wait_for_nodes(const host::ClusterPlace& place) {
  const TimeNs limit = host::boot_time() + kUpWithin;
  const auto client = need(host::ControlClient::connect(place), kMachine);
  while (host::boot_time() < limit) {
    check_signal();
    const auto rows = nlohmann::json::parse(need(client->inspect("nodes"), kMachine));
    // Ours: a head that resumed also lists the nodes of before.
    const auto alive = std::count_if(rows.begin(), rows.end(), [this](const auto& row) {
      return row.value("state", "") == "alive" &&
             row.value("pid", std::int64_t{0}) ==
                 supervisor_.pid_of("node " + row.value("name", ""));
    });
    if (alive >= static_cast<std::ptrdiff_t>(o_.nodes)) return;
    if (auto why = step(milliseconds(20))) throw Exit{kMachine, *why};
  }
  throw Exit{kMachine, "the nodes do not come up; logs in " + folder_.paths().logs()};
}

void Up::say_banner(const host::ClusterPlace& place) {
  std::printf("Rondo is up: 1 head, %u node%s\n", o_.nodes, o_.nodes == 1 ? "" : "s");
  std::printf("  head     %s  (pid %lld)\n", place.address.c_str(),
              static_cast<long long>(supervisor_.pid_of("head")));
  std::printf("  state    %s\n", folder_.paths().folder.c_str());
  std::printf("Next:\n");
  std::printf("  RONDO_ADDRESS=%s ./your-program\n", place.address.c_str());
  std::printf("  rondo status            how it is\n");
  std::printf("  rondo list nodes        also actors, workers, objects, jobs\n");
  std::printf("  %s\n", o_.detach ? "rondo down              ends it"
                                  : "Ctrl-C                  ends it (twice: at once)");
  std::fflush(stdout);
}

int Up::watch() {
  for (;;) {
    if (events_.signal() != 0) return 128 + events_.signal();
    if (auto why = step(seconds(3600))) {
      if (why->empty()) return kDone;
      std::fprintf(stderr, "rondo: %s\n", why->c_str());
      return kMachine;
    }
  }
}

// Everybody is asked; who has not ended in time, or when Ctrl-C comes again, is killed.
int Up::end(int code) {
  const int before = events_.count();
  supervisor_.ask_all(SIGTERM);
  const TimeNs limit = host::boot_time() + kEndWithin;
  while (supervisor_.any() && events_.count() == before && host::boot_time() < limit) {
    events_.wait(supervisor_.fd(), milliseconds(100));
    supervisor_.look();
  }
  supervisor_.end_all({});
  owned_ = OwnedFd();
  folder_.leave_and_remove();
  return code;
}

int Up::run(int ready_fd) {
  try {
    start();
  } catch (const Exit&) {
    end(kDone);
    throw;
  }
  if (ready_fd >= 0) detach(ready_fd);
  return end(watch());
}

// The banner was the last word on the terminal: from here on it speaks into a file.
void Up::detach(int ready_fd) {
  const std::string path = folder_.paths().logs() + "/up.log";
  const OwnedFd log(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const OwnedFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const int out = log ? log.get() : nothing.get();
  std::fflush(stdout);
  const char ready = 1;
  const bool done = nothing && ::dup2(nothing.get(), 0) == 0 && ::dup2(out, 1) == 1 &&
                    ::dup2(out, 2) == 2 && ::write(ready_fd, &ready, 1) == 1;
  ::close(ready_fd);
  if (!done) std::fprintf(stderr, "rondo: could not leave the terminal\n");
}

// A child in a session of its own becomes the supervisor; this process waits until it is up.
int up_detached(const UpOptions& options) {
  std::array<int, 2> ready{-1, -1};
  if (::pipe2(ready.data(), O_CLOEXEC) != 0) throw Exit{kMachine, errno_text(errno)};
  const pid_t child = ::fork();
  if (child < 0) throw Exit{kMachine, "could not start a process: " + errno_text(errno)};
  if (child == 0) {
    ::close(ready[0]);
    ::setsid();
    return Up(options).run(ready[1]);
  }
  ::close(ready[1]);
  char up = 0;
  ssize_t got = 0;
  do {
    got = ::read(ready[0], &up, 1);
  } while (got < 0 && errno == EINTR);
  ::close(ready[0]);
  if (got == 1) return kDone;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kMachine;
}

}  // namespace

int run_up(const UpOptions& options) {
  check(options.cluster);
  return options.detach ? up_detached(options) : Up(options).run(-1);
}

}  // namespace rondo::cli
