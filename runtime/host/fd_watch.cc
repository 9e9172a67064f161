#include <rondo/host/fd_watch.h>

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/host/daemon_loop.h>

namespace rondo::host {

FdWatch::FdWatch(std::function<void(int fd)> ready)
    : ready_(std::move(ready)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      ending_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  RONDO_CHECK(epoll_ && ending_);
  epoll_event event{.events = EPOLLIN, .data = {.fd = ending_.get()}};
  RONDO_CHECK_EQ(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, ending_.get(), &event), 0);
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

FdWatch::~FdWatch() {
  const std::uint64_t one = 1;
  RONDO_CHECK_EQ(::write(ending_.get(), &one, sizeof one), ssize_t{sizeof one});
  thread_.join();
}

void FdWatch::add(int fd) {
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.fd = fd}};
  RONDO_CHECK_EQ(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), 0);
}

void FdWatch::rearm(int fd) {
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.fd = fd}};
  RONDO_CHECK_EQ(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event), 0);
}

void FdWatch::run() {
  pthread_setname_np(pthread_self(), "rondo-watch");
  std::array<epoll_event, 8> events{};
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    if (count < 0 && errno != EINTR) return;
    for (int i = 0; i < count; ++i) {
      const int fd = events.at(static_cast<std::size_t>(i)).data.fd;
      if (fd == ending_.get()) return;
      ready_(fd);
    }
  }
}

}  // namespace rondo::host
