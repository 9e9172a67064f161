#include <rondo/sim/endpoint.h>

#include <cxxabi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <typeinfo>
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

void Endpoint::narrate(ProcessId from, const core::Message& message) const {
  if (!world_.verbose()) return;
  const char* name = std::visit([](const auto& m) { return typeid(m).name(); }, message);
  char* plain = abi::__cxa_demangle(name, nullptr, nullptr, nullptr);
  std::string more;
  if (const auto* m = std::get_if<core::ActorUpdate>(&message))
    more = to_string(m->actor.id) + " state " + std::to_string(static_cast<int>(m->actor.state)) +
           " inc " + std::to_string(m->actor.incarnation.value) + " in " +
           to_string(m->actor.process.id) + " " + m->actor.cause;
  else if (const auto* w = std::get_if<core::WatchActor>(&message)) more = to_string(w->actor);
  else if (const auto* s = std::get_if<core::SpawnActor>(&message)) more = to_string(s->spec.id);
  else if (const auto* d = std::get_if<core::ProcessDied>(&message)) more = to_string(d->process);
  else if (const auto* r = std::get_if<core::RefRegister>(&message)) more = to_string(r->object);
  else if (const auto* e = std::get_if<core::RefRelease>(&message)) more = to_string(e->object);
  else if (const auto* k = std::get_if<core::RefsKept>(&message)) more = to_string(k->object);
  else if (const auto* y = std::get_if<core::ObjectReady>(&message)) more = to_string(y->object);
  else if (const auto* j = std::get_if<core::EndJob>(&message)) more = to_string(j->job) + j->cause;
  else if (const auto* t = std::get_if<core::StartActor>(&message))
    more = to_string(t->spec.id) + " inc " + std::to_string(t->incarnation.value);
  else if (const auto* x = std::get_if<core::ActorExited>(&message))
    more = to_string(x->actor) + " inc " + std::to_string(x->incarnation.value) + " " + x->cause;
  std::printf("%9lld us %s %s hears %s of %s  %s\n",
              static_cast<long long>((world_.now().ns - 1'000'000'000) / 1'000), kind(),
              to_string(id()).c_str(), plain, to_string(from).c_str(), more.c_str());
  std::free(plain);
}

ProcessId Endpoint::unsettled() const {
  for (const Endpoint* other : world_.living())
    if (other != this && !station_->settled(other->id())) return other->id();
  return {};
}

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
  alarm_ = std::max({due, world_.now(), not_before_});
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
  not_before_ = next <= now ? now + microseconds(100) : TimeNs{};
  end_turn();
}

}  // namespace rondo::sim
