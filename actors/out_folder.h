#pragma once

#include <mutex>
#include <string>
#include <vector>

#include <rondo/base/result.h>

// The folder that a run writes into. A run that ends before it has saved anything leaves no folder
// that it made itself, nor half a file in one that it found.
//
// Leaving may be done from any thread, also while another one writes; the rest is for one thread.

namespace rondo::actors {

class OutFolder {
 public:
  OutFolder() = default;
  ~OutFolder() { leave(); }
  OutFolder(const OutFolder&) = delete;
  OutFolder& operator=(const OutFolder&) = delete;

  // Makes it, with its parents, and removes what a killed run left unfinished in it. kUnavailable.
  [[nodiscard]] Result<void> make(const std::string& path);
  // Removes unfinished files, a learning curve of this run that belongs to no checkpoint, and those
  // folders that make() made and in which nothing is.
  void leave();
  // The same, for a process that ends at once: who then wants to make a folder waits for its end.
  void leave_for_good();

 private:
  void remove_what_is_useless();

  std::mutex mutex_;
  std::string path_;               // GUARDED_BY(mutex_)
  bool had_curve_ = false;         // GUARDED_BY(mutex_)
  std::vector<std::string> made_;  // GUARDED_BY(mutex_); the innermost first
};

}  // namespace rondo::actors
