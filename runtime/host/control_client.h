#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <rondo/base/result.h>
#include <rondo/base/time.h>
#include <rondo/host/find_cluster.h>
#include <rondo/net/zmq_transport.h>
#include <rondo/wire/station.h>

// A conversation of a command with a head or a node: it says Hello, asks, and goes.
//
// Blocking; one thread. Failures are one sentence: kUnavailable (nobody there, no answer in time,
// another version, it refused), or the answer's own code.

namespace rondo::host {

class ControlClient {
 public:
  // Also fails at once where nothing listens.
  static Result<std::unique_ptr<ControlClient>> connect(const ClusterPlace& place,
                                                        DurationNs timeout = seconds(4));
  ~ControlClient();  // says goodbye
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  [[nodiscard]] const core::Peer& peer() const { return peer_; }
  [[nodiscard]] bool is_head() const { return !node_; }
  [[nodiscard]] NodeId node() const { return node_; }

  // nodes, actors, workers, objects, jobs, status: a JSON array; "log ID": text.
  Result<std::string> inspect(const std::string& what, DurationNs timeout = seconds(4));
  // It was told; that it has ended shows elsewhere.
  Result<void> shutdown(const std::string& cause, DurationNs timeout = seconds(4));

 private:
  class Inbox;
  ControlClient(ClusterPlace place, std::unique_ptr<net::ZmqTransport> transport, core::Peer self);
  Result<void> greet(TimeNs limit);
  void pump(DurationNs wait);
  void send(const core::Message& message);
  [[nodiscard]] Error silent(DurationNs timeout) const;

  ClusterPlace place_;
  core::Peer self_;
  std::unique_ptr<net::ZmqTransport> transport_;
  wire::Station station_;
  std::vector<SharedBytes> frames_;
  std::vector<wire::OutFrame> out_;
  std::vector<std::pair<ProcessId, core::Message>> heard_;
  std::vector<core::Peer> met_;
  core::Peer peer_;
  NodeId node_;
  std::uint64_t next_request_ = 1;
};

}  // namespace rondo::host
