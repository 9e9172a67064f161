#pragma once

#include <optional>
#include <string>
#include <vector>

#include <rondo/base/result.h>
#include <rondo/base/time.h>
#include <rondo/core/link.h>
#include <rondo/core/types.h>

// Which cluster a program means, and where to knock.
//
// Picture a visitor with or without an address: with one he goes there; without one he looks for
// the only lit house in the street ($RONDO_HOME), and if several are lit he asks which.
//
// Blocking calls for the start of a program; any thread. Failures are kUnavailable, one sentence;
// kInvalid for an address that is none.

namespace rondo::host {

struct ClusterPlace {
  core::Address address;      // of its head, or of a node, as named
  core::Token token;          // zero where the folder's mode guards
  std::string socket_folder;  // where clients bind; "": on a port of the loopback
  std::string folder;         // of the cluster, when it is in this RONDO_HOME
};

// Address given, else RONDO_ADDRESS, else the one living shared cluster in RONDO_HOME. None or
// several: an error that lists them.
Result<ClusterPlace> locate(const std::string& address);

// No address is named anywhere, so a driver makes a private cluster.
[[nodiscard]] bool address_is_named(const std::string& address);

// The living node on this machine that a driver should join: greets `place`; if that is a head,
// asks it for its nodes.
Result<core::Peer> find_local_node(const ClusterPlace& place, DurationNs timeout = seconds(5));

}  // namespace rondo::host
