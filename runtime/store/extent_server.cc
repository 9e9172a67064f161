#include <rondo/store/extent_server.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include <rondo/store/shared_memory.h>

namespace rondo::store {

struct ExtentServer::Memory {
  OwnedFd fd;
  std::uint64_t bytes = 0;
};

ExtentServer::ExtentServer(std::shared_ptr<GenerationBoard> board) : board_(std::move(board)) {}
ExtentServer::~ExtentServer() = default;

Result<void> ExtentServer::create(std::uint32_t extent, std::uint64_t bytes) {
  if (extent >= kExtentsMax)
    return Error(ErrorCode::kOverloaded, "the store holds " + std::to_string(kExtentsMax) +
                                             " objects, which is the most: let go of some values");
  auto fd = make_memory("rondo-extent", bytes);
  if (!fd) return fd.error();
  if (auto made = make_pages(fd.value().get(), bytes); !made) return made.error();
  auto memory = std::make_shared<Memory>(Memory{std::move(fd).value(), bytes});
  const std::lock_guard lock(mutex_);
  RONDO_CHECK(!extents_.contains(extent));
  extents_[extent] = std::move(memory);
  bytes_ += bytes;
  if (++memories_ == 0) ++memories_;
  board_->set_memory(extent, memories_);
  return {};
}

void ExtentServer::retire(std::uint32_t extent, std::uint32_t generation) {
  if (extent < kExtentsMax) board_->retire(extent, generation);
}

void ExtentServer::destroy(std::uint32_t extent) {
  std::shared_ptr<Memory> memory;
  {
    const std::lock_guard lock(mutex_);
    const auto at = extents_.find(extent);
    if (at == extents_.end()) return;
    memory = std::move(at->second);
    extents_.erase(at);
    bytes_ -= memory->bytes;
    board_->set_memory(extent, 0);
  }
  // Processes keep old maps until they look for the extent again: the pages go now.
  ::fallocate(memory->fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
              static_cast<off_t>(memory->bytes));
}

Result<ExtentServer::Extent> ExtentServer::find(std::uint32_t extent) const {
  const std::lock_guard lock(mutex_);
  const auto at = extents_.find(extent);
  if (at == extents_.end())
    return Error(ErrorCode::kNotFound, "the store has no extent " + std::to_string(extent));
  return Extent{at->second->fd.get(), at->second->bytes};
}

Result<std::shared_ptr<ExtentServer::Memory>> ExtentServer::piece(std::uint32_t extent,
                                                                  std::uint64_t offset,
                                                                  std::uint64_t bytes) const {
  const std::lock_guard lock(mutex_);
  const auto at = extents_.find(extent);
  if (at == extents_.end())
    return Error(ErrorCode::kNotFound, "the store has no extent " + std::to_string(extent));
  if (offset > at->second->bytes || bytes > at->second->bytes - offset)
    return Error(ErrorCode::kInvalid,
                 "bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) +
                     " lie outside an extent of " + std::to_string(at->second->bytes));
  return at->second;
}

Result<void> ExtentServer::read(std::uint32_t extent, std::uint64_t offset,
                                std::span<std::byte> into) const {
  const auto memory = piece(extent, offset, into.size());
  if (!memory) return memory.error();
  for (std::size_t done = 0; done < into.size();) {
    const auto now = static_cast<off_t>(offset + done);
    const ssize_t n =
        ::pread(memory.value()->fd.get(), into.data() + done, into.size() - done, now);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return Error(ErrorCode::kObjectLost, "an extent could not be read: " + errno_text(errno));
    done += static_cast<std::size_t>(n);
  }
  return {};
}

Result<void> ExtentServer::write(std::uint32_t extent, std::uint64_t offset, ByteView from) {
  const auto memory = piece(extent, offset, from.size());
  if (!memory) return memory.error();
  for (std::size_t done = 0; done < from.size();) {
    const auto now = static_cast<off_t>(offset + done);
    const ssize_t n =
        ::pwrite(memory.value()->fd.get(), from.data() + done, from.size() - done, now);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return Error(ErrorCode::kOverloaded, "an extent could not be written: " + errno_text(errno));
    done += static_cast<std::size_t>(n);
  }
  return {};
}

std::uint64_t ExtentServer::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

std::size_t ExtentServer::count() const {
  const std::lock_guard lock(mutex_);
  return extents_.size();
}

}  // namespace rondo::store
