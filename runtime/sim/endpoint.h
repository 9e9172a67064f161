#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <rondo/sim/world.h>
#include <rondo/wire/station.h>

// Endpoint: a simulated process of any kind, as far as the network knows it: a real Station, the
// addresses it has learnt, and one alarm clock. What it does with what it hears is its child's.

namespace rondo::sim {

class Endpoint : protected wire::Handler {
 public:
  Endpoint(World&, core::Peer self, std::uint32_t machine);
  ~Endpoint() override;
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  [[nodiscard]] ProcessId id() const { return self_.id; }
  [[nodiscard]] const core::Address& address() const { return self_.address; }
  [[nodiscard]] const core::Peer& peer() const { return self_; }
  [[nodiscard]] std::uint32_t machine() const { return machine_; }
  [[nodiscard]] bool dead() const { return dead_; }
  [[nodiscard]] const wire::Station& station() const { return *station_; }
  [[nodiscard]] World& world() const { return world_; }
  TimeNs paused_until;

  void hear(const SharedBytes& frame);
  virtual void die();   // from outside, at once
  virtual void check_invariants() const;
  // "" when it holds nothing that it should not hold when all is done.
  [[nodiscard]] virtual std::string held_at_rest() const { return {}; }
  [[nodiscard]] virtual const char* kind() const = 0;
  // The living process that has not acknowledged something; 0: none. (What was said to the dead
  // goes with their link.)
  [[nodiscard]] ProcessId unsettled() const;

 protected:
  virtual void on_alarm() = 0;
  virtual void on_broken(const wire::Broken&) = 0;
  virtual void turn_ends() {}   // after every input, before what was said leaves
  [[nodiscard]] virtual TimeNs next_deadline() const = 0;

  void learn(const core::Peer&);
  void forget(ProcessId);
  [[nodiscard]] bool may_say(ProcessId to);   // false: said into the void; checked
  void greet(const core::Address&, const core::Hello&);
  void end_turn();   // what was said leaves; the alarm is set
  void on_peer(const core::Peer& peer, NodeId) override { learn(peer); }
  void on_call(ProcessId, const core::CallHeader&, ByteView, std::span<const core::RefEntry>,
               const SharedBytes&) override {}
  void on_reply(ProcessId, const core::ReplyHeader&, ByteView, std::span<const core::RefEntry>,
                const SharedBytes&) override {}

  World& world_;
  const core::Peer self_;
  const std::uint32_t machine_;
  void narrate(ProcessId from, const core::Message&) const;   // when one seed is looked at
  bool dead_ = false;
  std::unique_ptr<wire::Station> station_;

 private:
  void set_alarm();
  void ring(TimeNs due);

  std::map<ProcessId, core::Address> addresses_;
  std::set<ProcessId> forgotten_;
  std::vector<wire::OutFrame> out_;
  TimeNs alarm_ = kNever;   // the earliest that is in the world's queue
  TimeNs not_before_;  // of the next alarm
};

}  // namespace rondo::sim
