#include <rondo/host/interrupts.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/host/clock.h>

namespace rondo::host {

namespace {

// What the handler may touch: lock-free words.
std::atomic<int> g_writer{-1};
std::atomic<pid_t> g_owner{0};
static_assert(std::atomic<int>::is_always_lock_free);

constexpr DurationNs kPatience = seconds(2);
constexpr DurationNs kPatienceOfTheSecond = milliseconds(300);

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
  const char byte = static_cast<char>(number);
  // A full pipe has enough of them.
  if (::write(g_writer.load(), &byte, 1) != 1 && errno != EAGAIN) die_by(number);
  errno = before;
}

}  // namespace

Interrupts::Interrupts(std::function<void()> clean_up, std::function<void()> at_once)
    : clean_up_(std::move(clean_up)), at_once_(std::move(at_once)) {
  int ends[2] = {-1, -1};
  RONDO_CHECK_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  reader_.reset(ends[0]);
  writer_.reset(ends[1]);
  cleaned_.reset(::eventfd(0, EFD_CLOEXEC));
  RONDO_CHECK(static_cast<bool>(cleaned_));
  g_owner.store(::getpid());
  g_writer.store(writer_.get());
  thread_ = std::thread([this] { run(); });
  sigset_t blocked;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  for (std::size_t n = 0; n < kSignals.size(); ++n) {
    struct sigaction now = {};
    ::sigaction(kSignals[n], nullptr, &now);
    if (::sigismember(&blocked, kSignals[n]) == 1) continue;  // read elsewhere
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

// Until it is done, or the patience is over.
void Interrupts::wait_for_clean_up() {
  TimeNs limit = boot_time() + kPatience;
  bool again = false;
  while (boot_time() < limit) {
    std::array<pollfd, 2> fds{{{cleaned_.get(), POLLIN, 0}, {reader_.get(), POLLIN, 0}}};
    const DurationNs left = limit - boot_time();
    ::poll(fds.data(), again ? 1 : 2, static_cast<int>(left.ns / 1'000'000) + 1);
    if (fds[0].revents != 0) return;
    char number = 0;
    if (again || ::read(reader_.get(), &number, 1) != 1 || number == 0) continue;
    again = true;
    limit = std::min(limit, boot_time() + kPatienceOfTheSecond);
  }
}

void Interrupts::run() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);  // the handler runs on the program's threads
  char number = 0;
  while (::read(reader_.get(), &number, 1) != 1) {
    pollfd come{reader_.get(), POLLIN, 0};
    ::poll(&come, 1, -1);
  }
  if (number == 0) return;
  std::fprintf(stderr, "rondo: SIG%s: the program ends, and its workers with it\n",
               ::sigabbrev_np(number));
  std::thread([this] {
    clean_up_();
    const std::uint64_t one = 1;
    RONDO_CHECK_EQ(::write(cleaned_.get(), &one, sizeof one), ssize_t{sizeof one});
  }).detach();
  wait_for_clean_up();
  at_once_();
  die_by(number);
  for (;;) ::pause();  // the signal ends the process before anybody goes on
}

}  // namespace rondo::host
