#include <rondo/host/chair.h>

#include <algorithm>
#include <chrono>

#include <rondo/host/clock.h>

namespace rondo::host {

namespace {
constexpr std::chrono::milliseconds kNap{1};  // between the watchman's looks at a busy chair
}  // namespace

std::size_t count_ready(std::span<const CellRef> cells, std::size_t enough) {
  std::size_t ready = 0;
  for (const CellRef& cell : cells) {
    if (!cell->pending() && ++ready >= enough) break;
  }
  return ready;
}

bool Chair::Waiter::ready() const {
  if (word != nullptr) return word->load();
  return count > 0 && count_ready(cells, count) >= count;
}

void Chair::take() {
  std::unique_lock lock(mutex_);
  takings_.fetch_add(1, std::memory_order_relaxed);
  if (!held_) {
    held_ = true;
    return;
  }
  Waiter waiter;
  line_.push_back(&waiter);
  wanted_.fetch_add(1);
  ring_if_asleep();
  waiter.bell.wait(lock, [&] { return waiter.seated; });
}

void Chair::leave() {
  const std::lock_guard lock(mutex_);
  watchman_sits_ = false;
  if (!line_.empty()) {
    Waiter* next = line_.front();
    line_.pop_front();
    wanted_.fetch_sub(1);
    next->seated = true;
    next->bell.notify_one();
    return;
  }
  held_ = false;
  // Somebody who rests goes on turning: a waiter first, for it has nothing else to do.
  Waiter* heir = nullptr;
  for (Waiter* waiter : resting_) {
    if (!waiter->go && (heir == nullptr || heir->hand)) heir = waiter;
  }
  if (heir != nullptr) {
    heir->go = true;
    heir->bell.notify_one();
  } else if (watchman_parked_) {
    watchman_bell_.notify_one();
  }
}

void Chair::rest(std::unique_lock<std::mutex>& lock, Waiter& waiter, TimeNs deadline) {
  resting_.push_back(&waiter);
  resting_count_.fetch_add(1);  // then it looks at its cells: tell_filled fills, then counts
  const auto go = [&] {
    return waiter.go || stopped_.load() || waiter.ready();
  };
  if (deadline == kNever) {
    waiter.bell.wait(lock, go);
  } else {
    waiter.bell.wait_for(lock, std::chrono::nanoseconds((deadline - boot_time()).ns), go);
  }
  std::erase(resting_, &waiter);
  resting_count_.fetch_sub(1);
}

bool Chair::take_or_ready(std::span<const CellRef> cells, std::size_t count, TimeNs deadline) {
  Waiter wish;
  wish.cells = cells;
  wish.count = count;
  return take_or_ready(wish, deadline);
}

bool Chair::take_or_told(const std::atomic<bool>& word) {
  Waiter wish;
  wish.word = &word;
  return take_or_ready(wish, kNever);
}

bool Chair::take_or_ready(Waiter& wish, TimeNs deadline) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (stopped_.load() || wish.ready()) return false;
    if (deadline != kNever && boot_time() >= deadline) return false;
    if (!held_) {
      held_ = true;
      takings_.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    if (watchman_sits_) {
      lock.unlock();
      take();
      return true;
    }
    ring_if_asleep();  // the sitter must see what this thread has ordered
    wish.go = false;
    rest(lock, wish, deadline);
  }
}

void Chair::take_or_hand() {
  {
    std::unique_lock lock(mutex_);
    if (held_) {
      Waiter waiter;
      waiter.hand = true;
      rest(lock, waiter, kNever);
    }
  }
  take();
}

bool Chair::watch() {
  std::unique_lock lock(mutex_);
  std::uint64_t seen = takings_.load(std::memory_order_relaxed) - 1;
  while (!stopped_.load()) {
    const std::uint64_t takings = takings_.load(std::memory_order_relaxed);
    if (!held_ && takings == seen && line_.empty()) {  // empty for a whole nap
      held_ = true;
      watchman_sits_ = true;
      return true;
    }
    if (held_ && takings == seen) {  // somebody sits for long: sleep until the chair is left
      watchman_parked_ = true;
      watchman_bell_.wait(lock, [&] { return stopped_.load() || !held_; });
      watchman_parked_ = false;
      seen = takings - 1;  // and let it stand empty for a nap
      continue;
    }
    seen = takings;
    watchman_bell_.wait_for(lock, kNap, [&] { return stopped_.load(); });
  }
  return false;
}

bool Chair::fall_asleep(const std::atomic<bool>& letters) {
  asleep_.store(true);
  if (!letters.load() && wanted_.load() == 0 && !stopped_.load()) return true;
  wake_up();
  return false;
}

void Chair::tell_filled() {
  if (resting_count_.fetch_add(0) == 0) return;  // a read-modify-write: see rest
  const std::lock_guard lock(mutex_);
  for (Waiter* waiter : resting_) {
    if (waiter->go || !waiter->ready()) continue;
    waiter->go = true;
    waiter->bell.notify_one();
  }
}

bool Chair::call_hand() {
  if (resting_count_.load() == 0) return false;
  const std::lock_guard lock(mutex_);
  for (Waiter* waiter : resting_) {
    if (!waiter->hand || waiter->go) continue;
    waiter->go = true;
    waiter->bell.notify_one();
    return true;
  }
  return false;
}

void Chair::stop() {
  const std::lock_guard lock(mutex_);
  stopped_.store(true);
  for (Waiter* waiter : resting_) waiter->bell.notify_one();
  watchman_bell_.notify_one();
  if (asleep_.load()) ring_();
}

}  // namespace rondo::host
