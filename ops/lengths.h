#pragma once

#include <span>
#include <string>
#include <vector>

#include <rondo/ops/executor.h>
#include <rondo/ops/tensor.h>

// Sequences of different lengths in one batch, packed: no time step is computed for padding.
//
// Picture the batch as a staircase: sequences are sorted by length, the longest first (equal ones
// keep their order), and of each time step only the sequences that still run are kept, one row
// each, step after step. Place k is the k-th longest sequence; row at(t) + k is its step t.
// States (h, c) always stay in the batch's own order.
//
// A *group* is all sequences of one length. What a packed pass computes equals, bit for bit, what
// runs of each group by itself give: outputs, states and gradients of inputs row by row; gradients
// of parameters as the groups' complete sums, added one after the other, longest first.
// A value; any thread. Lengths come from data, so ask fault() first; the constructor aborts.

namespace rondo::ops {

class Lengths {
 public:
  // One sentence that names the first bad length (below 1 or above `steps`); empty if all are good.
  [[nodiscard]] static std::string fault(std::span<const Dim> lengths, Dim steps);

  explicit Lengths(std::span<const Dim> lengths);       // Requires: fault(lengths, max) is empty.
  [[nodiscard]] static Lengths all_equal(Dim steps, Dim batch);

  [[nodiscard]] Dim steps() const { return static_cast<Dim>(at_.size()) - 1; }   // the longest
  [[nodiscard]] Dim batch() const { return static_cast<Dim>(sequence_.size()); }
  [[nodiscard]] Dim rows() const { return at_.back(); }                          // Σ lengths
  [[nodiscard]] bool equal() const { return groups_.size() == 1; }

  [[nodiscard]] Dim at(Dim t) const { return at_[static_cast<std::size_t>(t)]; }
  [[nodiscard]] Dim count(Dim t) const { return at(t + 1) - at(t); }   // sequences that run at t
  [[nodiscard]] Dim sequence(Dim place) const { return sequence_[static_cast<std::size_t>(place)]; }
  [[nodiscard]] Dim length(Dim place) const { return length_[static_cast<std::size_t>(place)]; }

  // Where states lie that are kept as [first state | row after row]: that before step t, place 0;
  // and the last one of a place.
  [[nodiscard]] Dim before(Dim t) const { return t == 0 ? 0 : batch() + at(t - 1); }
  [[nodiscard]] Dim last(Dim place) const { return before(length(place)) + place; }

  struct Group {
    Dim place, count, length;
    [[nodiscard]] Dim rows() const { return count * length; }
  };
  [[nodiscard]] const std::vector<Group>& groups() const { return groups_; }

  // The first place of `part` of `parts`, so that each has about as many rows.
  [[nodiscard]] Dim cut(int part, int parts) const;

 private:
  Lengths() = default;
  std::vector<Dim> at_, sequence_, length_;
  std::vector<Group> groups_;
};

// padded [T,N,…] in the batch's order to packed [rows,…]; T >= steps, what is past a sequence's
// length is not read. U: float, double or std::int32_t (ids). No aliasing.
template <class U>
void pack_rows(const Executor&, const Lengths&, In<U> padded, View<U> packed);

// And back; 0 past a sequence's length.
template <class U>
void unpack_rows(const Executor&, const Lengths&, In<U> packed, View<U> padded);

// Each sequence backwards in time, packed to packed; its own inverse. No aliasing.
template <class U>
void reverse_rows(const Executor&, const Lengths&, In<U> packed, View<U> reversed);

}  // namespace rondo::ops
