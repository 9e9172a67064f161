// What the tests of exec/ start. One word says what to do; it answers by its exit code and its
// output.

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <rondo/exec/parent_watch.h>
#include <rondo/exec/process_launcher.h>
#include <rondo/exec/worker_start.h>

namespace {

int list_descriptors() {
  DIR* folder = ::opendir("/proc/self/fd");
  std::vector<int> numbers;
  for (const dirent* entry = ::readdir(folder); entry != nullptr; entry = ::readdir(folder))
    if (const int n = std::atoi(entry->d_name); entry->d_name[0] != '.' && n != ::dirfd(folder))
      numbers.push_back(n);
  ::closedir(folder);
  std::sort(numbers.begin(), numbers.end());
  for (const int n : numbers) std::printf("%d ", n);
  return 0;
}

int show_state() {
  int death_signal = 0;
  ::prctl(PR_GET_PDEATHSIG, &death_signal);
  sigset_t blocked;
  ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
  struct sigaction pipe = {};
  ::sigaction(SIGPIPE, nullptr, &pipe);
  char folder[4096] = "";
  if (::getcwd(folder, sizeof folder) == nullptr) return 1;
  const char* variable = ::getenv("COLOUR");
  std::printf("death=%d session=%d int_blocked=%d pipe_default=%d folder=%s colour=%s",
              death_signal, ::getsid(0) == ::getpid() ? 1 : 0, ::sigismember(&blocked, SIGINT),
              pipe.sa_handler == SIG_DFL ? 1 : 0, folder, variable != nullptr ? variable : "-");
  return 0;
}

int wait_for_ever() {
  for (;;) ::pause();
}

// A node in small: starts a child that waits, tells its pid, and waits itself.
int be_node(const char* self) {
  rondo::exec::ProcessLauncher launcher;
  rondo::exec::LaunchSpec spec;
  spec.executable = self;
  spec.arguments = {"grandchild", "wait"};
  auto child = launcher.launch(spec);
  if (!child) return 1;
  std::printf("%d\n", static_cast<int>(child.value().pid));
  std::fflush(stdout);
  return wait_for_ever();
}

// A worker that does not rest on the death signal: says when its node has gone.
int watch_parent() {
  ::prctl(PR_SET_PDEATHSIG, 0);
  auto watch = rondo::exec::ParentWatch::begin(::getppid());
  if (!watch || watch.value().gone()) return 1;
  std::printf("watching\n");
  std::fflush(stdout);
  pollfd waiting{watch.value().fd(), POLLIN, 0};
  ::poll(&waiting, 1, -1);
  std::printf(watch.value().gone() ? "gone\n" : "not gone\n");
  return 0;
}

int be_watched_node(const char* self) {
  rondo::exec::ProcessLauncher launcher;
  rondo::exec::LaunchSpec spec;
  spec.executable = self;
  spec.arguments = {"grandchild", "watch-parent"};
  spec.dies_with_parent = false;
  if (!launcher.launch(spec)) return 1;
  return wait_for_ever();
}

int be_worker() {
  const auto start = rondo::exec::take_worker_start();
  if (!start) {
    std::printf("no worker");
    return 3;
  }
  std::printf("%.*s", static_cast<int>(start->size()),
              reinterpret_cast<const char*>(start->data()));
  if (rondo::exec::take_worker_start() || std::getenv("RONDO_WORKER") != nullptr) return 4;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "exit") return std::atoi(argv[2]);
  if (what == "signal") return ::raise(std::atoi(argv[2]));
  if (what == "wait") return wait_for_ever();
  if (what == "descriptors") return list_descriptors();
  if (what == "state") return show_state();
  if (what == "stdin") {
    char byte = 0;
    std::printf("%zd", ::read(0, &byte, 1));
    return 0;
  }
  if (what == "worker") return be_worker();
  if (what == "node") return be_node("/proc/self/exe");
  if (what == "watch-parent") return watch_parent();
  if (what == "watched-node") return be_watched_node("/proc/self/exe");
  if (what == "say") {
    std::printf("out %s\n", argv[2]);
    std::fflush(stdout);
    std::fprintf(stderr, "err %s\n", argv[2]);
    return 0;
  }
  return 99;
}
