#pragma once

#include <cstdint>
#include <memory>

#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// The notice board of a node's extents: which generation of each extent may be read, and in which
// memory it lies.
//
// One memfd, made and written by the node, mapped read-only by every process of the node. A reader
// first writes down that it holds (extent, generation) in its own HoldTable and then looks here;
// the node first takes the generation off the board (`retire`) and then looks at every HoldTable.
// So at least one of them sees the other.
//
// Any thread. Attaching fails in words; nothing else can fail.

namespace rondo::store {

constexpr std::uint32_t kExtentsMax = 65'536;  // extents are numbered 0 .. kExtentsMax-1

class GenerationBoard {
 public:
  static Result<std::unique_ptr<GenerationBoard>> create();  // in the node
  static Result<std::unique_ptr<GenerationBoard>> attach(std::int64_t node_pid, std::int64_t fd);
  ~GenerationBoard();
  GenerationBoard(const GenerationBoard&) = delete;
  GenerationBoard& operator=(const GenerationBoard&) = delete;

  // The node. Requires: extent < kExtentsMax, generation > 0. `memory` tells one memfd from another
  // under one number.
  void publish(std::uint32_t extent, std::uint32_t generation, std::uint32_t memory);
  // no generation of it may be opened from now on
  void retire(std::uint32_t extent);

  // Anybody. 0: none, or no such extent.
  [[nodiscard]] std::uint32_t generation(std::uint32_t extent) const;
  [[nodiscard]] std::uint32_t memory(std::uint32_t extent) const;

  // to be named to others (with the node's pid)
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  struct Entry;
  GenerationBoard(OwnedFd fd, Entry* entries, bool writable);
  OwnedFd fd_;
  Entry* entries_;
  bool writable_;
};

}  // namespace rondo::store
