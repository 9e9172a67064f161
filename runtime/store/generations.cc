#include <rondo/store/generations.h>

#include <atomic>

#include <rondo/store/shared_memory.h>

namespace rondo::store {

struct GenerationBoard::Entry {
  std::atomic<std::uint32_t> retired;  // the highest generation that is over
  std::atomic<std::uint32_t> memory;
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

namespace {
constexpr std::uint64_t kEntryBytes = 8;
constexpr std::uint64_t kBoardBytes = kExtentsMax * kEntryBytes;  // pages exist once touched
}  // namespace

Result<std::unique_ptr<GenerationBoard>> GenerationBoard::create() {
  auto fd = make_memory("rondo-generations", kBoardBytes);
  if (!fd) return fd.error();
  auto map = map_shared(fd.value().get(), kBoardBytes, true);
  if (!map) return map.error();
  return std::unique_ptr<GenerationBoard>(new GenerationBoard(std::move(fd).value(), map.value()));
}

Result<std::unique_ptr<GenerationBoard>> GenerationBoard::attach(std::int64_t node_pid,
                                                                 std::int64_t fd) {
  auto opened = open_of_process(node_pid, fd, false);
  if (!opened) return opened.error();
  const auto bytes = size_of(opened.value().get());
  if (!bytes) return bytes.error();
  if (bytes.value() != kBoardBytes)
    return Error(ErrorCode::kUnavailable,
                 "the node's table of generations has another size: it is of another version");
  auto map = map_shared(opened.value().get(), kBoardBytes, false);
  if (!map) return map.error();
  return std::unique_ptr<GenerationBoard>(new GenerationBoard(OwnedFd(), map.value()));
}

GenerationBoard::~GenerationBoard() { unmap(map_); }

GenerationBoard::Entry& GenerationBoard::at(std::uint32_t extent) const {
  static_assert(sizeof(Entry) == kEntryBytes);
  // zero pages: every entry is valid as it is
  return reinterpret_cast<Entry*>(map_.data())[extent];
}

void GenerationBoard::retire(std::uint32_t extent, std::uint32_t generation) {
  RONDO_CHECK_LT(extent, kExtentsMax);
  Entry& entry = at(extent);
  if (generation > entry.retired.load(std::memory_order_relaxed))
    entry.retired.store(generation, std::memory_order_seq_cst);
}

void GenerationBoard::set_memory(std::uint32_t extent, std::uint32_t memory) {
  RONDO_CHECK_LT(extent, kExtentsMax);
  at(extent).memory.store(memory, std::memory_order_release);
}

bool GenerationBoard::readable(std::uint32_t extent, std::uint32_t generation) const {
  return extent < kExtentsMax && generation > at(extent).retired.load(std::memory_order_seq_cst);
}

std::uint32_t GenerationBoard::memory(std::uint32_t extent) const {
  return extent < kExtentsMax ? at(extent).memory.load(std::memory_order_acquire) : 0;
}

}  // namespace rondo::store
