#include <rondo/sim/world.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/sim/checks.h>
#include <rondo/sim/endpoint.h>

namespace rondo::sim {

namespace {
std::uint64_t digest(ByteView bytes) {
  std::uint64_t sum = bytes.size();
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    sum = (sum ^ word) * 0xD6E8FEB86659FD93ull;
    sum ^= sum >> 32;
  }
  for (; at < bytes.size(); ++at) sum = sum * 31 + static_cast<std::uint64_t>(bytes[at]);
  return sum;
}
}  // namespace

World::World(std::uint64_t seed, const Defects& defects)
    : random_((seed ^ 0x5851F42D4C957F2Dull) * 0xD1342543DE82EF95ull),
      defects_(defects),
      checks_(std::make_unique<Checks>(*this)) {}

World::~World() = default;

bool World::later(const Event& a, const Event& b) {
  return a.at != b.at ? a.at > b.at : a.order > b.order;
}

void World::push(Event event) {
  event.order = order_++;
  queue_.push_back(std::move(event));
  std::push_heap(queue_.begin(), queue_.end(), later);
}

void World::after(DurationNs delay, ProcessId target, std::function<void()> event) {
  push({now_ + std::max(delay, DurationNs{0}), 0, target, std::move(event)});
}

TimeNs World::paused_until(const Endpoint& process) const {
  return std::max(process.paused_until, machines_[process.machine()].paused_until);
}

bool World::step() {
  if (queue_.empty()) return false;
  std::pop_heap(queue_.begin(), queue_.end(), later);
  Event event = std::move(queue_.back());
  queue_.pop_back();
  now_ = std::max(now_, event.at);
  ++events_;
  if (event.target) {
    const Endpoint* process = find(event.target);
    if (process == nullptr || process->dead()) return true;
    if (const TimeNs until = paused_until(*process); until > now_) {
      event.at = until;
      push(std::move(event));
      return true;
    }
  }
  note(static_cast<std::uint64_t>(now_.ns) ^ event.target.value);
  event.run();
  return true;
}

void World::run_until(TimeNs until) {
  while (!queue_.empty() && queue_.front().at <= until && !checks_->failed()) step();
  now_ = std::max(now_, until);
}

void World::note(std::uint64_t fact) {
  trace_ = (trace_ ^ fact) * 0xD6E8FEB86659FD93ull;
  trace_ ^= trace_ >> 29;
}

Endpoint& World::add(std::unique_ptr<Endpoint> process) {
  Endpoint& added = *process;
  listening_[added.address()] = added.id();
  const bool fresh = endpoints_.emplace(added.id(), std::move(process)).second;
  RONDO_CHECK(fresh);
  return added;
}

Endpoint* World::find(ProcessId id) const {
  const auto it = endpoints_.find(id);
  return it == endpoints_.end() ? nullptr : it->second.get();
}

bool World::alive(ProcessId id) const {
  const Endpoint* process = find(id);
  return process != nullptr && !process->dead();
}

Endpoint* World::at(const core::Address& address) const {
  const auto it = listening_.find(address);
  if (it == listening_.end()) return nullptr;
  Endpoint* process = find(it->second);
  return process != nullptr && !process->dead() ? process : nullptr;
}

void World::kill(ProcessId id) {
  Endpoint* process = find(id);
  if (process == nullptr || process->dead()) return;
  note(id.value ^ 0xDEADull);
  process->die();
}

std::vector<Endpoint*> World::living() const {
  std::vector<Endpoint*> out;
  for (const auto& [id, process] : endpoints_)
    if (!process->dead()) out.push_back(process.get());
  return out;
}

void World::spring(Moment moment, Endpoint& who, ProcessId whom) {
  const auto it = traps_.find(moment);
  if (it == traps_.end()) return;
  const auto what = std::move(it->second);
  traps_.erase(it);
  what(who, whom);
}

std::uint32_t World::add_machine() {
  machines_.emplace_back();
  return static_cast<std::uint32_t>(machines_.size() - 1);
}

void World::carry(const Endpoint& from, const core::Address& to, const SharedBytes& frame) {
  note(digest(*frame));
  const Endpoint* receiver = at(to);
  if (receiver == nullptr) return;   // nobody listens: as good as lost
  for (const DurationNs delay : network_.fate(random_, from.machine(), receiver->machine())) {
    after(delay, receiver->id(), [this, id = receiver->id(), frame] {
      if (Endpoint* there = find(id)) there->hear(frame);
    });
  }
}

}  // namespace rondo::sim
