#include <rondo/exec/log_tail.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <rondo/base/owned_fd.h>

namespace rondo::exec {

namespace {
constexpr std::size_t kLineBytesMax = 4'096;
constexpr std::size_t kReadBytesMax = std::size_t{1} << 20;

std::string read_from(int fd, std::uint64_t offset, std::size_t bytes_max) {
  std::string text(bytes_max, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n =
        ::pread(fd, text.data() + done, text.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  text.resize(done);
  return text;
}
}  // namespace

std::string last_lines(const std::string& path, std::size_t lines, std::size_t bytes_max) {
  const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status = {};
  if (!fd || lines == 0 || ::fstat(fd.get(), &status) != 0) return "";
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const std::uint64_t from = size - std::min<std::uint64_t>(size, bytes_max);
  std::string text = read_from(fd.get(), from, bytes_max);
  while (text.ends_with('\n')) text.pop_back();
  std::size_t at = text.size();
  for (std::size_t n = 0; n < lines && at != std::string::npos && at > 0; ++n)
    at = text.rfind('\n', at - 1);
  if (at != std::string::npos && at < text.size() && text[at] == '\n') return text.substr(at + 1);
  // Fewer lines than asked for; a first line that was cut by the bound is left out, unless it is
  // all there is.
  const std::size_t whole = from > 0 ? text.find('\n') : std::string::npos;
  return whole == std::string::npos ? text : text.substr(whole + 1);
}

std::vector<std::string> LogFollower::read_new(bool all) {
  std::vector<std::string> lines;
  const OwnedFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return lines;
  std::string fresh;
  do {
    fresh = read_from(fd.get(), offset_, kReadBytesMax);
    offset_ += fresh.size();
    for (std::size_t at = 0; at < fresh.size();) {
      const std::size_t end = fresh.find('\n', at);
      const std::size_t room = kLineBytesMax - begun_.size();
      begun_ += fresh.substr(at, std::min(room, std::min(end, fresh.size()) - at));
      if (end == std::string::npos) break;
      lines.push_back(std::exchange(begun_, ""));
      at = end + 1;
    }
  } while (all && fresh.size() == kReadBytesMax);
  if (all && !begun_.empty()) lines.push_back(std::exchange(begun_, ""));
  return lines;
}

}  // namespace rondo::exec
