#pragma once

#include <memory>
#include <mutex>
#include <string>

#include <rondo/base/result.h>
#include <rondo/store/dirs.h>

// The folder of a private cluster, and how it goes when its process ends in a hurry.
//
// Normally the destructor removes it, after head and nodes have ended. A process that is told twice
// to end cannot wait for them: take_private_folders_along() moves the folders of this process away
// by their names, so that nobody makes a file in them any more, and removes them. It is the last
// thing that a process does. Workers need no word: the kernel ends them with their parent.
//
// Any thread. The list of living folders is one a process, for a signal is one a process.

namespace rondo::host {

class PrivateFolder {
 public:
  // A new one in `home`. kUnavailable, in one sentence.
  static Result<std::unique_ptr<PrivateFolder>> make(const std::string& home);
  ~PrivateFolder();
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;

  [[nodiscard]] const store::ClusterPaths& paths() const { return folder_.paths(); }
  Result<void> make_node(const std::string& name) const { return folder_.make_node(name); }

 private:
  explicit PrivateFolder(store::ClusterFolder folder) : folder_(std::move(folder)) {}
  store::ClusterFolder folder_;
};

// From here on no folder is made: who tries waits until the process has ended. Nor does a word
// appear on stderr.
void take_private_folders_along();

}  // namespace rondo::host
