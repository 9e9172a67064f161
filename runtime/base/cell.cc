#include <rondo/base/cell.h>

#include <utility>

#include <rondo/base/cell_extra.h>
#include <rondo/base/check.h>

namespace rondo {

CellRef::CellRef(const CellRef& other) : cell_(other.cell_), table_(other.table_) {
  if (cell_ != nullptr) cell_->holders.fetch_add(1, std::memory_order_relaxed);
}

CellRef::~CellRef() {
  if (cell_ != nullptr) table_->drop(*cell_);
}

CellTable::CellTable() = default;
// Cells hold cells: what they hold is dropped while the lists that drops go to still live.
CellTable::~CellTable() {
  for (const auto& chunk : chunks_) {
    for (Cell& cell : *chunk) {
      const auto extra = std::move(cell.extra);
    }
  }
}

Cell& CellTable::at(std::uint32_t slot) const {
  auto* chunk = index_[slot / kChunkCells].load(std::memory_order_acquire);
  return (*chunk)[slot % kChunkCells];
}

CellRef CellTable::allocate(ProcessId self, std::uint32_t extra_holds) {
  std::uint32_t slot = 0;
  {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      const std::size_t chunk = chunks_.size();
      RONDO_CHECK_LT(chunk, index_.size());
      chunks_.push_back(std::make_unique<std::array<Cell, kChunkCells>>());
      index_[chunk].store(chunks_.back().get(), std::memory_order_release);
      for (std::size_t i = kChunkCells; i > 0; --i) {
        free_.push_back(static_cast<std::uint32_t>(chunk * kChunkCells + i - 1));
      }
    }
    slot = free_.back();
    free_.pop_back();
    ++used_;
  }
  Cell& cell = at(slot);
  cell.slot = slot;
  ++cell.local_generation;
  cell.id = ObjectId{self, slot, cell.local_generation};
  cell.tracked.store(false, std::memory_order_relaxed);
  cell.holders.store(1 + extra_holds, std::memory_order_relaxed);
  cell.state.store(CellState::kPending, std::memory_order_release);
  return CellRef(&cell, this);
}

Cell* CellTable::find(std::uint32_t slot, std::uint32_t generation) {
  if (slot / kChunkCells >= index_.size()) return nullptr;
  auto* chunk = index_[slot / kChunkCells].load(std::memory_order_acquire);
  if (chunk == nullptr) return nullptr;
  Cell& cell = (*chunk)[slot % kChunkCells];
  return cell.local_generation == generation ? &cell : nullptr;
}

CellRef CellTable::hold(Cell& cell) {
  cell.holders.fetch_add(1, std::memory_order_relaxed);
  return CellRef(&cell, this);
}

void CellTable::drop(Cell& cell) {
  if (cell.holders.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (!cell.tracked.load(std::memory_order_acquire)) return recycle(cell);
  const std::lock_guard lock(dropped_mutex_);
  dropped_.push_back(&cell);
  dropped_any_.store(true, std::memory_order_release);
}

void CellTable::recycle(Cell& cell) {
  const auto extra = std::move(cell.extra);  // destroyed outside the lock: it may hold other cells
  const SharedBytes bytes = std::move(cell.bytes);
  cell.bytes.reset();
  cell.small_bytes = 0;
  const std::lock_guard lock(mutex_);
  ++cell.local_generation;  // late answers miss
  free_.push_back(cell.slot);
  --used_;
}

std::vector<Cell*> CellTable::take_dropped() {
  const std::lock_guard lock(dropped_mutex_);
  dropped_any_.store(false, std::memory_order_relaxed);
  return std::exchange(dropped_, {});
}

std::size_t CellTable::live() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

}  // namespace rondo
