#pragma once

#include <string>

#include <rondo/core/effects.h>
#include <rondo/store/hold_table.h>

// Listings as JSON: one array of objects, keys in the listing's order. A cell that counts who keeps
// an object needs the node's holds (null without them). Any thread that may read the holds.

namespace rondo::host {

[[nodiscard]] std::string to_json(const core::Listing& listing,
                                  const store::HoldScanner* holds = nullptr);

}  // namespace rondo::host
