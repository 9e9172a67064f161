#include <rondo/host/interrupts.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <rondo/base/check.h>

namespace rondo::host {

namespace {

// What the handler may touch: lock-free words.
std::atomic<int> g_writer{-1};
std::atomic<pid_t> g_owner{0};
std::atomic<std::int64_t> g_first_ns{0};
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

std::int64_t now_ns() {
  timespec at{};
  ::clock_gettime(CLOCK_MONOTONIC, &at);
  return std::int64_t{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
}

// Ends this process by the signal, as if it had never been handled.
void die_by(int number) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  ::sigaction(number, &action, nullptr);
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, number);
  ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  ::kill(::getpid(), number);
}

void on_signal(int number) {
  const int before = errno;
  if (::getpid() != g_owner.load()) die_by(number);  // a child that the program forked
  std::int64_t none = 0;
  if (!g_first_ns.compare_exchange_strong(none, now_ns())) {
    if (now_ns() - none > 1'000'000'000) die_by(number);
  } else {
    const char byte = static_cast<char>(number);
    if (::write(g_writer.load(), &byte, 1) != 1) die_by(number);
  }
  errno = before;
}

}  // namespace

Interrupts::Interrupts(std::function<void()> clean_up) : clean_up_(std::move(clean_up)) {
  int ends[2] = {-1, -1};
  RONDO_CHECK_EQ(::pipe2(ends, O_CLOEXEC), 0);
  reader_.reset(ends[0]);
  writer_.reset(ends[1]);
  g_first_ns.store(0);
  g_owner.store(::getpid());
  g_writer.store(writer_.get());
  thread_ = std::thread([this] { run(); });
  for (std::size_t n = 0; n < kSignals.size(); ++n) {
    struct sigaction now = {};
    ::sigaction(kSignals[n], nullptr, &now);
    if ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL) continue;
    struct sigaction ours = {};
    ours.sa_handler = on_signal;
    ours.sa_flags = SA_RESTART;
    taken_[n] = ::sigaction(kSignals[n], &ours, nullptr) == 0;
  }
}

Interrupts::~Interrupts() {
  for (std::size_t n = 0; n < kSignals.size(); ++n) {
    struct sigaction now = {};
    ::sigaction(kSignals[n], nullptr, &now);
    if (!taken_[n] || now.sa_handler != on_signal) continue;  // the program's own since then
    struct sigaction back = {};
    back.sa_handler = SIG_DFL;
    ::sigaction(kSignals[n], &back, nullptr);
  }
  const char end = 0;
  RONDO_CHECK_EQ(::write(writer_.get(), &end, 1), ssize_t{1});
  thread_.join();
  g_writer.store(-1);
}

void Interrupts::run() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);  // the handler runs on the program's threads
  char number = 0;
  ssize_t got = 0;
  do {
    got = ::read(reader_.get(), &number, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1 || number == 0) return;
  std::fprintf(stderr, "rondo: SIG%s: the program ends, and its workers with it\n",
               ::sigabbrev_np(number));
  clean_up_();
  die_by(number);
  for (;;) ::pause();  // the signal ends the process before anybody goes on
}

}  // namespace rondo::host
