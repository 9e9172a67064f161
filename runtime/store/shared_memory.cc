#include <rondo/store/shared_memory.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <string>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; older kernels answer EINVAL, and pages fault in later
#define MADV_POPULATE_WRITE 23
#endif

namespace rondo::store {

namespace {
constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;

constexpr std::uint64_t kAskFirst = std::uint64_t{16} << 20;

// What the kernel could give without killing anybody; unknown is a lot.
std::uint64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::uint64_t kilobytes = 0;
  for (std::string key, unit; file >> key >> kilobytes; std::getline(file, unit))
    if (key == "MemAvailable:") return kilobytes << 10;
  return UINT64_MAX;
}

Error memory_error(const std::string& what, int number) {
  return {ErrorCode::kOverloaded, what + ": " + errno_text(number)};
}
}  // namespace

Result<OwnedFd> make_memory(const char* name, std::uint64_t bytes) {
  OwnedFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return memory_error("no shared memory could be made", errno);
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
    return memory_error("shared memory of " + std::to_string(bytes) + " bytes could not be made",
                        errno);
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
    return memory_error("shared memory could not be sealed", errno);
  return fd;
}

Result<void> make_pages(int fd, std::uint64_t bytes) {
  // A memfd has no limit of its own: asked for more than there is, the kernel kills somebody
  // instead of answering. The node's bound keeps away from that; this is for a bound that was set
  // too high.
  if (bytes >= kAskFirst && bytes > available_bytes())
    return memory_error("no memory for an object of " + std::to_string(bytes) + " bytes", ENOMEM);
  // Huge pages, where the system has them, are cleared several times as fast as small ones. Only an
  // advised map gets them; what this leaves out, fallocate makes and answers for.
  if (bytes >= kHugePage) {
    if (auto map = map_shared(fd, bytes, true)) {
      ::madvise(map.value().data(), bytes, MADV_HUGEPAGE);
      populate(map.value(), true);
      unmap(map.value());
    }
  }
  int failed = 0;
  do {
    failed = ::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  } while (failed == EINTR);
  if (failed == 0) return {};
  return memory_error("no memory for an object of " + std::to_string(bytes) + " bytes", failed);
}

Result<OwnedFd> open_of_process(std::int64_t pid, std::int64_t fd, bool writable) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  OwnedFd opened(::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (opened) return opened;
  const int number = errno;
  const ErrorCode code =
      number == EMFILE || number == ENFILE ? ErrorCode::kOverloaded : ErrorCode::kUnavailable;
  return Error(code, "shared memory of process " + std::to_string(pid) + " could not be opened (" +
                         path + "): " + errno_text(number));
}

Result<std::uint64_t> size_of(int fd) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0)
    return Error(ErrorCode::kUnavailable, "shared memory has no size: " + errno_text(errno));
  return static_cast<std::uint64_t>(status.st_size);
}

Result<std::span<std::byte>> map_shared(int fd, std::uint64_t bytes, bool writable) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
  if (at == MAP_FAILED)
    return memory_error("shared memory of " + std::to_string(bytes) + " bytes could not be mapped",
                        errno);
  return std::span<std::byte>(static_cast<std::byte*>(at), bytes);
}

void unmap(std::span<std::byte> map) {
  if (!map.empty()) ::munmap(map.data(), map.size());
}

void populate(std::span<std::byte> map, bool writable) {
  ::madvise(map.data(), map.size(), writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

}  // namespace rondo::store
