#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <rondo/base/time.h>
#include <rondo/core/types.h>

// Membership decides which nodes are alive.
//
// Picture a roll-call: every node answers at least once a period. A node that misses several
// periods is *suspected* and asked through its neighbours; one that nobody heard from for its whole
// membership term, plus what two clocks may differ, is *dead*, and never comes back under the same
// id. The term makes this safe: a node that cannot reach the head falls silent before the head may
// give its actors to others. An answer through a neighbour therefore only says *what* is broken.
//
// If the head itself was stopped (a paused machine, a debugger), the time it slept is nobody's
// absence: everyone is credited with it.

namespace rondo::core {

struct Member {
  NodeInfo info;                 // as it joined; `free` as last heard
  TimeNs last_heard;
  std::uint64_t last_number = 0;
  std::uint32_t backlog = 0;
  bool joined = false;           // false: known from an earlier head's rows only
  bool suspected = false;
  bool cut = false;
  TimeNs next_probe;
  std::string reached_through;   // the neighbour that could still hear it
};

class Membership {
 public:
  struct Options {
    DurationNs heartbeat_every;
    DurationNs suspect_after;
    DurationNs term;
    DurationNs drift;
  };
  explicit Membership(Options);   // Requires: heartbeat_every < suspect_after < term.

  void awake(TimeNs now);         // first in every step: notices the head's own sleep
  void expect(TimeNs now, const NodeInfo&);     // an earlier head knew it: it has a term to join
  void restore_dead(const NodeInfo&);
  [[nodiscard]] bool join(TimeNs now, const NodeInfo&);   // false: it was declared dead
  // false: no member (dead, or never joined)
  [[nodiscard]] bool heard(TimeNs now, NodeId, std::uint64_t number, const Shape& free,
                           std::uint32_t backlog);
  void cut(NodeId);               // its link broke: what it says no longer counts
  void reached(NodeId, const std::string& through);   // a neighbour heard it: for the sentence
  struct Death {
    NodeInfo info;
    std::string cause;
  };
  std::optional<Death> leave(TimeNs now, NodeId, const std::string& cause);   // it said so itself

  struct Findings {
    std::vector<Death> died;
    std::vector<NodeId> probe;    // suspected, to be asked through neighbours now
    bool changed = false;         // somebody's standing changed
  };
  [[nodiscard]] Findings on_deadline(TimeNs now);
  [[nodiscard]] TimeNs next_deadline() const;

  [[nodiscard]] const Member* find(NodeId) const;   // nullptr: unknown or dead
  [[nodiscard]] const Member* find(ProcessId) const;
  [[nodiscard]] const std::map<NodeId, Member>& members() const { return members_; }
  [[nodiscard]] const std::map<NodeId, NodeInfo>& dead() const { return dead_; }
  [[nodiscard]] std::vector<NodeId> forgotten();    // dead ones no longer kept: their rows may go
  void check_invariants() const;

 private:
  static constexpr std::size_t kDeadMax = 1'024;

  Death bury(NodeId, std::string cause);

  Options options_;
  std::optional<TimeNs> last_awake_;
  std::map<NodeId, Member> members_;
  std::map<ProcessId, NodeId> by_process_;
  std::map<NodeId, NodeInfo> dead_;
  std::vector<NodeId> dead_order_;   // oldest first
  std::vector<NodeId> forgotten_;
};

}  // namespace rondo::core
