#pragma once

#include <string>

#include <rondo/host/find_cluster.h>

// Which cluster a verb means, with the exit code for not finding it: what is no address is usage, a
// RONDO_HOME that cannot be used is the machine, all else no cluster. Throws Exit.

namespace rondo::cli {

// The one at `address`, else at RONDO_ADDRESS, else the only one in RONDO_HOME.
[[nodiscard]] host::ClusterPlace find_cluster(const std::string& address);

}  // namespace rondo::cli
