#pragma once

#include <cstdint>
#include <deque>
#include <utility>

#include <rondo/core/effects.h>

// PersistGate holds what a head says until what it rests on is on disk.
//
// Picture a clerk who writes every decision into the register before the letters about it leave.
// Rows pass at once, with ascending numbers; every other effect that comes after a row waits until
// that row is durable, in order, answers to reads included: nobody may learn of a decision that a
// crash would undo.

namespace rondo::core {

class PersistGate {
 public:
  // Takes the effects of one step, gives on what may leave now. Numbers the rows.
  void pass(Effects step, Effects& out);
  void on_durable(std::uint64_t number, Effects& out);

  [[nodiscard]] std::uint64_t written() const { return written_; }
  [[nodiscard]] std::uint64_t durable() const { return durable_; }
  [[nodiscard]] std::size_t held() const { return held_.size(); }
  void check_invariants() const;

 private:
  std::uint64_t written_ = 0;   // the last row given on
  std::uint64_t durable_ = 0;
  std::deque<std::pair<std::uint64_t, Effect>> held_;   // waits for this number; ascending
};

}  // namespace rondo::core
