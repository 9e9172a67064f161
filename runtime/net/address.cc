#include <rondo/net/address.h>

#include <cerrno>
#include <cstring>
#include <string>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <rondo/base/limits.h>

namespace rondo::net {
namespace {

constexpr std::string_view kIpc = "ipc://";
constexpr std::string_view kTcp = "tcp://127.0.0.1:";

Error invalid(const core::Address& address, const std::string& why) {
  return {ErrorCode::kInvalid, "address " + address + ": " + why};
}
Error unavailable(const core::Address& address, const std::string& why) {
  return {ErrorCode::kUnavailable, "cannot listen at " + address + ": " + why};
}

bool is_port(std::string_view text) {
  if (text == "*") return true;
  if (text.empty() || text.size() > 5) return false;
  unsigned port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + static_cast<unsigned>(c - '0');
  }
  return port <= 65'535;
}

// Somebody accepts connections at this socket file.
bool is_listening(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  path.copy(to.sun_path, sizeof(to.sun_path) - 1);
  const int rc = connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
  const bool alive = rc == 0 || errno == EAGAIN || errno == EINPROGRESS;
  close(fd);
  return alive;
}

}  // namespace

Result<void> check_address(const core::Address& address) {
  if (address.size() > limits::kAddressBytesMax)
    return invalid(address, "it is longer than " + std::to_string(limits::kAddressBytesMax));
  if (address.starts_with(kTcp)) {
    if (is_port(std::string_view(address).substr(kTcp.size()))) return {};
    return invalid(address, "write a port from 0 to 65535, or * for any");
  }
  if (!address.starts_with(kIpc))
    return invalid(address, "write ipc:///absolute/path or tcp://127.0.0.1:PORT; "
                            "other networks need keys, which do not exist yet");
  const std::string path = address.substr(kIpc.size());
  if (path.empty() || path[0] != '/') return invalid(address, "its path must begin with /");
  if (path.size() >= sizeof(sockaddr_un{}.sun_path))
    return invalid(address, "its path is longer than a socket's name may be (107 bytes): "
                            "set RONDO_HOME to a shorter folder");
  return {};
}

Result<void> prepare_listening(const core::Address& address) {
  if (!address.starts_with(kIpc)) return {};
  const std::string path = address.substr(kIpc.size());
  const std::string folder = path.substr(0, std::max<std::size_t>(1, path.rfind('/')));
  struct stat info{};
  if (lstat(folder.c_str(), &info) != 0)
    return unavailable(address, "folder " + folder + ": " + std::strerror(errno));
  if (!S_ISDIR(info.st_mode)) return unavailable(address, folder + " is not a folder");
  if (info.st_uid != geteuid())
    return unavailable(address, "folder " + folder + " belongs to another user");
  if ((info.st_mode & 077) != 0)
    return unavailable(address, "others may enter the folder " + folder + ": chmod 700 it");
  if (lstat(path.c_str(), &info) != 0) return {};
  if (!S_ISSOCK(info.st_mode))
    return unavailable(address, "there is a file of that name which is not a socket");
  if (is_listening(path)) return unavailable(address, "another process listens there");
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return unavailable(address,
                       std::string("an old socket is in the way: ") + std::strerror(errno));
  return {};
}

}  // namespace rondo::net
