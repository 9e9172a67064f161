#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// The notice board of a node's extents: which generations of each extent are over, and in which
// memory it lies.
//
// One memfd, made and written by the node, mapped read-only by every process of the node. A reader
// first writes down that it holds (extent, generation) in its own HoldTable and then looks here;
// the node first retires the generation here and then looks at every HoldTable. So at least one of
// them sees the other. An extent's generations only ever rise, also when its memory is made anew.
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

  // The node. Requires: extent < kExtentsMax. This generation and all before it are over.
  void retire(std::uint32_t extent, std::uint32_t generation);
  void set_memory(std::uint32_t extent, std::uint32_t memory);

  // Anybody. False for a number that no extent can have.
  [[nodiscard]] bool readable(std::uint32_t extent, std::uint32_t generation) const;
  // Tells one memfd from a later one under the same number; 0: none.
  [[nodiscard]] std::uint32_t memory(std::uint32_t extent) const;

  [[nodiscard]] int fd() const { return fd_.get(); }  // to be named to others (with the node's pid)

 private:
  struct Entry;
  GenerationBoard(OwnedFd fd, std::span<std::byte> map) : fd_(std::move(fd)), map_(map) {}
  [[nodiscard]] Entry& at(std::uint32_t extent) const;
  OwnedFd fd_;
  std::span<std::byte> map_;
};

}  // namespace rondo::store
