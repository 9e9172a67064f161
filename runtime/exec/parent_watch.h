#pragma once

#include <sys/types.h>

#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// In a worker: learns that its node is gone, beside the kernel's own PR_SET_PDEATHSIG (which is
// lost by a program that changes its user, and which tells nobody anything). The descriptor becomes
// readable when the parent has ended.

namespace rondo::exec {

class ParentWatch {
 public:
  // kUnavailable: that process is not the parent (any more): end at once.
  static Result<ParentWatch> begin(pid_t parent);

  [[nodiscard]] int fd() const { return pidfd_.get(); }
  [[nodiscard]] bool gone() const;  // never waits

 private:
  ParentWatch(OwnedFd pidfd, pid_t parent) : pidfd_(std::move(pidfd)), parent_(parent) {}
  OwnedFd pidfd_;
  pid_t parent_;
};

}  // namespace rondo::exec
