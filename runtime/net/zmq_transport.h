#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <rondo/net/transport.h>

// ZeroMQ as Transport: each process binds one PULL; a PUSH a peer is connected at the first frame.
// Single-frame messages.
//
// Addresses: ipc:// with an absolute path in a 0700 folder of this user, and tcp://127.0.0.1:PORT
// (or :*). Anything else is refused in words: until there are keys, nothing listens on a network.
// A peer that is away costs nothing but its queue; at the high-water mark frames are dropped and
// counted, and the Link sends them again. Frames that wait here when the transport closes are lost
// (linger 0): wait for Station::settled(). The context must be made after fork: start children with
// exec.

namespace rondo::net {

// ZeroMQ's I/O thread. One a process; transports of one process share it.
class ZmqContext {
 public:
  ZmqContext();
  ~ZmqContext();                        // Requires: its transports are gone.
  ZmqContext(const ZmqContext&) = delete;
  ZmqContext& operator=(const ZmqContext&) = delete;
  [[nodiscard]] void* get() const { return context_; }

 private:
  void* context_;
};

class ZmqTransport final : public Transport {
 public:
  struct Options {
    std::shared_ptr<ZmqContext> context;   // null: one of its own
    // poll looks for so long before it sleeps. 0 where threads outnumber cores.
    DurationNs spin = {};
    std::size_t frames_per_poll = 256;     // at most; the rest comes with the next poll
  };
  struct Stats {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t dropped_full = 0;        // at the high-water mark
    std::uint64_t dropped_unknown = 0;     // no such peer, or its address cannot be connected to
  };

  explicit ZmqTransport(Options options);
  ~ZmqTransport() override;
  ZmqTransport(const ZmqTransport&) = delete;
  ZmqTransport& operator=(const ZmqTransport&) = delete;

  Result<core::Address> bind(const core::Address& address) override;
  [[nodiscard]] const core::Address& address() const override;
  void learn(const core::Peer& peer) override;
  void forget(ProcessId peer) override;
  void send(ProcessId to, SharedBytes frame) override;
  void greet(const core::Address& to, SharedBytes frame) override;
  void poll(DurationNs timeout, std::vector<SharedBytes>& frames) override;
  void wake() override;                    // any thread

  void set_spin(DurationNs spin);
  [[nodiscard]] const Stats& stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rondo::net
