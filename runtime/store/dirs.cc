#include <rondo/store/dirs.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <rondo/base/ids.h>
#include <rondo/base/prng.h>

namespace rondo::store {

namespace fs = std::filesystem;

namespace {
Error trouble(const std::string& text) { return {ErrorCode::kUnavailable, text}; }

Result<void> make_one_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return trouble("could not make the folder " + path + ": " + errno_text(errno) +
                   " (RONDO_HOME names another)");
  return {};
}

Result<void> make_folder(const std::string& path) {
  std::error_code failed;
  if (const auto parent = fs::path(path).parent_path(); !fs::exists(parent, failed))
    if (auto made = make_folder(parent); !made) return made;
  return make_one_folder(path);
}

Result<void> check_ours(const std::string& path) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0)
    return trouble("could not look at " + path + ": " + errno_text(errno));
  if (!S_ISDIR(status.st_mode))
    return trouble(path + " is no folder: set RONDO_HOME to another place");
  if (status.st_uid != ::geteuid())
    return trouble(path + " belongs to user " + std::to_string(status.st_uid) +
                   ": set RONDO_HOME to a folder of yours");
  if ((status.st_mode & 0077) != 0)
    return trouble(path +
                   " is open to other users: chmod 700 it, or set RONDO_HOME to another folder");
  if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0)
    return trouble(path + " cannot be written: " + errno_text(errno) +
                   " (RONDO_HOME names another)");
  return {};
}

Result<OwnedFd> open_lock(const std::string& path) {
  OwnedFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return trouble("could not open " + path + ": " + errno_text(errno));
  return fd;
}

// Locks of an open file description: like flock's, but one can also look without taking.
struct flock whole(int kind) {
  struct flock range = {};
  range.l_type = static_cast<short>(kind);
  range.l_whence = SEEK_SET;
  return range;
}

bool lock(int fd, int kind, bool wait) {
  struct flock range = whole(kind);
  int done = 0;
  do {
    done = ::fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range);
  } while (done != 0 && errno == EINTR);
  return done == 0;
}

bool is_held(int fd) {
  struct flock range = whole(F_WRLCK);
  return ::fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

// The folder may have been removed between the opening of its lock and the locking: then it is
// another one.
bool still_there(int fd, const std::string& path) {
  struct stat held = {};
  struct stat there = {};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &there) == 0 &&
         held.st_ino == there.st_ino && held.st_dev == there.st_dev;
}

bool removed_if_alone(const ClusterPaths& paths, int fd) {
  if (!lock(fd, F_WRLCK, false)) return false;
  if (!still_there(fd, paths.lock())) return false;
  std::error_code failed;
  // The lock file goes last: while it stands, whoever comes meets our lock on it.
  for (const auto& entry : fs::directory_iterator(paths.folder, failed))
    if (entry.path() != paths.lock()) fs::remove_all(entry.path(), failed);
  fs::remove_all(paths.folder, failed);
  return !fs::exists(paths.folder);
}

std::vector<ClusterPaths> clusters(const std::string& home) {
  std::vector<ClusterPaths> found;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(home, failed))
    if (fs::exists(entry.path() / "lock", failed)) found.push_back({entry.path().string()});
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.folder < b.folder; });
  return found;
}

bool valid_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}
}  // namespace

Result<std::string> open_home() {
  if (const char* home = std::getenv("RONDO_HOME"); home != nullptr && *home != '\0') {
    std::error_code failed;
    const fs::path absolute = fs::absolute(home, failed);
    return open_home_at(failed ? std::string(home) : absolute.lexically_normal().string());
  }
  const char* run = std::getenv("XDG_RUNTIME_DIR");
  if (run != nullptr && *run == '/' && ::access(run, W_OK | X_OK) == 0)
    return open_home_at(std::string(run) + "/rondo");
  return open_home_at("/tmp/rondo-" + std::to_string(::geteuid()));
}

Result<std::string> open_home_at(const std::string& path) {
  std::string folder = path;
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  if (auto made = make_folder(folder); !made) return made.error();
  if (auto ours = check_ours(folder); !ours) return ours.error();
  return folder;
}

std::string ClusterPaths::name() const { return fs::path(folder).filename(); }

Result<std::string> ClusterPaths::socket_address(const std::string& socket_name) const {
  const std::string path = sockets() + "/" + socket_name;
  if (path.size() > kSocketPathMax)
    return trouble("the path of a socket would have " + std::to_string(path.size()) +
                   " bytes and may have " + std::to_string(kSocketPathMax) + " (" + path +
                   "): set RONDO_HOME to a shorter path");
  return "ipc://" + path;
}

