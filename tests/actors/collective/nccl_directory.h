#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include <rondo/actors/collective/nccl_collective.h>

// The way of rank 0's id to the others, ranks being threads of a test; in a run, the group's
// directory.

namespace rondo::collective {

class Directory {
 public:
  explicit Directory(std::optional<NcclId> id = std::nullopt) : id_(id) {}
  Result<NcclId> exchange(std::optional<NcclId> mine) {
    std::unique_lock lock(mutex_);
    if (mine) id_ = mine;
    bell_.notify_all();
    bell_.wait(lock, [this] { return id_.has_value(); });
    return *id_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable bell_;
  std::optional<NcclId> id_;
};

}  // namespace rondo::collective
