#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <rondo/base/owned_fd.h>

// Descriptors of processes, by system call: glibc 2.36's <sys/pidfd.h> cannot be used from C++.

namespace rondo::exec {

// Close-on-exec. Empty, with errno: no such process.
inline OwnedFd open_pidfd(pid_t pid) {
  return OwnedFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

inline bool send_signal(const OwnedFd& pidfd, int number) {
  return ::syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0) == 0;
}

}  // namespace rondo::exec
