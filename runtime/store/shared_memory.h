#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// Anonymous files in memory (memfd) and maps of them: the few system calls that this folder rests
// on, with their errors in words.

namespace rondo::store {

// A memfd whose size is sealed. Its pages are not made yet. kOverloaded: descriptors ran out.
Result<OwnedFd> make_memory(const char* name, std::uint64_t bytes);
// Makes the pages of it, so that touching them cannot fail later. kOverloaded: there is no room.
Result<void> make_pages(int fd, std::uint64_t bytes);
// Opens another process's descriptor through /proc. kUnavailable: it is gone, or another user's.
Result<OwnedFd> open_of_process(std::int64_t pid, std::int64_t fd, bool writable);
Result<std::uint64_t> size_of(int fd);

// A shared map of the whole; ends with unmap(). kOverloaded: no address space.
Result<std::span<std::byte>> map_shared(int fd, std::uint64_t bytes, bool writable);
void unmap(std::span<std::byte> map);
// Enters all pages into this process's tables at once, instead of one fault each.
void populate(std::span<std::byte> map, bool writable);

}  // namespace rondo::store
