#pragma once

#include <cstdint>
#include <vector>

#include <rondo/base/bytes.h>
#include <rondo/base/ids.h>
#include <rondo/base/result.h>
#include <rondo/base/time.h>
#include <rondo/core/types.h>

// Transport moves frames, and nothing else: it may lose, double, delay and reorder them, and never
// blocks. What a frame says, whether it is welcome and whether it must come again is
// wire/station.h's and core/link.h's business.
//
// One thread at a time may use it: the one that has the loop's role. Only wake() may be called by
// any thread.

namespace rondo::net {

class Transport {
 public:
  virtual ~Transport() = default;

  // Listens there, once, before anything else. "tcp://127.0.0.1:*" picks a port; the real address
  // comes back. The error is one sentence: an address in use, a folder that others may enter, an
  // address that is not allowed.
  virtual Result<core::Address> bind(const core::Address& address) = 0;
  [[nodiscard]] virtual const core::Address& address() const = 0;   // "" before bind

  // where it listens; connected to at the first frame
  virtual void learn(const core::Peer& peer) = 0;
  virtual void forget(ProcessId peer) = 0;             // what waits for it is dropped
  // to an unknown peer: dropped and counted
  virtual void send(ProcessId to, SharedBytes frame) = 0;
  virtual void greet(const core::Address& to, SharedBytes frame) = 0;  // to whoever listens there

  // Appends frames that have arrived, and waits for the first at most `timeout` (negative: for
  // ever; 0: not at all). Returns early, perhaps with none, after wake(): a wake() before or during
  // poll ends that poll.
  virtual void poll(DurationNs timeout, std::vector<SharedBytes>& frames) = 0;
  virtual void wake() = 0;
};

}  // namespace rondo::net
