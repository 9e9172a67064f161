#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <rondo/base/limits.h>
#include <rondo/core/effects.h>

// Head: the cluster's registry office. It knows which nodes live, which jobs run, and for every
// actor its birth, its incarnation and its death; it never hears of tasks or calls.
//
// Everything that it acknowledges is a row first: effects that follow a Persist are held back until
// that row is durable, answers to reads included. A head that is killed starts again from its rows
// (`restore`), waits for its nodes to join and to say what lives there, and declares no node dead
// before it has itself lived a whole membership term plus drift.
//
// Loop thread only. Never blocks, never reads a clock. The host calls on_deadline at next_deadline
// or later.

namespace rondo::core {

struct HeadOptions {
  Peer self;
  std::int64_t pid = 0;
  std::uint64_t cluster = 0;  // random, told to everyone who says Hello
  std::string release;
  DurationNs term = limits::kMembershipTerm;
  DurationNs heartbeat_every = limits::kHeartbeatEvery;
  DurationNs suspect_after = limits::kSuspectAfter;
  DurationNs drift = limits::kClockDrift;
  DurationNs settle =
      limits::kSuspectAfter;        // a fresh head waits so long for nodes before "never placeable"
  std::int64_t wall_offset_ns = 0;  // wall clock = now + this: for people only
};

class Head {
 public:
  using Options = HeadOptions;
  using Row = std::pair<std::string, Bytes>;

  explicit Head(Options);
  Head(const Head&) = delete;
  Head& operator=(const Head&) = delete;

  // First of all, once: the rows that an earlier head left (none: a new cluster). Raises this
  // head's incarnation.
  void start(TimeNs now, std::span<const Row> rows, Effects& out);

  void on_message(TimeNs now, ProcessId from, const Message&, Effects& out);
  void on_deadline(TimeNs now, Effects& out);
  void on_durable(TimeNs now, std::uint64_t number,
                  Effects& out);               // every row up to `number` is on disk
  [[nodiscard]] TimeNs next_deadline() const;  // kNever: nothing to do

  [[nodiscard]] Incarnation incarnation() const { return incarnation_; }
  void check_invariants() const;

 private:
  Incarnation incarnation_;
};

}  // namespace rondo::core
