#include <rondo/core/node_term.h>

#include <rondo/base/branch_marks.h>

#include <algorithm>

namespace rondo::core {

void NodeTerm::joining(TimeNs now) {
  joined_ = false;
  join_sent_ = now;
  next_beat_ = kNever;
  sent_.clear();
}

void NodeTerm::accepted(TimeNs now, const NodeAccepted& accepted, Effects& out) {
  if (joined_ && head_ == accepted.head) return;
  joined_ = true;
  head_ = accepted.head;
  term_ = accepted.term;
  every_ = accepted.heartbeat_every;
  next_beat_ = now;
  renew(now, join_sent_, out);
}

void NodeTerm::acknowledged(TimeNs now, const HeartbeatAck& ack, Effects& out) {
  if (!joined_ || ack.head != head_) return;
  const auto it = sent_.find(ack.number);
  if (it == sent_.end()) return;
  const TimeNs left = it->second;
  sent_.erase(sent_.begin(), std::next(it));   // older answers tell nothing more
  renew(now, left, out);
}

void NodeTerm::renew(TimeNs now, TimeNs from, Effects& out) {
  if (from + term_ <= until_) return;
  until_ = from + term_;
  out.add(RenewTerm{until_});
  if (fenced_ && now < until_) {
    hit(Branch::kTermUnfenced);
    fenced_ = false;
    out.add(Unfenced{});
  }
}

bool NodeTerm::on_deadline(TimeNs now, std::uint64_t& number, Effects& out) {
  if (!fenced_ && until_.ns != 0 && now >= until_) {
    hit(Branch::kTermFenced);
    fenced_ = true;
    out.add(Fenced{});
  }
  if (!joined_ || now < next_beat_) return false;
  number = ++number_;
  sent_[number] = now;
  if (sent_.size() > kSentMax) sent_.erase(sent_.begin());
  next_beat_ = now + every_;
  return true;
}

TimeNs NodeTerm::next_deadline() const {
  const TimeNs fence = fenced_ || until_.ns == 0 ? kNever : until_;
  return std::min(next_beat_, fence);
}

}  // namespace rondo::core
