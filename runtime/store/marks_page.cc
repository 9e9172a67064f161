#include <rondo/store/marks_page.h>

#include <algorithm>

#include <fcntl.h>

#include <rondo/store/shared_memory.h>

namespace rondo::store {

struct MarksPage::Shared {
  std::atomic<std::int64_t> term_end_ns;  // 0: not set
  std::atomic<std::uint32_t> overflow;    // 1: a caller found no slot
  std::uint32_t reserved;
  struct Mark {
    std::atomic<std::uint64_t> caller;  // 0: free; once written it stays
    std::atomic<std::uint64_t> number;
  };
  Mark marks[kCallers];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

Result<std::unique_ptr<MarksPage>> MarksPage::create() {
  auto fd = make_memory("rondo-marks", sizeof(Shared));
  if (!fd) return fd.error();
  if (auto made = make_pages(fd.value().get(), sizeof(Shared)); !made) return made.error();
  return attach(std::move(fd).value());
}

Result<std::unique_ptr<MarksPage>> MarksPage::attach(OwnedFd fd) {
  const auto bytes = size_of(fd.get());
  if (!bytes) return bytes.error();
  if (bytes.value() != sizeof(Shared))
    return Error(ErrorCode::kUnavailable,
                 "the inherited page of marks has another size: the node is of another version");
  auto map = map_shared(fd.get(), sizeof(Shared), true);
  if (!map) return map.error();
  auto* shared = reinterpret_cast<Shared*>(map.value().data());
  return std::unique_ptr<MarksPage>(new MarksPage(std::move(fd), shared));
}

MarksPage::~MarksPage() { unmap({reinterpret_cast<std::byte*>(shared_), sizeof(Shared)}); }

// Nobody but this process reads the page while it runs, and the kernel keeps its pages after a
// kill: relaxed stores are enough.
void MarksPage::begun(ProcessId caller, std::uint64_t number) {
  std::uint32_t slot = last_.load(std::memory_order_relaxed);
  if (shared_->marks[slot].caller.load(std::memory_order_relaxed) != caller.value) [[unlikely]] {
    slot = slot_of(caller.value);
    if (slot == kCallers) {
      shared_->overflow.store(1, std::memory_order_relaxed);
      return;
    }
    last_.store(slot, std::memory_order_relaxed);
  }
  std::atomic<std::uint64_t>& mark = shared_->marks[slot].number;
  std::uint64_t before = mark.load(std::memory_order_relaxed);
  while (before < number &&
         !mark.compare_exchange_weak(before, number, std::memory_order_relaxed)) {
  }
}

// Open addressing from a hashed start; slots are never given back, so a probe ends at the first
// free one.
std::uint32_t MarksPage::slot_of(std::uint64_t caller) {
  RONDO_CHECK(caller != 0);
  const auto start = static_cast<std::uint32_t>((caller * 0x9E3779B97F4A7C15ull) >> 54);
  static_assert(kCallers == 1u << (64 - 54));
  for (std::uint32_t step = 0; step < kCallers; ++step) {
    const std::uint32_t slot = (start + step) % kCallers;
    std::uint64_t there = shared_->marks[slot].caller.load(std::memory_order_relaxed);
    if (there == 0 && shared_->marks[slot].caller.compare_exchange_strong(
                          there, caller, std::memory_order_relaxed))
      return slot;
    if (there == caller) return slot;
  }
  return kCallers;
}

TimeNs MarksPage::term_end() const {
  const std::int64_t end = shared_->term_end_ns.load(std::memory_order_acquire);
  return end == 0 ? kNever : TimeNs{end};
}

void MarksPage::set_term_end(TimeNs end) {
  shared_->term_end_ns.store(end.ns, std::memory_order_release);
}

MarksPage::Begun MarksPage::read() const {
  Begun begun;
  begun.everything = shared_->overflow.load(std::memory_order_acquire) != 0;
  for (const Shared::Mark& mark : shared_->marks)
    if (const auto caller = mark.caller.load(std::memory_order_acquire); caller != 0)
      if (const auto number = mark.number.load(std::memory_order_acquire); number != 0)
        begun.marks.push_back({ProcessId{caller}, number});
  std::sort(begun.marks.begin(), begun.marks.end(),
            [](const core::BegunMark& a, const core::BegunMark& b) { return a.caller < b.caller; });
  return begun;
}

}  // namespace rondo::store
