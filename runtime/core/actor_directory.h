#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <rondo/base/time.h>
#include <rondo/core/rows.h>
#include <rondo/core/types.h>

// ActorDirectory: births, incarnations and deaths of actors.
//
//              assign            started
//   kPending ─────────▶ kStarting ──────▶ kAlive
//       ▲ unplaced        │ exited          │ exited          kill, spent, never, job over
//       └── kRestarting ◀─┴─────────────────┘                 ──▶ kDead, for ever
//
// Every assignment raises the incarnation, and a death counts only if it names the incarnation that
// lives: so each incarnation dies at most once, and restarts never exceed the budget. A name
// belongs to one living actor.
//
// It knows neither nodes' health nor messages: the head asks for what changed and tells the world.

namespace rondo::core {

struct ActorEntry {
  ActorSpec spec;            // its arguments go when it is dead
  ActorInfo info;            // what the world is told; info.node 0: not placed
  bool confirmed = true;     // false: known from rows; its node has not yet said whether it lives
  TimeNs retry_at;           // not placed: not before
  TimeNs alive_since;
  std::uint32_t quick_deaths = 0;   // in a row, without a while of life between
};

class ActorDirectory {
 public:
  static constexpr std::size_t kActorsMax = 1'000'000;
  static constexpr std::size_t kCauseMax = 8'192;                 // bytes of a cause
  static constexpr std::uint32_t kFreeRestarts = 3;   // in a row, at once; then later and later
  static constexpr DurationNs kRestartAfter = milliseconds(100);  // doubled each time
  static constexpr DurationNs kRestartAfterMax = seconds(10);
  static constexpr DurationNs kLongLife = seconds(10);            // forgives earlier quick deaths

  void restore(const ActorRow&);

  // False: it is known already. A taken name, a full directory: it is born dead, with the cause.
  bool spawn(TimeNs now, const ActorSpec&);
  // To this node, under a raised incarnation. Requires: unplaced.
  void assign(ActorId, NodeId);
  // It lives. False: not this incarnation there, or dead: whoever says so must stop it.
  [[nodiscard]] bool started(TimeNs now, const ActorInfo&);
  // Its node has it, not yet alive. False: as above.
  [[nodiscard]] bool starting(ActorId, Incarnation, NodeId);
  // This incarnation is gone: it restarts within its budget, else it is dead.
  void exited(TimeNs now, ActorId, Incarnation, const std::string& cause);
  void end(ActorId, const std::string& cause, ErrorCode code);    // kill, never placeable
  std::vector<ActorId> end_job(JobId, const std::string& cause);  // all of its actors, now dead
  void erase(ActorId);                                            // Requires: dead.
  void wait_until(ActorId, TimeNs);                               // unplaced: look again then

  [[nodiscard]] const ActorEntry* find(ActorId) const;
  [[nodiscard]] const ActorEntry* find_name(const std::string&) const;   // living
  [[nodiscard]] std::vector<ActorId> placed_on(NodeId) const;
  [[nodiscard]] std::vector<ActorId> due(TimeNs now) const;       // unplaced, to be placed now
  [[nodiscard]] TimeNs next_retry() const;
  void retry_all(TimeNs now);            // room may have appeared: those that wait for room try now
  [[nodiscard]] Shape load(NodeId) const;
  [[nodiscard]] std::size_t count(NodeId) const;
  [[nodiscard]] const std::map<ActorId, ActorEntry>& all() const { return actors_; }
  [[nodiscard]] ActorRow row(ActorId) const;
  struct Changes {
    std::set<ActorId> told;   // the world should hear
    std::set<ActorId> rows;   // of these, whose rows differ
  };
  [[nodiscard]] Changes take_changes();                           // since the last time
  void check_invariants() const;

 private:
  ActorEntry& at(ActorId);
  void leave_node(ActorEntry&);
  void die(ActorEntry&, std::string cause, ErrorCode);
  void mark(ActorId id) {
    changes_.told.insert(id);
    changes_.rows.insert(id);
  }
  static DurationNs restart_delay(std::uint32_t quick_deaths);

  struct Load {
    Shape shape;
    std::set<ActorId> actors;
  };

  std::map<ActorId, ActorEntry> actors_;
  std::map<std::string, ActorId> names_;      // of living actors
  std::map<NodeId, Load> loads_;
  std::set<ActorId> unplaced_;
  std::map<JobId, std::set<ActorId>> by_job_;
  Changes changes_;
};

}  // namespace rondo::core
