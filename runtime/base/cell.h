#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <rondo/base/buffer.h>
#include <rondo/base/error.h>
#include <rondo/base/ids.h>

// Cells: where a process keeps what it knows of a ref.
//
// Picture a wall of numbered pigeon-holes. A hole is taken when a call is made; the answer is put
// in once; whoever holds the number may look at any time, and looking at a filled hole disturbs
// nobody. The loop fills holes; every other thread only reads states and drops holds.
//
// A cell is pending, then ready or failed for ever. `fill`/`fail` are called once, by the thread
// that has the loop's role; readers see the value after an acquire load of the state. A hold is a
// CellRef. When the last goes, the cell is recycled at once if nobody else needs to know, and
// otherwise handed to the loop through `take_dropped`.

namespace rondo {

enum class CellState : std::uint32_t { kPending = 0, kReady = 1, kFailed = 2 };

// The rare parts of a cell: borrowed refs, stored values, failures, refs inside the value.
struct CellExtra;

struct alignas(64) Cell {
  std::atomic<CellState> state{CellState::kPending};
  std::atomic<std::uint32_t> holders{0};
  std::atomic<bool> tracked{
      false};  // the loop must hear of the last drop (remote holders, stored bytes, borrowed)
  std::uint32_t slot = 0;         // in this process's table
  ObjectId id;                    // of the object: for own refs {self, slot, generation}
  std::uint32_t small_bytes = 0;  // value of up to kSmallMax bytes, in place
  std::uint32_t local_generation = 0;
  static constexpr std::size_t kSmallMax = 32;
  alignas(16) std::array<std::byte, kSmallMax> small;
  SharedBytes bytes;  // a larger inline value
  std::unique_ptr<CellExtra> extra;

  [[nodiscard]] bool pending() const {
    return state.load(std::memory_order_acquire) == CellState::kPending;
  }
  // Requires: ready, and not stored elsewhere.
  [[nodiscard]] ByteView inline_view() const {
    return bytes ? ByteView(*bytes) : ByteView(small.data(), small_bytes);
  }
};

class CellTable;

// One hold on a cell. Any thread; copies are cheap.
class CellRef {
 public:
  CellRef() = default;
  CellRef(const CellRef& other);
  CellRef(CellRef&& other) noexcept : cell_(other.cell_), table_(other.table_) {
    other.cell_ = nullptr;
  }
  CellRef& operator=(CellRef other) noexcept {
    std::swap(cell_, other.cell_);
    std::swap(table_, other.table_);
    return *this;
  }
  ~CellRef();

  explicit operator bool() const { return cell_ != nullptr; }
  Cell* operator->() const { return cell_; }
  Cell& operator*() const { return *cell_; }
  [[nodiscard]] Cell* get() const { return cell_; }

 private:
  friend class CellTable;
  CellRef(Cell* cell, CellTable* table) : cell_(cell), table_(table) {}  // takes over one hold
  Cell* cell_ = nullptr;
  CellTable* table_ = nullptr;
};

// The wall. One a process; it lives as long as the process, so that refs may outlive the Runtime.
class CellTable {
 public:
  CellTable();
  ~CellTable();
  CellTable(const CellTable&) = delete;
  CellTable& operator=(const CellTable&) = delete;

  // A fresh pending cell of this process; the given holds are taken (the first is the returned
  // one).
  [[nodiscard]] CellRef allocate(ProcessId self, std::uint32_t extra_holds);
  [[nodiscard]] Cell* find(std::uint32_t slot,
                           std::uint32_t generation);  // nullptr if recycled since
  [[nodiscard]] CellRef hold(Cell& cell);              // Requires: somebody holds it now.
  [[nodiscard]] CellRef adopt(Cell& cell) {
    return CellRef(&cell, this);
  }  // takes over a hold taken at allocate

  void drop(Cell& cell);     // one hold less
  void recycle(Cell& cell);  // by the loop, for a cell from take_dropped
  [[nodiscard]] std::vector<Cell*>
  take_dropped();  // tracked cells without holders; the loop decides
  [[nodiscard]] bool has_dropped() const { return dropped_any_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t live() const;

 private:
  static constexpr std::size_t kChunkCells = 1024;
  Cell& at(std::uint32_t slot) const;

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<std::array<Cell, kChunkCells>>> chunks_;  // guarded by mutex_
  std::array<std::atomic<std::array<Cell, kChunkCells>*>, 65'536>
      index_{};                      // read without the mutex
  std::vector<std::uint32_t> free_;  // guarded by mutex_
  std::size_t used_ = 0;             // guarded by mutex_
  std::mutex dropped_mutex_;
  std::vector<Cell*> dropped_;  // guarded by dropped_mutex_
  std::atomic<bool> dropped_any_{false};
};

}  // namespace rondo
