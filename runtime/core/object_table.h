#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include <rondo/base/cell_extra.h>
#include <rondo/core/peer_book.h>
#include <rondo/core/process_port.h>

// The refs of one process, as far as others have a part in them: who waits here for a value, who
// elsewhere holds a ref that we own, and what we hold that others own.
//
// Picture a library. Our own books stand in the cells; a card per lent book names the readers (a
// set of processes, never a count). A book of another library that we read is registered there
// once, however many of us look at it, and given back when the last of us is done.
//
// Loop only. A failure of an owner is an answer: its refs fail with kObjectLost that names it.

namespace rondo::core {

// A call that waits for values. It may fail meanwhile and its slot serve another one: hence the
// generation.
struct WaitingCall {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
};

class ObjectTable {
 public:
  struct Options {
    ProcessId self;
    Address address;
    NodeId node;
  };
  ObjectTable(Options, CellTable&, PeerBook&, ProcessPort&);
  void set_node(NodeId node) { options_.node = node; }

  // Values. Each fills the cell once, answers remote holders, and notes the slots of calls that
  // waited for it.
  void fill(Cell&, ByteView bytes, std::vector<CellRef> refs);
  void fill_shared(Cell&, SharedBytes bytes, std::vector<CellRef> refs);
  void fill_stored(Cell&, StoredValue, std::vector<CellRef> refs);
  void fail(Cell&, const Failure&);
  [[nodiscard]] std::vector<WaitingCall>
  take_released_calls();  // once per value that they waited for
  // That call wants this value. False: it is there already.
  [[nodiscard]] bool await(Cell&, WaitingCall);

  // A ref that arrived inside a value: the cell is fresh (allocated by whoever decoded it); it is
  // registered with its owner.
  void adopt_borrowed(Cell&, const RefEntry&);
  [[nodiscard]] CellRef borrow(const RefEntry&);  // both steps, on the loop
  [[nodiscard]] std::vector<CellRef> borrow_all(std::span<const RefEntry>);
  [[nodiscard]] bool registered(
      const ObjectId&) const;  // the owner has confirmed, or we own it, or it is lost
  [[nodiscard]] RefEntry entry_of(const Cell&) const;  // for sending it on
  [[nodiscard]] Value value_of(const Cell&) const;     // Requires: not pending.

  void on_dropped(Cell&);  // the last local hold went
  void on_register(ProcessId from, const RefRegister&);
  void on_registered(const RefRegistered&);
  void on_release(ProcessId from, const RefRelease&);
  void on_ready(const ObjectReady&);
  void on_copied(const ObjectCopied&);
  void on_process_died(const ProcessDied&);   // Requires: it names a process.
  void on_node_died(NodeId);   // our objects that lay there: their copies take their place
  void lose_all(const Failure&);  // the Runtime ends: no borrowed ref stays pending

  // Owners that have not confirmed one of our holds: each with its node, once.
  [[nodiscard]] std::map<ProcessId, NodeId> silent_owners() const;
  [[nodiscard]] bool all_confirmed() const { return unconfirmed_ == 0; }
  [[nodiscard]] std::size_t borrowed() const { return borrowed_.size(); }
  [[nodiscard]] std::size_t lent() const { return lent_.size(); }
  void check_invariants() const;

 private:
  struct Lent {  // one of ours that others hold
    CellRef hold;
    std::set<ProcessId> holders;
  };
  struct Borrowed {
    RefEntry entry;
    bool registered = false;
    std::vector<Cell*> cells;   // each held elsewhere in this process; removed by on_dropped
    std::vector<Cell*> filled;  // of `cells`, those that have their value
  };

  void completed(Cell&, CellState);
  void answer(ProcessId holder, const Cell&);
  void give(Cell&, const Value&);
  void lose(Borrowed&, const std::string& why);
  void confirm(Borrowed&);
  void free_at(const Peer& node, const ObjectId&);

  Options options_;
  CellTable& cells_;
  PeerBook& book_;
  ProcessPort& port_;
  std::map<std::uint32_t, std::vector<WaitingCall>>
      awaiting_;  // slot of a pending cell → who waits for it
  std::vector<WaitingCall> released_;
  std::map<ObjectId, Lent> lent_;
  std::map<ObjectId, Borrowed> borrowed_;
  std::size_t unconfirmed_ = 0;      // of them, those not registered
  std::map<ObjectId, std::vector<Place>> copies_;  // further places of our stored objects
};

}  // namespace rondo::core
