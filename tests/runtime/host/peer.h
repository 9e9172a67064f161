#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <rondo/host/clock.h>
#include <rondo/host/local_cluster.h>
#include <rondo/host/worker_start.h>
#include <rondo/net/zmq_transport.h>
#include <rondo/wire/station.h>

// A bare process of the cluster, driven by hand: what a test says and hears as a driver or a
// worker, without the engine.

namespace rondo::host::test {

class TestPeer final : private wire::Handler {
 public:
  TestPeer(ProcessId id, const std::string& socket_folder, const std::string& kind,
           const core::Token& token = {});

  [[nodiscard]] const core::Peer& self() const { return self_; }
  void learn(const core::Peer& peer);
  void send(ProcessId to, const core::Message& message);
  void hello(const core::Peer& node, core::Role role, JobId job = {});
  void pump(DurationNs wait);

  // The next message of this type, or nullopt after `limit`. Others stay.
  template <class T>
  std::optional<T> expect(DurationNs limit = seconds(60)) {
    const TimeNs end = boot_time() + limit;
    for (;;) {
      for (auto it = heard_.begin(); it != heard_.end(); ++it) {
        if (auto* message = std::get_if<T>(&*it)) {
          T found = std::move(*message);
          heard_.erase(it);
          return found;
        }
      }
      if (boot_time() >= end) return std::nullopt;
      pump(milliseconds(10));
    }
  }

 private:
  void on_peer(const core::Peer& peer, NodeId) override { transport_.learn(peer); }
  void on_message(ProcessId, core::Message&& message) override {
    heard_.push_back(std::move(message));
  }
  void on_call(ProcessId, const core::CallHeader&, ByteView, std::span<const core::RefEntry>,
               const SharedBytes&) override {}
  void on_reply(ProcessId, const core::ReplyHeader&, ByteView, std::span<const core::RefEntry>,
                const SharedBytes&) override {}

  net::ZmqTransport transport_;
  core::Peer self_;
  std::unique_ptr<wire::Station> station_;
  std::vector<core::Message> heard_;
};

// This program as a job of that driver.
core::JobSpec job_of_this_program(const core::Peer& driver, const core::Peer& node);

// In a worker that this program's job started: says Hello, prints, and does what MODE in the
// environment says until its node is gone.
[[noreturn]] void serve(const WorkerStart& start);

}  // namespace rondo::host::test
