#include <rondo/sim/endpoint.h>

#include <algorithm>
#include <utility>

#include <rondo/sim/checks.h>

namespace rondo::sim {

Endpoint::Endpoint(World& world, core::Peer self, std::uint32_t machine)
    : world_(world), self_(std::move(self)), machine_(machine) {
  wire::Station::Options options;
  options.self = self_;
  station_ = std::make_unique<wire::Station>(std::move(options));
}

Endpoint::~Endpoint() = default;

void Endpoint::die() { dead_ = true; }

void Endpoint::check_invariants() const { station_->check_invariants(); }

void Endpoint::hear(const SharedBytes& frame) {
  station_->on_frame(world_.now(), frame, *this);
  if (!dead_) end_turn();
}

void Endpoint::learn(const core::Peer& peer) {
  if (peer.id == self_.id || !peer.id || peer.address.empty()) return;
  station_->learn(peer);
  if (!forgotten_.contains(peer.id)) addresses_[peer.id] = peer.address;
}

void Endpoint::forget(ProcessId peer) {
  station_->forget(peer);
  addresses_.erase(peer);
  forgotten_.insert(peer);
}

bool Endpoint::may_say(ProcessId to) {
  if (station_->knows(to)) return true;
  if (!forgotten_.contains(to)) world_.checks().said_to_nobody(*this, to);
  return false;
}

void Endpoint::greet(const core::Address& to, const core::Hello& hello) {
  world_.carry(*this, to, station_->greeting(hello));
}

void Endpoint::end_turn() {
  if (dead_) return;
  const TimeNs now = world_.now();
  for (const wire::Broken& broken : station_->take_broken()) on_broken(broken);
  turn_ends();
  if (dead_) return;
  out_.clear();
  station_->flush(now, out_);
  for (const wire::OutFrame& frame : out_) {
    const auto to = addresses_.find(frame.to);
    if (to != addresses_.end()) world_.carry(*this, to->second, frame.frame);
  }
  set_alarm();
}

void Endpoint::set_alarm() {
  const TimeNs due = std::min(next_deadline(), station_->next_deadline().value_or(kNever));
  if (due >= alarm_) return;
  alarm_ = std::max(due, world_.now());
  world_.after(alarm_ - world_.now(), self_.id, [this, at = alarm_] { ring(at); });
}

void Endpoint::ring(TimeNs due) {
  if (due != alarm_) return;   // an earlier one was set since
  alarm_ = kNever;
  const TimeNs now = world_.now();
  if (station_->next_deadline().value_or(kNever) <= now) station_->on_deadline(now);
  if (next_deadline() <= now) on_alarm();
  // At least a little time goes by between two looks at a deadline that its owner does not move.
  const TimeNs next = std::min(next_deadline(), station_->next_deadline().value_or(kNever));
  if (next <= now) {
    alarm_ = now + microseconds(100);
    world_.after(microseconds(100), self_.id, [this, at = alarm_] { ring(at); });
  }
  end_turn();
}

}  // namespace rondo::sim
