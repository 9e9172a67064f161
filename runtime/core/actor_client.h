#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include <rondo/core/call_sender.h>
#include <rondo/core/call_table.h>
#include <rondo/core/peer_book.h>
#include <rondo/core/process_port.h>

// The caller's side of actors: where each lives now, the calls that wait for it, and those that it
// has.
//
// Picture letters to people who sometimes move. Letters to one person go out in order. When the
// person moves, letters that were never opened are sent to the new house, in order; one that may
// have been opened is sent again only if its writer allowed it. A letter marked "this house only"
// (a bound call) comes back instead.
//
// Loop only. The head is asked once for each actor (WatchActor) and then tells every change.

namespace rondo::core {

class ActorClient {
 public:
  ActorClient(ProcessId self, CallTable&, CallSender&, PeerBook&, ProcessPort&);

  void set_node(ProcessId node) { node_ = node; }
  [[nodiscard]] std::uint32_t group_of(
      const ActorId&);            // dense index; watches the actor from now on
  void expect(const ActorSpec&);  // our own spawn: retries are known before the head answers
  void watch(const ActorId&);     // after SpawnActor has left
  [[nodiscard]] const ActorInfo& info(std::uint32_t group) const { return actors_[group].info; }
  [[nodiscard]] bool accepts(std::uint32_t group) const;  // room in its queue (max_pending)

  void enqueue(Call&);  // in the order of the caller; may be unready
  void pump(TimeNs now, std::uint32_t group, std::vector<Call*>& failed);
  void pump_dirty(TimeNs now, std::vector<Call*>& failed);
  void mark_dirty(std::uint32_t group);
  void on_answered(Call&);
  void on_returned(Call&);
  // `gone`: the process that it names is known to be dead already; wait for the next birth.
  void on_update(TimeNs now, const ActorUpdate&, bool gone, std::vector<Call*>& failed);
  // Requires: it names a process.
  void on_process_died(TimeNs now, const ProcessDied&, std::vector<Call*>& failed);
  void cancel(Call&);  // Requires: not sent.
  // Processes that have calls of ours although their actor lives elsewhere now: each with its node.
  // Their death is still to be told.
  [[nodiscard]] std::map<ProcessId, NodeId> left_behind();
  [[nodiscard]] bool any_left_behind() const { return any_left_behind_; }
  void watch_again();  // the node is new or was away
  [[nodiscard]] Failure why_dead(const Call&) const;
  void check_invariants() const;

 private:
  struct Actor {
    ActorInfo info;
    CallList queue;     // not sent, in order
    CallList sent;      // in the order of sending
    ProcessId lost;     // the process that we know to be dead, until an update names a newer one
    std::string cause;  // of that death
    bool dirty = false;
  };

  void settle(Actor&, const ProcessDied&, std::vector<Call*>& failed);

  const ProcessId self_;
  CallTable& calls_;
  CallSender& sender_;
  PeerBook& book_;
  ProcessPort& port_;
  ProcessId node_;
  std::map<ActorId, std::uint32_t> by_id_;
  std::vector<Actor> actors_;
  std::vector<std::uint32_t> dirty_;
  bool any_left_behind_ = false;   // perhaps
};

}  // namespace rondo::core
