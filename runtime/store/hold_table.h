#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <rondo/base/ids.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>
#include <rondo/store/generations.h>

// Who reads which extent: one small shared table a process, so that a node never has to be asked
// before a read, nor told after it, and what a killed process held is free at once: its table is
// dropped with it.
//
// HoldPage is the shared memory: made by the node, mapped by both. HoldTable is the process's side,
// HoldScanner the node's. Picture a cloakroom: a reader hangs up its tag, then checks that the coat
// is still there; the attendant takes the coat off the list, then looks for tags. A page holds
// kSlots different (extent, generation) pairs; more is an answer (kOverloaded).

namespace rondo::store {

class HoldPage {
 public:
  static constexpr std::uint32_t kSlots = 16'384;

  static Result<std::unique_ptr<HoldPage>> create();  // in the node
  static Result<std::unique_ptr<HoldPage>> attach(std::int64_t node_pid, std::int64_t fd);
  ~HoldPage();
  HoldPage(const HoldPage&) = delete;
  HoldPage& operator=(const HoldPage&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }

  // A pair as one word; never 0, for generations begin at 1.
  static constexpr std::uint64_t key(std::uint32_t extent, std::uint32_t generation) {
    return std::uint64_t{extent} << 32 | generation;
  }
  void write(std::uint32_t slot, std::uint64_t key);    // the process; 0 = free
  [[nodiscard]] bool names(std::uint64_t key) const;    // the node
  void collect(std::vector<std::uint64_t>& out) const;  // every key that it names

 private:
  struct Shared;
  HoldPage(OwnedFd fd, Shared* shared) : fd_(std::move(fd)), shared_(shared) {}
  OwnedFd fd_;
  Shared* shared_;
};

// The process's side. Any thread.
class HoldTable {
 public:
  HoldTable(std::unique_ptr<HoldPage> page, std::shared_ptr<const GenerationBoard> board);

  // Takes one hold. kObjectLost: that generation is gone; kOverloaded: the table is full.
  Result<void> hold(std::uint32_t extent, std::uint32_t generation);
  void release(std::uint32_t extent, std::uint32_t generation);  // Requires: held.
  [[nodiscard]] std::size_t held() const;                        // different pairs
  [[nodiscard]] const GenerationBoard& board() const { return *board_; }

 private:
  struct Entry {
    std::uint32_t slot = 0;
    std::uint32_t count = 0;
  };
  void release_locked(std::uint64_t key);

  const std::unique_ptr<HoldPage> page_;
  const std::shared_ptr<const GenerationBoard> board_;
  const int pid_;
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, Entry> entries_;  // guarded by mutex_
  std::vector<std::uint32_t> free_;                   // guarded by mutex_
  std::uint32_t used_ = 0;                            // guarded by mutex_: slots ever taken
};

// The node's side: every living process's page. One thread at a time.
class HoldScanner {
 public:
  Result<int> add(ProcessId process);  // makes the page; answers its descriptor in this process
  void remove(ProcessId process);      // it is dead: its holds are gone
  // Requires: retired on the board first. False: nobody reads it, and nobody ever will again.
  [[nodiscard]] bool held(std::uint32_t extent, std::uint32_t generation) const;
  // Processes that hold it, `except` not counted.
  [[nodiscard]] std::size_t holders(std::uint32_t extent, std::uint32_t generation,
                                    ProcessId except) const;
  // sorted, each once: for looking at many extents
  [[nodiscard]] std::vector<std::uint64_t> held_keys() const;
  [[nodiscard]] std::size_t processes() const { return pages_.size(); }

 private:
  std::unordered_map<ProcessId, std::unique_ptr<HoldPage>> pages_;
};

}  // namespace rondo::store
