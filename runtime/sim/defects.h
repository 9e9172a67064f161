#pragma once

// Planted defects: what goes wrong in the world around the machines when somebody forgets a rule.
// All off in an honest run. The simulator's own tests switch one on and ask that a checker notices
// it; nothing in the machines knows of them.

namespace rondo::sim {

struct Defects {
  bool calls_delivered_twice = false;     // a port without deduplication
  bool calls_swapped = false;             // a port that does not keep the order of a frame
  bool term_not_read = false;             // a worker that starts calls past its node's term
  bool marks_not_written = false;         // a worker that does not chalk up what it begins
  bool lease_granted_twice = false;       // a node that lends one worker slot to two owners
  bool lease_not_returned = false;        // an owner whose LeaseReturn goes astray
  bool acknowledged_before_persisted = false;   // a head that does not wait for its disk
  bool durable_rows_lost = false;         // a disk that forgets what it has synced
  bool hold_released_twice = false;       // a holder that gives a ref back while it still has it
  bool replies_lost = false;              // a port that drops a reply without a word
  bool deaths_not_told = false;           // a node that keeps a death to itself
  bool budget_raised = false;             // a head that restarts more often than was asked
  bool actor_started_twice = false;       // a head whose StartActor reaches two nodes
  bool term_longer_at_nodes = false;      // nodes that believe in a longer term than their head
  bool kept_not_told = false;             // a receiver that never says RefsKept
  bool values_mixed_up = false;           // a port that puts another value's bytes into a reply

  bool operator==(const Defects&) const = default;
};

}  // namespace rondo::sim
