#pragma once

#include <memory>

#include <rondo/core/head.h>
#include <rondo/sim/disk.h>
#include <rondo/sim/endpoint.h>

// SimHead: a core::Head with a simulated network and disk. A killed head loses what the disk had
// not synced; the next one is another process at the same address, with the rows that are left.

namespace rondo::sim {

struct ClusterTimes {
  DurationNs term = seconds(2);
  DurationNs heartbeat_every = milliseconds(200);
  DurationNs suspect_after = milliseconds(800);
  DurationNs drift = milliseconds(100);
};

class SimHead final : public Endpoint {
 public:
  SimHead(World&, std::uint32_t machine, Disk&, const ClusterTimes&);
  void start();

  [[nodiscard]] const core::Head& machine_state() const { return *head_; }
  void die() override;
  void check_invariants() const override;
  [[nodiscard]] std::string held_at_rest() const override;
  [[nodiscard]] const char* kind() const override { return "head"; }

 private:
  void on_message(ProcessId from, core::Message&&) override;
  void on_alarm() override;
  void on_broken(const wire::Broken&) override;
  [[nodiscard]] TimeNs next_deadline() const override { return head_->next_deadline(); }

  void carry_out(core::Effects&);
  void say(ProcessId to, core::Message);
  void sync_soon();

  Disk& disk_;
  ClusterTimes times_;
  std::unique_ptr<core::Head> head_;
  std::uint64_t written_ = 0;
  bool syncing_ = false;
};

}  // namespace rondo::sim
