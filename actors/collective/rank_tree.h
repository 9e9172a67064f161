#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <rondo/actors/collective/collective.h>

// The fixed tree in which the ranks' values are combined: neighbours in pairs, then pairs of pairs,
// an odd one is handed up; ((0+1)+(2+3))+4.
//
// A node is the ranks lo <= r < hi. Whoever knows some nodes' values can add whole subtrees early,
// and nothing else: so a message that goes round a ring carries the roots of the subtrees whose
// ranks it has met, and ends with the same bits as a sum in one place. These are at most
// 2 ceil(log2(n)) - 2 roots among n > 2 ranks: one a level at either end of what it has met.
//
// Pure functions on memory that the caller owns.

namespace rondo::collective {

struct Node {
  int lo = 0;
  int hi = 0;
  bool operator==(const Node&) const = default;
  [[nodiscard]] bool is_leaf() const { return hi - lo == 1; }
  [[nodiscard]] Node left() const;    // Requires: !is_leaf().
  [[nodiscard]] Node right() const;
};

using Ranks = std::uint64_t;   // a bit a rank
static_assert(kRanksMax <= 64);

// The largest subtrees of a tree over `size` ranks that `met` covers whole, ascending.
[[nodiscard]] std::vector<Node> covered(int size, Ranks met);

struct Arithmetic {
  Dtype dtype = Dtype::kFloat32;
  Combine combine = Combine::kSum;
};

// Where a node's values lie; null where they must be combined from its halves.
using Known = std::function<const void*(Node)>;

// Elements [begin, begin + count) of `node`'s values into `out`, which may be the known memory of
// the leftmost known node at the same elements, but of no other. `past_cache`: the result is not
// read soon: write it around the caches. Requires: every leaf is known or beneath a known node.
struct Stretch {
  std::size_t begin = 0;
  std::size_t count = 0;
  bool past_cache = false;
};
void combine_node(Arithmetic arithmetic, Node node, const Known& known, Stretch stretch, void* out);

// All ranks' values at `parts`, by rank; `out` as above.
void combine_parts(Arithmetic arithmetic, std::span<const void* const> parts, Stretch stretch,
                   void* out);

// out = left + right per element; `out` may be either.
void combine_two(Arithmetic arithmetic, const void* left, const void* right, std::size_t count,
                 void* out);

}  // namespace rondo::collective
