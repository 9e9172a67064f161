#include <rondo/core/call_table.h>

#include <rondo/base/check.h>

namespace rondo::core {

Call& CallTable::create(CellRef result) {
  const std::uint32_t slot = result->slot;
  while (calls_.size() <= slot) calls_.emplace_back();
  Call& call = calls_[slot];
  RONDO_CHECK(call.state == Call::State::kFree);
  call.state = Call::State::kWaiting;
  call.slot = slot;
  call.generation = result->id.generation;
  call.attempt = 0;
  call.unready = 0;
  call.number = 0;
  call.bound = {};
  call.to = {};
  call.result = std::move(result);
  call.next = call.previous = kNoSlot;
  ++live_;
  return call;
}

Call* CallTable::find(std::uint32_t slot, std::uint32_t generation) {
  if (slot >= calls_.size()) return nullptr;
  Call& call = calls_[slot];
  return call.state != Call::State::kFree && call.generation == generation ? &call : nullptr;
}

void CallTable::release(Call& call) {
  call.state = Call::State::kFree;
  call.payload.clear();
  call.refs.clear();
  call.awaited.clear();
  --live_;
  const CellRef last = std::move(call.result);  // dropped last: the slot may be taken again at once
}

void CallList::push_back(CallTable& table, Call& call) {
  call.previous = tail_;
  call.next = kNoSlot;
  if (tail_ != kNoSlot) table.at(tail_).next = call.slot;
  else head_ = call.slot;
  tail_ = call.slot;
  ++size_;
}

void CallList::push_front(CallTable& table, Call& call) {
  call.next = head_;
  call.previous = kNoSlot;
  if (head_ != kNoSlot) table.at(head_).previous = call.slot;
  else tail_ = call.slot;
  head_ = call.slot;
  ++size_;
}

void CallList::remove(CallTable& table, Call& call) {
  if (call.previous != kNoSlot) table.at(call.previous).next = call.next;
  else head_ = call.next;
  if (call.next != kNoSlot) table.at(call.next).previous = call.previous;
  else tail_ = call.previous;
  call.next = call.previous = kNoSlot;
  --size_;
}

}  // namespace rondo::core
