#include <rondo/base/end_signals.h>

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include <rondo/base/check.h>

namespace rondo {

namespace {
sigset_t wanted() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  struct sigaction hup = {};
  const bool ignored = ::sigaction(SIGHUP, nullptr, &hup) == 0 && hup.sa_handler == SIG_IGN;
  if (!ignored) sigaddset(&set, SIGHUP);
  return set;
}
}  // namespace

EndSignals::EndSignals(std::function<void(int)> on_signal, bool insist)
    : insist_(insist), on_signal_(std::move(on_signal)) {
  const sigset_t set = wanted();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC));
  ending_.reset(::eventfd(0, EFD_CLOEXEC));
  RONDO_CHECK(signals_ && ending_);
  thread_ = std::thread([this] { run(); });
}

EndSignals::~EndSignals() {
  const std::uint64_t one = 1;
  RONDO_CHECK_EQ(::write(ending_.get(), &one, sizeof one), ssize_t{sizeof one});
  thread_.join();
}

// Whoever hangs then has had a second.
void EndSignals::end_soon(int first) {
  pollfd ended{ending_.get(), POLLIN, 0};
  if (::poll(&ended, 1, 1'000) == 0) ::_exit(128 + first);
}

void EndSignals::run() {
  int first = 0;
  for (;;) {
    std::array<pollfd, 2> fds{{{signals_.get(), POLLIN, 0}, {ending_.get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    signalfd_siginfo info{};
    if (fds[0].revents == 0 || ::read(signals_.get(), &info, sizeof info) != sizeof info) continue;
    const int number = static_cast<int>(info.ssi_signo);
    if (first != 0 && insist_) return end_soon(first);
    if (first == 0) first = number;
    on_signal_(number);
  }
}

}  // namespace rondo
