#pragma once

#include <span>
#include <string>

#include <rondo/core/types.h>

// Placement chooses a node for an actor. A pure function of what it is given: equal questions get
// equal answers.
//
// An actor keeps its share of a node for its life, so it must fit into the node's total less the
// other actors there; tasks only borrow, and give way. Among the nodes that fit: one whose share is
// free right now, then the one with the fewest actors for its size, then the preferred one, then by
// name.

namespace rondo::core {

struct Candidate {
  NodeId id;
  std::string name;
  Shape total;
  Shape free;                 // as last heard
  Shape actors;               // taken by actors, ours to know exactly
  std::size_t actor_count = 0;
  bool usable = true;         // false: suspected; counts for "could ever fit" only
};

enum class PlacementVerdict { kPlaced, kLater, kNever };
struct Placement {
  PlacementVerdict verdict = PlacementVerdict::kLater;
  NodeId node;
};

[[nodiscard]] Placement place(const Shape&, NodeId preferred, std::span<const Candidate>);

[[nodiscard]] std::string describe(const Shape&);   // "2 cpu, 1.5 gpu, 4096 bytes"; "nothing"

}  // namespace rondo::core