Result<void> ClusterPaths::check_sockets() const {
  const auto longest = socket_address("d-" + hex(0));  // a driver's, a worker's, a client's
  return longest ? Result<void>() : longest.error();
}

Result<void> check_cluster_name(const std::string& name) {
  if (valid_name(name)) return {};
  return Error(ErrorCode::kInvalid,
               "no name for a cluster: \"" + name + "\" (letters, digits, - _ . and at most 64)");
}

Result<ClusterFolder> ClusterFolder::enter(const std::string& home, const std::string& name) {
  if (auto fine = check_cluster_name(name); !fine) return fine.error();
  const ClusterPaths paths{home + "/" + name};
  for (;;) {
    if (auto made = make_folder(paths.folder); !made) return made.error();
    auto fd = open_lock(paths.lock());
    if (!fd) {
      if (!fs::exists(paths.folder)) continue;  // removed in between by somebody who cleans up
      return fd.error();
    }
    if (!lock(fd.value().get(), F_RDLCK, true))
      return trouble("could not lock " + paths.lock() + ": " + errno_text(errno));
    if (!still_there(fd.value().get(), paths.lock())) continue;  // removed in between
    for (const std::string& folder : {paths.sockets(), paths.logs(), paths.folder + "/nodes"})
      if (auto made = make_folder(folder); !made) return made.error();
    return ClusterFolder(paths, std::move(fd).value());
  }
}

Result<ClusterFolder> ClusterFolder::enter_private(const std::string& home) {
  return enter(home, "p-" + std::to_string(::getpid()) + "-" + hex(entropy()).substr(12));
}

Result<void> ClusterFolder::make_node(const std::string& node_name) const {
  if (!valid_name(node_name))
    return Error(ErrorCode::kInvalid, "no name for a node: \"" + node_name +
                                          "\" (letters, digits, - _ . and at most 64)");
  // Without parents: a cluster's folder that was taken away is not made again.
  for (const std::string& folder : {paths_.node(node_name), paths_.cache(node_name)})
    if (auto made = make_one_folder(folder); !made) return made;
  return {};
}

Result<OwnedFd> ClusterFolder::own(const std::string& role) const {
  auto fd = open_lock(paths_.folder + "/" + role + ".lock");
  if (!fd) return fd;
  if (!lock(fd.value().get(), F_WRLCK, false))
    return trouble("the cluster " + paths_.name() + " has a living " + role + " already (" +
                   paths_.folder + ")");
  return fd;
}

bool ClusterFolder::leave_and_remove() {
  const bool removed = lock_ && removed_if_alone(paths_, lock_.get());
  lock_.reset();
  return removed;
}

std::vector<ClusterPaths> living_clusters(const std::string& home) {
  std::vector<ClusterPaths> living;
  for (const ClusterPaths& paths : clusters(home)) {
    const OwnedFd fd(::open(paths.lock().c_str(), O_RDWR | O_CLOEXEC));
    if (fd && is_held(fd.get())) living.push_back(paths);
  }
  return living;
}

std::vector<std::string> remove_stale(const std::string& home) {
  std::vector<std::string> removed;
  for (const ClusterPaths& paths : clusters(home)) {
    const OwnedFd fd(::open(paths.lock().c_str(), O_RDWR | O_CLOEXEC));
    if (fd && removed_if_alone(paths, fd.get())) removed.push_back(paths.name());
  }
  return removed;
}

bool is_private(const ClusterPaths& paths) { return paths.name().starts_with("p-"); }

Result<void> write_file(const std::string& path, std::string_view text) {
  const std::string temporary = path + "." + std::to_string(::getpid());
  OwnedFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return trouble("could not write " + path + ": " + errno_text(errno));
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t n = ::write(fd.get(), rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int number = errno;
      ::unlink(temporary.c_str());
      return trouble("could not write " + path + ": " + errno_text(number));
    }
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return trouble("could not write " + path + ": " + errno_text(errno));
  return {};
}

Result<std::string> read_file(const std::string& path) {
  const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return trouble("could not read " + path + ": " + errno_text(errno));
  std::string text;
  char piece[4096];
  for (;;) {
    const ssize_t n = ::read(fd.get(), piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return trouble("could not read " + path + ": " + errno_text(errno));
    if (n == 0) return text;
    text.append(piece, static_cast<std::size_t>(n));
  }
}

}  // namespace rondo::store
