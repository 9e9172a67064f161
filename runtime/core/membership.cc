#include <rondo/core/membership.h>

#include <algorithm>
#include <utility>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>

namespace rondo::core {
namespace {

std::string tenths(DurationNs d) {
  const std::int64_t t = d.ns / 100'000'000;
  return std::to_string(t / 10) + "." + std::to_string(t % 10) + " s";
}

}  // namespace

Membership::Membership(Options options) : options_(options) {
  RONDO_CHECK(options.heartbeat_every < options.suspect_after);
  RONDO_CHECK(options.suspect_after < options.term);
}

void Membership::awake(TimeNs now) {
  if (last_awake_) {
    const DurationNs slept = now - *last_awake_;
    if (slept > options_.heartbeat_every * 2) {
      for (auto& [id, member] : members_)
        member.last_heard = std::min(now, member.last_heard + slept);
    }
  }
  last_awake_ = now;
}

void Membership::expect(TimeNs now, const NodeInfo& info) {
  if (dead_.contains(info.id) || members_.contains(info.id)) return;
  Member& member = members_[info.id];
  member.info = info;
  member.last_heard = now;
}

void Membership::restore_dead(const NodeInfo& info) {
  if (dead_.emplace(info.id, info).second) dead_order_.push_back(info.id);
}

bool Membership::join(TimeNs now, const NodeInfo& info) {
  if (dead_.contains(info.id)) return false;
  Member& member = members_[info.id];
  by_process_.erase(member.info.peer.id);
  member = Member{};
  member.info = info;
  member.info.alive = true;
  member.last_heard = now;
  member.joined = true;
  by_process_[info.peer.id] = info.id;
  return true;
}

bool Membership::heard(TimeNs now, NodeId id, std::uint64_t number, const Shape& free,
                       std::uint32_t backlog) {
  const auto it = members_.find(id);
  if (it == members_.end() || !it->second.joined || it->second.cut) return false;
  Member& member = it->second;
  member.last_heard = now;
  member.suspected = false;
  member.reached_through.clear();
  if (number >= member.last_number) {   // a late datagram is a sign of life, not news
    member.last_number = number;
    member.info.free = free;
    member.backlog = backlog;
  }
  return true;
}

void Membership::cut(NodeId id) {
  const auto it = members_.find(id);
  if (it == members_.end()) return;
  it->second.cut = true;
}

void Membership::reached(NodeId id, const std::string& through) {
  const auto it = members_.find(id);
  if (it != members_.end() && it->second.suspected) {
    hit(Branch::kNodeSuspectedReached);
    it->second.reached_through = through;
  }
}

std::optional<Membership::Death> Membership::leave(TimeNs, NodeId id, const std::string& cause) {
  if (!members_.contains(id)) return std::nullopt;
  return bury(id, cause);
}

Membership::Death Membership::bury(NodeId id, std::string cause) {
  const auto it = members_.find(id);
  RONDO_CHECK(it != members_.end());
  Death death{it->second.info, std::move(cause)};
  death.info.alive = false;
  death.info.free = {};
  by_process_.erase(death.info.peer.id);
  members_.erase(it);
  if (dead_.emplace(id, death.info).second) dead_order_.push_back(id);
  if (dead_order_.size() > kDeadMax) {
    dead_.erase(dead_order_.front());
    forgotten_.push_back(dead_order_.front());
    dead_order_.erase(dead_order_.begin());
  }
  return death;
}

Membership::Findings Membership::on_deadline(TimeNs now) {
  Findings out;
  std::vector<NodeId> lost;
  for (auto& [id, member] : members_) {
    const DurationNs silent = now - member.last_heard;
    if (silent >= options_.term + options_.drift) {
      lost.push_back(id);
    } else if (member.joined && silent >= options_.suspect_after) {
      if (!member.suspected) {
        member.suspected = true;
        member.next_probe = now;
        out.changed = true;
      }
      if (now >= member.next_probe) {
        member.next_probe = now + options_.heartbeat_every;
        out.probe.push_back(id);
      }
    }
  }
  for (const NodeId id : lost) {
    const Member& member = members_.at(id);
    std::string cause = "node " + member.info.name;
    hit(member.joined ? Branch::kNodeDeclaredDead : Branch::kNodeNeverCameBack);
    if (!member.joined) {
      cause += " did not come back to the new head within " + tenths(now - member.last_heard);
    } else {
      cause += " was not heard for " + tenths(now - member.last_heard);
      if (member.cut)
        cause += " (the link to it broke)";
      else if (!member.reached_through.empty())
        cause += "; node " + member.reached_through + " could hear it: its path to the head is cut";
    }
    out.died.push_back(bury(id, std::move(cause)));
    out.changed = true;
  }
  return out;
}

TimeNs Membership::next_deadline() const {
  TimeNs next = kNever;
  for (const auto& [id, member] : members_) {
    next = std::min(next, member.last_heard + options_.term + options_.drift);
    if (!member.joined) continue;
    next = std::min(next, member.suspected ? member.next_probe
                                           : member.last_heard + options_.suspect_after);
  }
  // Wake every period while anyone is watched, so that a long gap can only be our own sleep.
  if (!members_.empty() && last_awake_)
    next = std::min(next, *last_awake_ + options_.heartbeat_every);
  return next;
}

const Member* Membership::find(NodeId id) const {
  const auto it = members_.find(id);
  return it == members_.end() ? nullptr : &it->second;
}

const Member* Membership::find(ProcessId process) const {
  const auto it = by_process_.find(process);
  return it == by_process_.end() ? nullptr : find(it->second);
}

std::vector<NodeId> Membership::forgotten() { return std::exchange(forgotten_, {}); }

void Membership::check_invariants() const {
  for (const auto& [id, member] : members_) {
    RONDO_CHECK_EQ(id, member.info.id);
    RONDO_CHECK(!dead_.contains(id));
    if (member.joined) RONDO_CHECK_EQ(by_process_.at(member.info.peer.id), id);
  }
  RONDO_CHECK_LE(dead_.size(), kDeadMax);
  RONDO_CHECK_EQ(dead_.size(), dead_order_.size());
}

}  // namespace rondo::core
