#pragma once

#include <cstdint>
#include <vector>

#include <rondo/base/cell.h>
#include <rondo/core/call.h>
#include <rondo/core/process.h>

// What a simulated call asks for: a fixed record that travels as the call's first argument, and
// awaited refs behind it. Every value in the simulation is a token that its maker chose, so that
// whoever sees a value knows what it should be.

namespace rondo::sim {

enum class Op : std::uint32_t {
  kLeaf,        // computes, returns its token
  kFan,         // submits children, waits for them
  kMake,        // submits a child and returns its ref inside the value, unawaited
  kUnwrap,      // its argument holds a ref: waits for what is in it
  kForward,     // returns the ref that it was given inside its order
  kCallActor,   // calls an actor and waits
  kStore,       // its result lies in the node's store
  kOpen,        // opens a stored argument
  kThrow,       // the user's code throws
  kAdd,         // methods: counts
  kAddWait,     // submits a task and waits
  kKeep,        // keeps the ref that it was given inside its order until the next kKeep
  kOut,         // "A.f": calls `next` with kBack and waits, if there is a next
  kBack,        // "B.g": calls `next` with kOut and waits, if there is a next
};

struct Order {
  std::uint64_t token = 0;
  Op op = Op::kLeaf;
  std::uint32_t depth = 0;
  std::int64_t compute_us = 0;
  ActorId actor;                    // methods: whose; kCallActor: whom
  ActorId next;                     // kOut, kBack: whom they call
  std::uint64_t sequence = 0;       // methods: of this caller to this actor
  std::uint32_t inner_refs = 0;     // refs numbered inside the order
  std::uint32_t arguments = 0;      // awaited refs behind it
};

constexpr std::uint32_t kMethodFirst = static_cast<std::uint32_t>(Op::kAdd);

// Fills payload, refs and awaited of a submission.
void write_order(core::Submission&, const Order&, std::vector<CellRef> inner,
                 std::vector<CellRef> arguments);

struct ArgumentRead {               // one awaited argument as it arrived
  std::uint64_t token = 0;          // inline
  std::vector<CellRef> refs;        // inside the value
  bool stored = false;
  CellRef object;                   // stored: the ref itself
};
struct OrderRead {
  Order order;
  std::vector<CellRef> inner;
  std::vector<ArgumentRead> arguments;
};
// False: it does not decode.
[[nodiscard]] bool read_order(ByteView payload, const std::vector<CellRef>& refs, OrderRead& out);

struct ValueBytes {                 // a value: its token, and how many refs are inside
  std::uint64_t token = 0;
  std::uint64_t refs = 0;
};

}  // namespace rondo::sim
