#pragma once

#include <functional>
#include <thread>

#include <rondo/base/owned_fd.h>

// A small thread that sleeps on descriptors which ZeroMQ's poll does not know, and says when one
// has become readable: once, until it is armed again.
//
// `ready` runs on that thread and must not wait. add, rearm: any thread.

namespace rondo::host {

class FdWatch {
 public:
  explicit FdWatch(std::function<void(int fd)> ready);
  ~FdWatch();
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  void add(int fd);  // Requires: open until this object is gone.
  void rearm(int fd);

 private:
  void run();

  std::function<void(int)> ready_;
  OwnedFd epoll_;
  OwnedFd ending_;
  std::thread thread_;
};

}  // namespace rondo::host
