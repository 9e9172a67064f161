#pragma once

#include <cstdint>
#include <map>

#include <rondo/core/effects.h>

// NodeTerm: a node's side of membership. It sends heartbeats, and knows until when it may speak.
//
// The term counts from when the confirmed heartbeat *left*, so that this node is silent before the
// head, which counts from when it *arrived*, may give its actors to others.

namespace rondo::core {

class NodeTerm {
 public:
  static constexpr std::size_t kSentMax = 64;   // heartbeats whose answer may still come

  void joining(TimeNs now);                     // NodeJoin leaves for a (new) head
  void accepted(TimeNs now, const NodeAccepted&, Effects& out);
  void acknowledged(TimeNs now, const HeartbeatAck&, Effects& out);
  // Emits Fenced when the term has run out; true: a heartbeat is due, numbered so.
  [[nodiscard]] bool on_deadline(TimeNs now, std::uint64_t& number, Effects& out);
  [[nodiscard]] TimeNs next_deadline() const;

  [[nodiscard]] bool joined() const { return joined_; }
  [[nodiscard]] bool fenced() const { return fenced_; }
  [[nodiscard]] TimeNs until() const { return until_; }

 private:
  void renew(TimeNs now, TimeNs from, Effects& out);

  bool joined_ = false;
  bool fenced_ = false;
  Incarnation head_;
  DurationNs term_;
  DurationNs every_;
  TimeNs join_sent_;
  TimeNs until_;                                // 0: never had a term
  TimeNs next_beat_ = kNever;
  std::uint64_t number_ = 0;
  std::map<std::uint64_t, TimeNs> sent_;
};

}  // namespace rondo::core
