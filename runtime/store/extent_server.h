#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include <rondo/base/bytes.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>
#include <rondo/store/generations.h>

// The node's shared memory, cut into extents: numbered pieces that a process is granted, fills, and
// seals as an object.
//
// Which extent is whose, and when one may be used again, is decided by core::Node; this carries it
// out. Memory is made whole before it is granted (never SIGBUS later), its size is sealed, and it
// is kept for the next use, warm in the process that has it mapped. Others open it as
// /proc/NODE_PID/fd/FD.
//
// Any thread. `create` of a large extent takes a while (the kernel clears the pages): off the loop
// if it matters.

namespace rondo::store {

class ExtentServer {
 public:
  explicit ExtentServer(std::shared_ptr<GenerationBoard> board);
  ~ExtentServer();

  // Fresh memory under this number, which must be free. kOverloaded: no memory or descriptors left,
  // or the number is beyond kExtentsMax.
  Result<void> create(std::uint32_t extent, std::uint64_t bytes);
  // This generation is over: nobody may open it from now on, who holds it goes on reading.
  void retire(std::uint32_t extent, std::uint32_t generation);
  // The memory goes back to the system at once, whoever still has it mapped. Idempotent.
  // Requires: nobody holds a generation of it.
  void destroy(std::uint32_t extent);

  struct Extent {
    int fd = -1;              // of this process: for ExtentGrant and ObjectOpened
    std::uint64_t bytes = 0;  // room in it
  };
  [[nodiscard]] Result<Extent> find(std::uint32_t extent) const;  // kNotFound

  // Pieces for transfers between nodes. kInvalid: outside the extent; kNotFound: no such extent.
  Result<void> read(std::uint32_t extent, std::uint64_t offset, std::span<std::byte> into) const;
  Result<void> write(std::uint32_t extent, std::uint64_t offset, ByteView from);

  [[nodiscard]] std::uint64_t bytes() const;  // of all extents
  [[nodiscard]] std::size_t count() const;

 private:
  struct Memory;
  // The memory, if this piece lies inside.
  [[nodiscard]] Result<std::shared_ptr<Memory>> piece(std::uint32_t extent, std::uint64_t offset,
                                                      std::uint64_t bytes) const;

  const std::shared_ptr<GenerationBoard> board_;
  mutable std::mutex mutex_;
  std::map<std::uint32_t, std::shared_ptr<Memory>> extents_;  // guarded by mutex_
  std::uint64_t bytes_ = 0;                                   // guarded by mutex_
  // guarded by mutex_: numbers every memfd
  std::uint32_t memories_ = 0;
};

}  // namespace rondo::store
