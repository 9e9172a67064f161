#pragma once

#include <exception>
#include <string>

#include <rondo/base/result.h>

// What `rondo` and its verbs return, and how a verb ends early: one sentence on stderr and the
// code.

namespace rondo::cli {

enum ExitCode : int {
  kDone = 0,
  kWorkFailed = 1,
  kUsage = 2,  // whatever flags and files show before a process starts
  kNotPlaceable = 3,
  kNoCluster = 4,  // not reachable, of another version, or it refused
  kMachine = 5,    // port, store, disk, a missing executable or library
};

struct Exit {
  int code = kDone;
  std::string sentence;
};

// The value, or the end of the verb with this code.
template <class T>
T need(Result<T> result, int code) {
  if (!result) throw Exit{code, result.error().what()};
  return std::move(result).value();
}
inline void need(const Result<void>& result, int code) {
  if (!result) throw Exit{code, result.error().what()};
}

// Leaves a cluster's folder however the verb ends: the last one out removes it.
template <class Folder>
class Leaving {
 public:
  explicit Leaving(Folder& folder) : folder_(folder) {}
  ~Leaving() { folder_.leave_and_remove(); }
  Leaving(const Leaving&) = delete;
  Leaving& operator=(const Leaving&) = delete;

 private:
  Folder& folder_;
};

}  // namespace rondo::cli
