#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <rondo/core/node.h>
#include <rondo/sim/endpoint.h>

// SimNode: a core::Node with a simulated network, simulated worker processes, files and memory. It
// does what the real node's host does: finds the head and notices a new one, watches its children
// and neighbours (a death is known a little later), reads the marks that they leave.

namespace rondo::sim {

class SimProcess;

class SimNode final : public Endpoint {
 public:
  struct Options {
    std::string name;
    core::Shape total;
    std::uint64_t store_bytes = 0;
    std::uint32_t machine = 0;
  };
  SimNode(World&, const Options&);
  void start();

  [[nodiscard]] const core::Node& machine_state() const { return *node_; }
  [[nodiscard]] NodeId node_id() const { return id_; }
  [[nodiscard]] TimeNs term_end() const { return term_end_; }
  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] bool ended() const { return ended_; }   // by itself: refused, or asked to
  [[nodiscard]] Bytes* extent(std::uint32_t number);
  [[nodiscard]] std::vector<ProcessId> workers() const;
  void start_nothing_until(TimeNs when) { starts_nothing_until_ = when; }
  void process_died(ProcessId, const std::string& cause);   // pidfd: a while later it is known

  void die() override;   // with all of its workers
  void check_invariants() const override;
  [[nodiscard]] std::string held_at_rest() const override;
  [[nodiscard]] const char* kind() const override { return "node"; }

 private:
  void on_message(ProcessId from, core::Message&&) override;
  void on_alarm() override;
  void on_broken(const wire::Broken&) override;
  [[nodiscard]] TimeNs next_deadline() const override;

  template <class F>
  void input(F&& give);   // one input of the machine from an event of ours
  void carry_out(core::Effects&);
  void say(ProcessId to, core::Message);
  void seek_head();
  void met(const core::Hello&);
  template <class T>
  void on(const T&) {}   // what a simulated node need not do
  void on(const core::StartWorker&);
  void on(const core::StopWorker&);
  void on(const core::CheckFiles&);
  void on(const core::ReadFile&);
  void on(const core::WriteFile&);
  void on(const core::CreateExtent&);
  void on(const core::DestroyExtent&);
  void on(const core::WatchExtent&);
  void on(const core::ReadChunk&);
  void on(const core::WriteChunk&);
  void on(const core::RenewTerm&);
  void on(const core::Exit&);

  Options options_;
  const NodeId id_;
  std::unique_ptr<core::Node> node_;
  core::Effects later_;               // of effects: carried out after them
  TimeNs term_end_ = kNever;
  bool ended_ = false;
  core::Peer head_;
  TimeNs head_heard_;
  TimeNs seek_at_;
  TimeNs starts_nothing_until_;
  DurationNs heartbeat_every_ = milliseconds(200);
  std::set<ProcessId> workers_;       // expected or living
  std::set<ProcessId> stopped_;       // before they lived
  std::set<ProcessId> locals_;        // drivers here
  std::set<std::string> files_;       // whole, in the cache
  std::map<std::uint32_t, Bytes> extents_;
  core::LeaseGrant last_grant_;       // for a planted defect
};

}  // namespace rondo::sim
