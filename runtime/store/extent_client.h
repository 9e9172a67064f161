#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <rondo/base/buffer.h>
#include <rondo/base/result.h>
#include <rondo/store/hold_table.h>

// A process's window on its node's extents: writes the ones that it was granted, reads the sealed
// ones in place.
//
// Maps are kept, so that the second use of an extent by the same process costs neither a system
// call nor a page fault; the node sees to it that extents come back to who has them mapped. Memory
// granted for writing is mapped writable, everything else read-only: a write into somebody else's
// object ends the program, never the object.
//
// Any thread. The Buffers that it gives carry their own hold and map and outlive the client.

namespace rondo::store {

struct ExtentName {  // what ExtentGrant and ObjectOpened say
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
  std::uint64_t bytes = 0;  // of the object; the extent may be larger
  std::int64_t fd = -1;     // of the node's process
  std::int64_t node_pid = 0;
};

class ExtentClient {
 public:
  struct Options {
    std::size_t maps_max = 256;                            // kept while nobody uses them
    std::uint64_t map_bytes_max = std::uint64_t{8} << 30;  // address space of those
  };
  explicit ExtentClient(std::shared_ptr<HoldTable> holds);
  ExtentClient(std::shared_ptr<HoldTable> holds, Options options);
  ~ExtentClient();

  // Memory of exactly `bytes` to fill before sealing, mapped as long as `keep` lives. Requires:
  // granted to this process. kUnavailable: the node is gone; kOverloaded: no address space.
  struct Writable {
    std::span<std::byte> bytes;
    std::shared_ptr<const void> keep;
  };
  Result<Writable> write(const ExtentName& granted);

  // The sealed bytes, read in place. kObjectLost: that generation is gone; kOverloaded: too many
  // holds.
  Result<Buffer> open(const ExtentName& sealed);

  // drops the kept map; Buffers keep theirs
  void forget(std::uint32_t extent);
  [[nodiscard]] std::size_t maps() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// memcpy for large pieces: with a second thread where that is quicker.
void copy_large(std::span<std::byte> to, ByteView from);

}  // namespace rondo::store
