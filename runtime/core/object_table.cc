#include <rondo/core/object_table.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>

namespace rondo::core {

namespace {
CellExtra& extra_of(Cell& cell) {
  if (!cell.extra) cell.extra = std::make_unique<CellExtra>();
  return *cell.extra;
}

void keep_refs(Cell& cell, std::vector<CellRef> refs) {
  if (refs.empty()) return;
  for (CellRef& ref : refs) extra_of(cell).refs.push_back(RefInside{std::move(ref)});
}

Place place_of(const StoredValue& stored) {
  return Place{.node = stored.node,
               .node_peer = {stored.node_process, stored.node_address},
               .extent = stored.extent,
               .generation = stored.generation,
               .bytes = stored.bytes};
}

StoredValue stored_at(const Place& place) {
  return StoredValue{.node = place.node,
                     .node_process = place.node_peer.id,
                     .node_address = place.node_peer.address,
                     .extent = place.extent,
                     .generation = place.generation,
                     .bytes = place.bytes};
}
}  // namespace

ObjectTable::ObjectTable(Options options, CellTable& cells, PeerBook& book, ProcessPort& port)
    : options_(std::move(options)), cells_(cells), book_(book), port_(port) {}

void ObjectTable::fill(Cell& cell, ByteView bytes, std::vector<CellRef> refs) {
  if (bytes.size() > Cell::kSmallMax)
    return fill_shared(cell, share(to_bytes(bytes)), std::move(refs));
  if (!bytes.empty()) std::memcpy(cell.small.data(), bytes.data(), bytes.size());
  cell.small_bytes = static_cast<std::uint32_t>(bytes.size());
  keep_refs(cell, std::move(refs));
  completed(cell, CellState::kReady);
}

void ObjectTable::fill_shared(Cell& cell, SharedBytes bytes, std::vector<CellRef> refs) {
  cell.bytes = std::move(bytes);
  keep_refs(cell, std::move(refs));
  completed(cell, CellState::kReady);
}

void ObjectTable::fill_stored(Cell& cell, StoredValue stored, std::vector<CellRef> refs) {
  extra_of(cell).stored = std::move(stored);
  keep_refs(cell, std::move(refs));
  cell.tracked.store(true, std::memory_order_release);
  completed(cell, CellState::kReady);
}

void ObjectTable::fail(Cell& cell, const Failure& failure) {
  extra_of(cell).failure.emplace(failure.code, failure.text);
  completed(cell, CellState::kFailed);
}

void ObjectTable::completed(Cell& cell, CellState state) {
  RONDO_CHECK(cell.state.load(std::memory_order_relaxed) == CellState::kPending);
  cell.state.store(state, std::memory_order_release);
  port_.filled();
  if (!awaiting_.empty()) {
    if (const auto waiting = awaiting_.find(cell.slot); waiting != awaiting_.end()) {
      released_.insert(released_.end(), waiting->second.begin(), waiting->second.end());
      awaiting_.erase(waiting);
    }
  }
  if (cell.id.owner == options_.self && !lent_.empty()) {
    if (const auto lent = lent_.find(cell.id); lent != lent_.end()) {
      for (const ProcessId holder : lent->second.holders) answer(holder, cell);
    }
  }
}

std::vector<WaitingCall> ObjectTable::take_released_calls() {
  return std::exchange(released_, {});
}

bool ObjectTable::await(Cell& cell, WaitingCall call) {
  if (!cell.pending()) return false;
  awaiting_[cell.slot].push_back(call);
  return true;
}

void ObjectTable::answer(ProcessId holder, const Cell& cell) {
  port_.send(holder, ObjectReady{cell.id, value_of(cell)});
}

Value ObjectTable::value_of(const Cell& cell) const {
  Value value;
  const CellExtra* extra = cell.extra.get();
  if (extra != nullptr) {
    for (const RefInside& inside : extra->refs) value.refs.push_back(entry_of(*inside.cell));
  }
  if (extra != nullptr && extra->failure) {
    value.kind = Value::Kind::kFailed;
    value.failure = Failure{extra->failure->code(), extra->failure->what()};
  } else if (extra != nullptr && extra->stored) {
    value.kind = Value::Kind::kStored;
    value.place = place_of(*extra->stored);
  } else {
    value.bytes = cell.bytes ? cell.bytes : share(to_bytes(cell.inline_view()));
  }
  return value;
}

RefEntry ObjectTable::entry_of(const Cell& cell) const {
  if (cell.id.owner == options_.self) return RefEntry{cell.id, options_.address, options_.node};
  if (const auto it = borrowed_.find(cell.id); it != borrowed_.end()) return it->second.entry;
  if (!cell.extra) return RefEntry{cell.id, {}, {}};
  return RefEntry{cell.id, cell.extra->owner_address, cell.extra->owner_node};
}

// ---- what others own

CellRef ObjectTable::borrow(const RefEntry& entry) {
  if (entry.id.owner == options_.self) {
    if (Cell* own = cells_.find(entry.id.index, entry.id.generation)) return cells_.hold(*own);
  }
  CellRef cell = cells_.allocate(options_.self, 0);
  adopt_borrowed(*cell, entry);
  return cell;
}

std::vector<CellRef> ObjectTable::borrow_all(std::span<const RefEntry> entries) {
  std::vector<CellRef> cells;
  cells.reserve(entries.size());
  for (const RefEntry& entry : entries) cells.push_back(borrow(entry));
  return cells;
}

void ObjectTable::adopt_borrowed(Cell& cell, const RefEntry& entry) {
  cell.id = entry.id;
  extra_of(cell).owner_address = entry.owner;
  cell.extra->owner_node = entry.owner_node;
  cell.tracked.store(true, std::memory_order_release);
  if (entry.id.owner == options_.self) {  // ours, and gone: the sender did not keep its hold
    return fail(cell, {ErrorCode::kObjectLost,
                       "the object " + to_string(entry.id) + " was released by its owner"});
  }
  if (book_.dead(entry.id.owner, entry.owner_node)) {
    return fail(cell, {ErrorCode::kObjectLost,
                       "the owner of object " + to_string(entry.id) +
                           " died: " + book_.why(entry.id.owner, entry.owner_node)});
  }
  Borrowed& borrowed = borrowed_[entry.id];
  borrowed.cells.push_back(&cell);
  if (borrowed.cells.size() == 1) {
    borrowed.entry = entry;
    borrowed.registered = false;
    ++unconfirmed_;
    book_.meet(entry.id.owner, entry.owner_node, entry.owner);
    port_.learn(Peer{entry.id.owner, entry.owner});
    port_.send(entry.id.owner, RefRegister{entry.id});
  } else if (!borrowed.filled.empty()) {
    give(cell, value_of(*borrowed.filled.front()));
    borrowed.filled.push_back(&cell);
  }
}

bool ObjectTable::registered(const ObjectId& id) const {
  const auto it = borrowed_.find(id);
  return it == borrowed_.end() || it->second.registered;
}

void ObjectTable::give(Cell& cell, const Value& value) {
  std::vector<CellRef> refs = borrow_all(value.refs);
  switch (value.kind) {
    case Value::Kind::kInline:
      return fill_shared(cell, value.bytes ? value.bytes : share({}), std::move(refs));
    case Value::Kind::kStored:
      return fill_stored(cell, stored_at(value.place), std::move(refs));
    case Value::Kind::kFailed:
      return fail(cell, value.failure);
  }
}

void ObjectTable::on_ready(const ObjectReady& message) {
  const auto it = borrowed_.find(message.object);
  if (it == borrowed_.end()) return;
  confirm(it->second);
  std::vector<Cell*> pending;
  for (Cell* cell : it->second.cells) {
    if (cell->pending()) {
      pending.push_back(cell);
    } else if (message.value.kind == Value::Kind::kStored && cell->extra && cell->extra->stored) {
      *cell->extra->stored = stored_at(message.value.place);  // it lies elsewhere now
    }
  }
  for (Cell* cell : pending) {
    give(*cell, message.value);
    borrowed_[message.object].filled.push_back(cell);
  }
}

void ObjectTable::on_registered(const RefRegistered& message) {
  if (const auto it = borrowed_.find(message.object); it != borrowed_.end()) confirm(it->second);
}

void ObjectTable::confirm(Borrowed& borrowed) {
  if (!borrowed.registered) --unconfirmed_;
  borrowed.registered = true;
}

std::map<ProcessId, NodeId> ObjectTable::silent_owners() const {
  std::map<ProcessId, NodeId> out;
  for (const auto& [id, borrowed] : borrowed_)
    if (!borrowed.registered) out[id.owner] = borrowed.entry.owner_node;
  return out;
}

void ObjectTable::on_dropped(Cell& cell) {
  if (cell.holders.load(std::memory_order_acquire) != 0) return;  // taken up again meanwhile
  if (cell.id.owner != options_.self) {
    if (const auto it = borrowed_.find(cell.id); it != borrowed_.end()) {
      std::erase(it->second.cells, &cell);
      std::erase(it->second.filled, &cell);
      if (it->second.cells.empty()) {
        if (!book_.dead(cell.id.owner)) port_.send(cell.id.owner, RefRelease{cell.id});
        confirm(it->second);
        borrowed_.erase(it);
      }
    }
  } else {
    if (cell.extra && cell.extra->stored)
      free_at({cell.extra->stored->node_process, cell.extra->stored->node_address}, cell.id);
    if (const auto copies = copies_.find(cell.id); copies != copies_.end()) {
      for (const Place& place : copies->second) free_at(place.node_peer, cell.id);
      copies_.erase(copies);
    }
  }
  cells_.recycle(cell);
}

void ObjectTable::free_at(const Peer& node, const ObjectId& object) {
  if (book_.dead(node.id)) return;
  port_.learn(node);
  port_.send(node.id, ObjectFree{object});
}

// ---- what we own

void ObjectTable::on_register(ProcessId from, const RefRegister& message) {
  port_.send(from, RefRegistered{message.object});
  Cell* cell = message.object.owner == options_.self
                   ? cells_.find(message.object.index, message.object.generation)
                   : nullptr;
  const auto known = lent_.find(message.object);
  if (cell == nullptr ||
      (known == lent_.end() && cell->holders.load(std::memory_order_acquire) == 0)) {
    Value lost;
    lost.kind = Value::Kind::kFailed;
    lost.failure = {ErrorCode::kObjectLost,
                    "the object " + to_string(message.object) + " was released by its owner"};
    port_.send(from, ObjectReady{message.object, lost});
    return;
  }
  Lent& lent = lent_[message.object];
  if (!lent.hold) lent.hold = cells_.hold(*cell);
  const bool fresh = lent.holders.insert(from).second;
  if (fresh && !cell->pending()) answer(from, *cell);
}

void ObjectTable::on_release(ProcessId from, const RefRelease& message) {
  const auto it = lent_.find(message.object);
  if (it == lent_.end()) return;
  it->second.holders.erase(from);
  if (it->second.holders.empty()) lent_.erase(it);
}

void ObjectTable::on_copied(const ObjectCopied& message) {
  Cell* cell = message.object.owner == options_.self
                   ? cells_.find(message.object.index, message.object.generation)
                   : nullptr;
  if (cell == nullptr || cell->holders.load(std::memory_order_acquire) == 0)
    return free_at(message.place.node_peer, message.object);
  if (cell->pending()) hit(Branch::kLeftoverTold);
  // It may still be pending: what an attempt left behind whose answer never came.
  cell->tracked.store(true, std::memory_order_release);
  copies_[message.object].push_back(message.place);
}

// ---- deaths

void ObjectTable::lose(Borrowed& borrowed, const std::string& why) {
  confirm(borrowed);
  for (Cell* cell : borrowed.cells) {
    if (!cell->pending()) continue;
    fail(*cell, {ErrorCode::kObjectLost,
                 "the owner of object " + to_string(borrowed.entry.id) + " died: " + why});
    borrowed.filled.push_back(cell);
  }
}

void ObjectTable::on_process_died(const ProcessDied& death) {
  for (auto& [id, borrowed] : borrowed_) {
    if (id.owner != death.process) continue;
    hit(Branch::kOwnerLost);
    lose(borrowed, death.cause);
  }
  for (auto it = lent_.begin(); it != lent_.end();) {
    if (it->second.holders.erase(death.process) != 0) hit(Branch::kHolderDropped);
    it = it->second.holders.empty() ? lent_.erase(it) : std::next(it);
  }
}

void ObjectTable::on_node_died(NodeId node) {
  for (auto it = copies_.begin(); it != copies_.end();) {
    std::vector<Place>& places = it->second;
    std::erase_if(places, [&](const Place& place) { return place.node == node; });
    Cell* cell = cells_.find(it->first.index, it->first.generation);
    const bool lay_there =
        cell != nullptr && cell->extra && cell->extra->stored && cell->extra->stored->node == node;
    if (lay_there && !places.empty()) {
      *cell->extra->stored = stored_at(places.front());
      places.erase(places.begin());
      if (const auto lent = lent_.find(it->first); lent != lent_.end())
        for (const ProcessId holder : lent->second.holders) answer(holder, *cell);
    }
    it = places.empty() ? copies_.erase(it) : std::next(it);
  }
}

void ObjectTable::lose_all(const Failure& failure) {
  for (auto& [id, borrowed] : borrowed_) {
    for (Cell* cell : borrowed.cells) {
      if (cell->pending()) fail(*cell, failure);
    }
  }
}

void ObjectTable::check_invariants() const {
  for (const auto& [id, lent] : lent_) {
    RONDO_CHECK(id.owner == options_.self);
    RONDO_CHECK(!lent.holders.empty());
    RONDO_CHECK(static_cast<bool>(lent.hold));
  }
  std::size_t unconfirmed = 0;
  for (const auto& [id, borrowed] : borrowed_) {
    if (!borrowed.registered) ++unconfirmed;
    RONDO_CHECK(id.owner != options_.self);
    RONDO_CHECK(!borrowed.cells.empty());
  }
  RONDO_CHECK_EQ(unconfirmed, unconfirmed_);
}

}  // namespace rondo::core
