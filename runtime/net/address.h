#pragma once

#include <rondo/base/result.h>
#include <rondo/core/types.h>

// Which addresses Rondo listens at and connects to: ipc:// with an absolute path, and tcp:// on
// this machine's loopback.

namespace rondo::net {

// Its form, for listening or connecting. The error is one sentence.
Result<void> check_address(const core::Address& address);

// Whether this process may listen at this well-formed address: an ipc socket lies in a folder that
// only this user may enter, and nobody listens there. What a dead process left at the path is
// removed.
Result<void> prepare_listening(const core::Address& address);

}  // namespace rondo::net
