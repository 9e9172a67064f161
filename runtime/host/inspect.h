#pragma once

#include <string>

#include <rondo/core/effects.h>

// Listings as JSON: one array of objects, keys in the order of CONTRACTS.md. Values; any thread.

namespace rondo::host {

[[nodiscard]] std::string to_json(const core::Listing& listing);

}  // namespace rondo::host
