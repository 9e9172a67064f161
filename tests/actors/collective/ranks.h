#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <rondo/actors/collective/collective.h>
#include <rondo/actors/collective/zmq_collective.h>

// Groups of ranks for tests: each rank a thread, or a process.

namespace rondo::collective {

// Runs `body` for every rank on a thread of its own, until all are done.
void on_threads(int size, const std::function<void(int)>& body);
// The same, each rank a process that `body` gives an exit code; returns them as waitpid's status.
std::vector<int> on_processes(int size, const std::function<int(int)>& body);

using Group = std::vector<std::unique_ptr<Collective>>;
struct GroupSpec {
  int size = 2;
  Incarnation incarnation{1};
  DurationNs timeout = seconds(20);
  DurationNs join_timeout = seconds(60);   // so that a short `timeout` does not bound the start too
};
Group shm_group(const GroupSpec& spec, std::size_t arena_bytes = 0);
Group zmq_group(const GroupSpec& spec, Route route, std::size_t chunk_bytes = 1024);
Group group_of(const std::string& kind, const GroupSpec& spec);   // "shm", "ring", "tree"

// Numbers whose sum depends on the order of adding, by rank.
template <class T>
std::vector<T> values_of(int rank, std::size_t count);
// The same of every rank, in the tree: level by level, neighbours in pairs.
template <class T>
std::vector<T> tree_sum(int size, std::size_t count);

// A folder that only this user may enter; removed with what is in it.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace rondo::collective
