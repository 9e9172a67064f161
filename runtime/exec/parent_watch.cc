#include <rondo/exec/parent_watch.h>

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include <rondo/exec/pidfd.h>

namespace rondo::exec {

Result<ParentWatch> ParentWatch::begin(pid_t parent) {
  OwnedFd pidfd = open_pidfd(parent);  // close-on-exec by itself
  const int number = errno;
  // Looked at after the opening: if it is our parent now, the descriptor is of it and of nobody
  // later.
  if (::getppid() != parent)
    return Error(ErrorCode::kUnavailable,
                 "the node (process " + std::to_string(parent) + ") has ended");
  if (!pidfd)
    return Error(ErrorCode::kUnavailable, "the node (process " + std::to_string(parent) +
                                              ") cannot be watched: " + errno_text(number));
  return ParentWatch(std::move(pidfd), parent);
}

bool ParentWatch::gone() const {
  pollfd waiting{pidfd_.get(), POLLIN, 0};
  return ::poll(&waiting, 1, 0) > 0 || ::getppid() != parent_;
}

}  // namespace rondo::exec
