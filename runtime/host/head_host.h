#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <rondo/base/result.h>
#include <rondo/core/head.h>
#include <rondo/host/daemon_loop.h>
#include <rondo/store/control_store.h>

// The head as a daemon: core::Head, its loop and its durable state.
//
// What it acknowledges is on disk first. If a write fails, whoever asked hears kUnavailable, the
// daemon ends and `failure` says why in one sentence. Started again on the same state and address
// it goes on where it stopped; nodes find it by themselves.
//
// `open`, `run` or `start`+`join`, then destruction: one thread. `stop`: any thread.

namespace rondo::host {

struct HeadHostOptions {
  core::Address listen;
  core::Token token;
  std::string state_path;                                  // of its database
  std::uint64_t state_bytes_max = std::uint64_t{1} << 30;  // more is a failure
  std::uint64_t cluster = 0;  // the same for every life of this cluster's head
  DurationNs term = limits::kMembershipTerm;
  DurationNs heartbeat_every = limits::kHeartbeatEvery;
  DurationNs suspect_after = limits::kSuspectAfter;
  std::shared_ptr<net::ZmqContext> context;
};

class HeadHost final : private Daemon {
 public:
  using Options = HeadHostOptions;
  // kUnavailable: the address is in use, the state belongs to another head or cannot be read.
  static Result<std::unique_ptr<HeadHost>> open(Options options);
  ~HeadHost() override;  // Requires: not running.

  [[nodiscard]] const core::Peer& self() const { return loop_->self(); }
  void run() { loop_->run(*this); }
  void start() { loop_->start(*this); }
  void stop(DurationNs patience = milliseconds(500)) { loop_->stop(patience); }
  void join() { loop_->join(); }
  // After run: why it ended, if nobody called stop. kCancelled: it was asked to (`rondo down`).
  [[nodiscard]] const std::optional<core::Failure>& failure() const { return failure_; }

 private:
  explicit HeadHost(Options options) : options_(std::move(options)) {}
  Result<void> prepare();
  void on_start(TimeNs now, core::Effects& out) override;
  void on_peer(TimeNs, const core::Peer&, core::Effects&) override {}
  void on_message(TimeNs now, ProcessId from, const core::Message&, core::Effects& out) override;
  void on_broken(TimeNs now, ProcessId peer, const std::string& why, core::Effects& out) override;
  void on_deadline(TimeNs now, core::Effects& out) override;
  [[nodiscard]] TimeNs next_deadline() const override { return head_->next_deadline(); }
  void carry_out(TimeNs now, core::Effect effect, core::Effects& more) override;
  void before_send(ProcessId, core::Message&) override {}
  void end_turn(TimeNs now) override;

  void look_at_store(TimeNs now, core::Effects& out);
  void forget_client(ProcessId client, core::Effects& out);
  void end(core::Failure failure);

  Options options_;
  std::unique_ptr<DaemonLoop> loop_;
  std::unique_ptr<core::Head> head_;
  store::ControlRows rows_;                // until on_start
  store::ControlBatch batch_;              // of this turn
  std::map<ProcessId, RequestId> asking_;  // clients whose question is not answered yet
  std::deque<ProcessId> clients_;  // the oldest is forgotten when there are too many
  std::optional<core::Failure> failure_;
  std::atomic<bool> look_posted_{false};
  std::unique_ptr<store::ControlStore> store_;  // last: its thread posts to the loop
};

}  // namespace rondo::host
