#include <rondo/sim/checks.h>

#include <utility>

#include <rondo/sim/checkers/checkers.h>
#include <rondo/sim/endpoint.h>
#include <rondo/sim/sim_process.h>

namespace rondo::sim {

Checks::Checks(World& world) : world_(world), checkers_(all_checkers(*this)) {}
Checks::~Checks() = default;

template <class F>
void Checks::ask(F&& question) {
  for (const auto& checker : checkers_) {
    const std::string wrong = question(*checker);
    if (!wrong.empty()) fail(checker->name(), wrong);
  }
}

void Checks::fail(const std::string& checker, const std::string& what) {
  if (failed()) return;
  failed_by_ = checker;
  failure_ = checker + ": " + what + " (at " +
             std::to_string((world_.now().ns - 1'000'000'000) / 1'000) + " us)";
}

void Checks::issued(const Issued& call) {
  calls_[call.result] = call;
  ask([&](Checker& c) { return c.on_issued(call); });
}
void Checks::made(ObjectId object, std::uint64_t token) {
  Issued put;
  put.result = object;
  put.token = token;
  calls_[object] = put;
}
void Checks::begun(const Begun& run) {
  ask([&](Checker& c) { return c.on_begun(run); });
}
void Checks::finished(const Begun& run) {
  ask([&](Checker& c) { return c.on_finished(run); });
}
void Checks::spawned(const core::ActorSpec& spec) {
  ask([&](Checker& c) { return c.on_spawned(spec); });
}
void Checks::constructed(ActorId actor, Incarnation incarnation, ProcessId worker) {
  ask([&](Checker& c) { return c.on_constructed(actor, incarnation, worker); });
}
void Checks::process_dead(ProcessId process) {
  ask([&](Checker& c) { return c.on_process_dead(process); });
}
void Checks::seen(ProcessId who, ObjectId object, const std::uint64_t* token,
                  const core::Failure* failure) {
  ask([&](Checker& c) { return c.on_seen(who, object, token, failure); });
}
void Checks::head_says(ProcessId node, const core::Message& message) {
  ask([&](Checker& c) { return c.on_head_says(node, message); });
}
void Checks::head_hears(const core::Message& message) {
  ask([&](Checker& c) { return c.on_head_hears(message); });
}
void Checks::head_loaded(const std::map<std::string, Bytes>& rows) {
  ask([&](Checker& c) { return c.on_head_loaded(rows); });
}
void Checks::look() {
  ask([&](Checker& c) { return c.on_look(world_); });
}
void Checks::all_done() {
  ask([&](Checker& c) { return c.on_all_done(world_); });
}
void Checks::rest() {
  ask([&](Checker& c) { return c.on_rest(world_); });
}

// Nothing may be said to a living process that was never met: it would be dropped without a word.
void Checks::said_to_nobody(const Endpoint& from, ProcessId to) {
  if (world_.alive(to))
    fail("NoSilentDrop", std::string(from.kind()) + " " + to_string(from.id()) +
                             " said something to " + to_string(to) + ", which it never met");
}

NodeId Checks::home_of(ProcessId living) const {
  auto* process = dynamic_cast<SimProcess*>(world_.find(living));
  return process == nullptr || process->dead() ? NodeId{} : process->machine_state().node();
}

const Issued* Checks::find(ObjectId object) const {
  const auto it = calls_.find(object);
  return it == calls_.end() ? nullptr : &it->second;
}

}  // namespace rondo::sim
