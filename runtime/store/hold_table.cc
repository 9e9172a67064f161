#include <rondo/store/hold_table.h>

#include <unistd.h>

#include <algorithm>
#include <string>

#include <rondo/store/shared_memory.h>

namespace rondo::store {

struct HoldPage::Shared {
  std::atomic<std::uint32_t> used;  // slots [0, used) may be taken: a scan ends there
  std::uint32_t reserved;
  std::atomic<std::uint64_t> slots[kSlots];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

Result<std::unique_ptr<HoldPage>> HoldPage::create() {
  auto fd = make_memory("rondo-holds", sizeof(Shared));
  if (!fd) return fd.error();
  auto map = map_shared(fd.value().get(), sizeof(Shared), true);
  if (!map) return map.error();
  auto* shared = reinterpret_cast<Shared*>(map.value().data());
  return std::unique_ptr<HoldPage>(new HoldPage(std::move(fd).value(), shared));
}

Result<std::unique_ptr<HoldPage>> HoldPage::attach(std::int64_t node_pid, std::int64_t fd) {
  auto opened = open_of_process(node_pid, fd, true);
  if (!opened) return opened.error();
  const auto bytes = size_of(opened.value().get());
  if (!bytes) return bytes.error();
  if (bytes.value() != sizeof(Shared))
    return Error(ErrorCode::kUnavailable,
                 "the node's hold table has another size: it is of another version");
  auto map = map_shared(opened.value().get(), sizeof(Shared), true);
  if (!map) return map.error();
  return std::unique_ptr<HoldPage>(
      new HoldPage(OwnedFd(), reinterpret_cast<Shared*>(map.value().data())));
}

HoldPage::~HoldPage() { unmap({reinterpret_cast<std::byte*>(shared_), sizeof(Shared)}); }

// All of these are sequentially consistent: a hold and a retirement that race must see one another
// in one of the two orders. `used` is raised before the slot is written, so a scan that missed the
// raise also precedes the writer's look at the board.
void HoldPage::write(std::uint32_t slot, std::uint64_t key) {
  RONDO_CHECK_LT(slot, kSlots);
  if (slot >= shared_->used.load(std::memory_order_relaxed))
    shared_->used.store(slot + 1, std::memory_order_seq_cst);
  shared_->slots[slot].store(key, std::memory_order_seq_cst);
}

bool HoldPage::names(std::uint64_t key) const {
  const std::uint32_t used = std::min(shared_->used.load(std::memory_order_seq_cst), kSlots);
  for (std::uint32_t slot = 0; slot < used; ++slot)
    if (shared_->slots[slot].load(std::memory_order_seq_cst) == key) return true;
  return false;
}

void HoldPage::collect(std::vector<std::uint64_t>& out) const {
  const std::uint32_t used = std::min(shared_->used.load(std::memory_order_seq_cst), kSlots);
  for (std::uint32_t slot = 0; slot < used; ++slot)
    if (const auto key = shared_->slots[slot].load(std::memory_order_seq_cst); key != 0)
      out.push_back(key);
}

HoldTable::HoldTable(std::unique_ptr<HoldPage> page, std::shared_ptr<const GenerationBoard> board)
    : page_(std::move(page)), board_(std::move(board)), pid_(::getpid()) {}

Result<void> HoldTable::hold(std::uint32_t extent, std::uint32_t generation) {
  RONDO_CHECK(generation > 0);
  const std::uint64_t key = HoldPage::key(extent, generation);
  const std::lock_guard lock(mutex_);
  const auto [at, fresh] = entries_.try_emplace(key);
  Entry& entry = at->second;
  if (!fresh) {
    ++entry.count;  // held already: the node cannot have taken it away
    return {};
  }
  if (free_.empty() && used_ == HoldPage::kSlots) {
    entries_.erase(at);
    return Error(ErrorCode::kOverloaded,
                 "this process reads " + std::to_string(HoldPage::kSlots) +
                     " stored objects at once, which is the most: let go of some values");
  }
  if (free_.empty()) {
    entry.slot = used_++;
  } else {
    entry.slot = free_.back();
    free_.pop_back();
  }
  entry.count = 1;
  page_->write(entry.slot, key);
  if (board_->readable(extent, generation)) return {};
  release_locked(key);
  return Error(ErrorCode::kObjectLost,
               "the object's memory was given back before it could be read");
}

void HoldTable::release(std::uint32_t extent, std::uint32_t generation) {
  const std::lock_guard lock(mutex_);
  release_locked(HoldPage::key(extent, generation));
}

void HoldTable::release_locked(std::uint64_t key) {
  const auto at = entries_.find(key);
  RONDO_CHECK(at != entries_.end());
  if (--at->second.count > 0) return;
  // a forked copy of the program lets go of its copies, not of ours
  if (::getpid() != pid_) return;
  page_->write(at->second.slot, 0);
  free_.push_back(at->second.slot);
  entries_.erase(at);
}

std::size_t HoldTable::held() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

Result<int> HoldScanner::add(ProcessId process) {
  auto page = HoldPage::create();
  if (!page) return page.error();
  const int fd = page.value()->fd();
  pages_[process] = std::move(page).value();
  return fd;
}

void HoldScanner::remove(ProcessId process) { pages_.erase(process); }

bool HoldScanner::held(std::uint32_t extent, std::uint32_t generation) const {
  const std::uint64_t key = HoldPage::key(extent, generation);
  return std::any_of(pages_.begin(), pages_.end(),
                     [key](const auto& entry) { return entry.second->names(key); });
}

std::size_t HoldScanner::holders(std::uint32_t extent, std::uint32_t generation,
                                 ProcessId except) const {
  const std::uint64_t key = HoldPage::key(extent, generation);
  return static_cast<std::size_t>(
      std::count_if(pages_.begin(), pages_.end(), [key, except](const auto& entry) {
        return entry.first != except && entry.second->names(key);
      }));
}

std::vector<std::uint64_t> HoldScanner::held_keys() const {
  std::vector<std::uint64_t> keys;
  for (const auto& [process, page] : pages_) page->collect(keys);
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

}  // namespace rondo::store
