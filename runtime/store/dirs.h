#pragma once

#include <string>
#include <vector>

#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// Where everything lies: $RONDO_HOME, a folder a cluster in it, and what is in there.
//
//   $RONDO_HOME/           0700, ours (default $XDG_RUNTIME_DIR/rondo, else /tmp/rondo-UID)
//     NAME/                    a cluster: "main", or "p-PID-xxxx" for a driver's private one
//       lock               held shared by its daemons or driver; by nobody: it is dead
//       state.sqlite token address   the head's
//       s/                     sockets: short names, for a socket's path has at most 107 bytes
//       logs/  nodes/NODE/     workers' logs; a node's files
//
// Values and locks only, no thread of its own. Errors are one sentence with the path and what to
// do.

namespace rondo::store {

// The home folder, made if need be. kUnavailable: somebody else's, of the wrong mode, or not
// writable.
Result<std::string> open_home();
Result<std::string> open_home_at(const std::string& path);

constexpr std::size_t kSocketPathMax = 107;

// The paths of one cluster; makes nothing.
struct ClusterPaths {
  std::string folder;

  [[nodiscard]] std::string name() const;
  [[nodiscard]] std::string lock() const { return folder + "/lock"; }
  [[nodiscard]] std::string state() const { return folder + "/state.sqlite"; }
  [[nodiscard]] std::string token() const { return folder + "/token"; }
  // the head's, one line
  [[nodiscard]] std::string address() const { return folder + "/address"; }
  [[nodiscard]] std::string sockets() const { return folder + "/s"; }
  [[nodiscard]] std::string logs() const { return folder + "/logs"; }
  [[nodiscard]] std::string node(const std::string& node_name) const {
    return folder + "/nodes/" + node_name;
  }
  [[nodiscard]] std::string cache(const std::string& node_name) const {
    return node(node_name) + "/cache";
  }
  // "ipc:///…/s/NAME". kUnavailable: longer than a socket's path may be (set RONDO_HOME to
  // something shorter).
  [[nodiscard]] Result<std::string> socket_address(const std::string& socket_name) const;
  // Whether every process of the cluster can have its socket there. kUnavailable, as above.
  [[nodiscard]] Result<void> check_sockets() const;
};

// Letters, digits, - _ . and at most 64: the name of a cluster is a folder's.
Result<void> check_cluster_name(const std::string& name);

// One process's membership in a cluster's folder: while it lives the folder is not stale.
class ClusterFolder {
 public:
  // Makes the folder and its parts if need be, and takes the shared lock.
  static Result<ClusterFolder> enter(const std::string& home, const std::string& name);
  static Result<ClusterFolder> enter_private(const std::string& home);  // a new "p-PID-xxxx"

  ClusterFolder(ClusterFolder&&) = default;
  ClusterFolder& operator=(ClusterFolder&&) = default;

  [[nodiscard]] const ClusterPaths& paths() const { return paths_; }
  Result<void> make_node(const std::string& node_name) const;  // its folder and cache
  // Held by one process at a time ("head", "supervisor"), until the lock is destroyed or the
  // process dies. kUnavailable.
  [[nodiscard]] Result<OwnedFd> own(const std::string& role) const;
  // Leaves it; the last one out removes the folder. True: it was removed.
  bool leave_and_remove();

 private:
  ClusterFolder(ClusterPaths paths, OwnedFd lock)
      : paths_(std::move(paths)), lock_(std::move(lock)) {}
  ClusterPaths paths_;
  OwnedFd lock_;
};

// Every cluster in the home that somebody lives in, by name.
std::vector<ClusterPaths> living_clusters(const std::string& home);
// Removes the folders in which nobody lives; answers their names. Safe beside others that do the
// same.
std::vector<std::string> remove_stale(const std::string& home);
[[nodiscard]] bool is_private(const ClusterPaths& paths);

// A small file written whole (mode 0600) and renamed; read back as a string.
Result<void> write_file(const std::string& path, std::string_view text);
Result<std::string> read_file(const std::string& path);

}  // namespace rondo::store
