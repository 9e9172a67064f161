#include <rondo/exec/worker_start.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace rondo::exec {

namespace {
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

std::optional<int> number_of(const char* text) {
  if (text == nullptr) return std::nullopt;
  int number = -1;
  const auto [end, failed] = std::from_chars(text, text + std::strlen(text), number);
  if (failed != std::errc() || *end != '\0' || number < 3) return std::nullopt;
  return number;
}
}  // namespace

Result<OwnedFd> pack_worker_start(ByteView bytes) {
  if (bytes.size() > kWorkerStartBytesMax)
    return Error(ErrorCode::kInvalid, "a worker's start would take " +
                                          std::to_string(bytes.size()) + " bytes and may take " +
                                          std::to_string(kWorkerStartBytesMax));
  OwnedFd fd(::memfd_create("rondo-worker", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const auto size = static_cast<ssize_t>(bytes.size());
  if (!fd || ::pwrite(fd.get(), bytes.data(), bytes.size(), 0) != size ||
      ::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0)
    return Error(ErrorCode::kOverloaded,
                 "a worker's start could not be packed: " + errno_text(errno));
  return fd;
}

std::string worker_variable() {
  return std::string(kWorkerVariable) + "=" + std::to_string(kWorkerStartFd);
}

OwnedFd take_inherited(int number) {
  if (::fcntl(number, F_SETFD, FD_CLOEXEC) != 0) return {};
  return OwnedFd(number);
}

std::optional<Bytes> take_worker_start() {
  const std::optional<int> number = number_of(std::getenv(kWorkerVariable));
  ::unsetenv(kWorkerVariable);
  // Only a descriptor that is sealed as ours is: the variable alone may have come from anywhere.
  if (!number || ::fcntl(*number, F_GET_SEALS) != kSeals) return std::nullopt;
  const OwnedFd fd = take_inherited(*number);
  struct stat status = {};
  if (!fd || ::fstat(fd.get(), &status) != 0 ||
      status.st_size > static_cast<off_t>(kWorkerStartBytesMax))
    return std::nullopt;
  Bytes bytes(static_cast<std::size_t>(status.st_size));
  if (::pread(fd.get(), bytes.data(), bytes.size(), 0) != status.st_size) return std::nullopt;
  return bytes;
}

}  // namespace rondo::exec
