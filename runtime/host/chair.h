#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include <rondo/base/cell.h>
#include <rondo/base/time.h>

// The chair: who turns the loop of a process. One thread at a time sits in it; the others do their
// own work, stand in line for it, or rest until somebody tells them.
//
//   take / leave         a thread that needs the machine itself: it stands in line, and the sitter
//                        gets up for it
//   take_or_ready        a thread that waits for cells: sits and turns the loop if the chair is
//                        free, else rests until its cells are filled or the sitter left
//   take_or_told         likewise, for a word that a sitter sets
//   take_or_hand         an idle executor: likewise, or until there is something to execute
//   watch                the watchman: sits when the chair has stood empty for a moment
//
// Each thread that waits has its own bell: nobody is woken for another's news. The chair is handed
// over, never fought for. `ring` must wake the sitter out of its poll; it is called only while the
// sitter says that it sleeps. Any thread, except where [sitter] is said.

namespace rondo::host {

class Chair {
 public:
  explicit Chair(std::function<void()> ring) : ring_(std::move(ring)) {}

  void take();
  void leave();  // [sitter]
  // True: the caller sits. False: `count` of the cells are ready, the deadline passed, or
  // everything stops.
  bool take_or_ready(std::span<const CellRef> cells, std::size_t count, TimeNs deadline);
  bool take_or_told(const std::atomic<bool>& word);  // False: it was said, or everything stops
  void take_or_hand();  // the caller sits when it returns
  // Blocks the watchman until he shall sit (true) or everything stops (false).
  bool watch();

  [[nodiscard]] bool wanted() const { return wanted_.load(std::memory_order_relaxed) > 0; }
  // [sitter] From now on a letter or a thread in line must ring; false: one is there already, do
  // not sleep.
  bool fall_asleep(const std::atomic<bool>& letters);
  void wake_up() { asleep_.store(false, std::memory_order_relaxed); }  // [sitter]
  void ring_if_asleep() {
    if (asleep_.load()) ring_();
  }
  void tell_filled();  // [sitter] cells were filled or words said: who waits for them goes on
  bool call_hand();    // [sitter] wakes one idle executor; false: none rests

  void stop();  // nobody waits any more
  [[nodiscard]] bool stopped() const { return stopped_.load(); }

 private:
  struct Waiter {
    std::condition_variable bell;
    std::span<const CellRef> cells;
    std::size_t count = 0;
    const std::atomic<bool>* word = nullptr;
    bool hand = false;
    bool go = false;
    bool seated = false;  // the chair was handed over
    [[nodiscard]] bool ready() const;
  };

  void rest(std::unique_lock<std::mutex>& lock, Waiter& waiter, TimeNs deadline);
  bool take_or_ready(Waiter& wish, TimeNs deadline);

  const std::function<void()> ring_;
  std::mutex mutex_;
  std::condition_variable watchman_bell_;
  bool held_ = false;             // guarded by mutex_
  bool watchman_sits_ = false;    // guarded by mutex_
  bool watchman_parked_ = false;  // guarded by mutex_
  std::deque<Waiter*> line_;      // guarded by mutex_: they need the chair
  std::vector<Waiter*> resting_;  // guarded by mutex_
  std::atomic<int> wanted_{0};
  std::atomic<int> resting_count_{0};
  std::atomic<bool> asleep_{false};
  std::atomic<std::uint64_t> takings_{0};
  std::atomic<bool> stopped_{false};
};

// How many of the cells are no longer pending; stops counting at `enough`.
[[nodiscard]] std::size_t count_ready(std::span<const CellRef> cells, std::size_t enough);

}  // namespace rondo::host
