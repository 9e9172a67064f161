#pragma once

#include <optional>
#include <string>
#include <vector>

#include <rondo/base/cell.h>

// What most cells do not have.

namespace rondo {

struct StoredValue {  // bytes in a node's store: a core::Place in base's terms
  NodeId node;
  ProcessId node_process;
  std::string node_address;
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
  std::uint64_t bytes = 0;
};

struct RefInside {  // a ref inside a value, and the hold that keeps it
  CellRef cell;
};

struct CellExtra {
  std::string owner_address;  // borrowed refs: where the owner listens,
  NodeId owner_node;          // and lives
  std::optional<StoredValue> stored;
  std::optional<Buffer> mapped;  // the stored bytes, readable here (written once, by the loop)
  std::vector<RefInside> refs;   // in the order in which the value numbers them
  std::optional<Error> failure;
};

}  // namespace rondo
