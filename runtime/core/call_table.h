#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include <rondo/base/cell.h>
#include <rondo/core/call.h>

// The calls that this process has made and not yet seen answered, at the slot of their result's
// cell.
//
// Picture the order slips of a kitchen, kept at the number of the table that waits. A slip waits
// for its arguments, stands in one queue (an actor's, or a shape's), travels, and is thrown away
// when the answer is there. Loop only. Dense: no search, no hash; queues are lists threaded through
// the slips.

namespace rondo::core {

constexpr std::uint32_t kNoSlot = UINT32_MAX;

struct Call {
  enum class State : std::uint8_t { kFree, kWaiting, kReady, kSent };
  State state = State::kFree;
  CallKind kind = CallKind::kTask;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  std::uint32_t function = 0;
  std::uint32_t attempt = 0;
  std::int32_t retries_left = 0;  // -1: without end
  std::uint32_t unready = 0;      // awaited refs that are still pending
  std::uint32_t group = 0;        // index of the actor or of the shape
  std::uint32_t lease = 0;        // kTask, sent: index of the lease in its shape
  std::uint64_t number = 0;       // on the link, once sent
  Incarnation bound;              // kActor: only this incarnation may answer
  ProcessId to;                   // once sent
  TimeNs sent_at;
  CellRef result;  // the loop's hold on the result
  Bytes payload;
  std::vector<CellRef> refs;
  std::vector<std::uint32_t> awaited;  // ref numbers
  std::uint32_t next = kNoSlot;        // in its queue or in-flight list
  std::uint32_t previous = kNoSlot;
};

class CallTable {
 public:
  Call& create(CellRef result);
  [[nodiscard]] Call& at(std::uint32_t slot) { return calls_[slot]; }
  [[nodiscard]] Call* find(std::uint32_t slot,
                           std::uint32_t generation);  // nullptr: answered already
  void release(Call&);
  template <class F>
  void for_each(F&& visit) {
    for (Call& call : calls_) {
      if (call.state != Call::State::kFree) visit(call);
    }
  }
  [[nodiscard]] std::size_t live() const { return live_; }

 private:
  std::deque<Call> calls_;  // references stay valid while it grows
  std::size_t live_ = 0;
};

// A first-in-first-out list of calls, threaded through the table.
class CallList {
 public:
  void push_back(CallTable&, Call&);
  void push_front(CallTable&, Call&);
  void remove(CallTable&, Call&);
  [[nodiscard]] Call* front(CallTable& table) const {
    return head_ == kNoSlot ? nullptr : &table.at(head_);
  }
  [[nodiscard]] Call* back(CallTable& table) const {
    return tail_ == kNoSlot ? nullptr : &table.at(tail_);
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

 private:
  std::uint32_t head_ = kNoSlot;
  std::uint32_t tail_ = kNoSlot;
  std::size_t size_ = 0;
};

}  // namespace rondo::core
