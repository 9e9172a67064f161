#include <algorithm>
#include <utility>

#include <rondo/sim/simulation.h>

// What befalls a cluster: between 5 and 12 faults at moments of the seed, each of a kind drawn from
// it. Everything is drawn when it strikes, so that it meets the cluster as it is then.

namespace rondo::sim {

void Simulation::plan_faults() {
  const std::int64_t count = world_.random().between(5, 12);
  for (std::int64_t i = 0; i < count; ++i)
    fault_after(milliseconds(world_.random().between(10, 5'500)));
}

void Simulation::fault_after(DurationNs delay) {
  world_.after(delay, {}, [this] {
    if (!healed_) strike();
  });
}

void Simulation::strike() {
  ++faults_;
  const std::uint64_t dice = world_.random().below(100);
  if (dice < 20) worsen_weather();
  else if (dice < 35) cut_one_way();
  else if (dice < 50) pause_something();
  else if (dice < 62) crash_head();
  else if (dice < 72) crash_node();
  else if (dice < 75) crash_two_nodes();
  else if (dice < 79) lay_trap();
  else if (dice < 95) crash_worker();
  else crash_driver();
}

void Simulation::worsen_weather() {
  Weather weather;
  Prng& random = world_.random();
  weather.loss_percent = random.below(21);
  weather.double_percent = random.below(31);
  weather.delay_us_max = random.one_in(3) ? 60'000 : random.between(100, 8'000);
  world_.network().set_weather(weather);
  tell("weather: loss " + std::to_string(weather.loss_percent) + " %, doubles " +
       std::to_string(weather.double_percent) + " %, delay up to " +
       std::to_string(weather.delay_us_max) + " us");
  world_.after(milliseconds(random.between(200, 3'000)), {},
               [this] { world_.network().set_weather({}); });
}

void Simulation::cut_one_way() {
  Prng& random = world_.random();
  const auto from = static_cast<std::uint32_t>(random.below(world_.machines()));
  const auto to = random.one_in(3) ? head_machine_
                                   : static_cast<std::uint32_t>(random.below(world_.machines()));
  const bool both = random.one_in(3);
  if (from == to) return worsen_weather();
  // From the head for longer than a term: who is declared dead goes on talking to others.
  const DurationNs length = milliseconds(
      to == head_machine_ ? random.between(2'000, 5'000) : random.between(100, 4'000));
  world_.network().cut(from, to);
  if (both) world_.network().cut(to, from);
  tell("machine " + std::to_string(from) + " is not heard by machine " + std::to_string(to) +
       (both ? ", nor the other way," : "") + " for " + std::to_string(length.ns / 1'000'000) +
       " ms");
  world_.after(length, {}, [this, from, to] {
    world_.network().mend(from, to);
    world_.network().mend(to, from);
  });
}

void Simulation::pause_something() {
  Prng& random = world_.random();
  const DurationNs length = milliseconds(random.between(20, 4'000));
  const TimeNs until = world_.now() + length;
  const std::string ms = std::to_string(length.ns / 1'000'000) + " ms";
  if (random.one_in(4)) {
    if (SimNode* node = node_of(homes_[random.below(homes_.size())])) {
      node->start_nothing_until(until);
      return tell("node " + node->options().name + " can start no process for " + ms);
    }
  }
  if (random.one_in(2)) {
    const auto machine = static_cast<std::uint32_t>(random.below(world_.machines()));
    world_.machine(machine).paused_until = until;
    tell("machine " + std::to_string(machine) + " stands still for " + ms);
    return;
  }
  const std::vector<Endpoint*> living = world_.living();
  Endpoint& one = *living[random.below(living.size())];
  one.paused_until = until;
  tell(std::string(one.kind()) + " " + to_string(one.id()) + " stands still for " + ms);
}

void Simulation::crash_head() {
  tell("the head dies");
  world_.kill(head_);
}

void Simulation::crash_node() {
  Prng& random = world_.random();
  Home& home = homes_[random.below(homes_.size())];
  if (node_of(home) == nullptr) return;
  const bool whole = random.one_in(2);
  if (whole && drivers().size() <= 3) {
    for (const SimProcess* driver : drivers())
      if (driver->machine() == home.machine && driver_crashes_ >= 1) return crash_worker();
  }
  kill_node(home, whole);
}

void Simulation::kill_node(Home& home, bool whole) {
  home.stays_down = world_.random().one_in(4);
  for (const SimProcess* driver : drivers())
    if (!whole && driver->machine() == home.machine) ++seen_.drivers_without_node;
  tell("node " + home.name + (whole ? " dies with its whole machine" : " dies with its workers") +
       (home.stays_down ? ", and stays down" : ""));
  if (whole) {
    for (const SimProcess* driver : drivers()) {
      if (driver->machine() != home.machine) continue;
      ++driver_crashes_;
      world_.kill(driver->id());
    }
  }
  world_.kill(home.node);
  std::uint32_t gone = 0;
  for (const Home& other : homes_)
    if (node_of(other) == nullptr) ++gone;
  seen_.nodes_gone_together = std::max(seen_.nodes_gone_together, gone);
}

void Simulation::crash_two_nodes() {
  crash_node();
  crash_node();
}

// Faults that hardly ever meet their moment by chance wait for it.
void Simulation::lay_trap() {
  const std::uint64_t dice = world_.random().below(3);
  if (dice == 0) {
    tell("the next caller from another job that is owed a large result dies while it is made");
    trap_caller();
  } else if (dice == 1) {
    tell("the next worker that seals a result dies before anybody hears of it");
    world_.set_trap(World::Moment::kSealing,
                    [this](Endpoint& worker, ProcessId) { kill_unheard(worker); });
  } else {
    tell("the next node that is asked for an object dies");
    world_.set_trap(World::Moment::kPulling, [this](Endpoint& node, ProcessId) {
      for (Home& home : homes_)
        if (home.node == node.id()) kill_node(home, false);
    });
  }
}

// The worker is slow meanwhile, so that its node knows of the death when the result is sealed.
void Simulation::trap_caller() {
  world_.set_trap(World::Moment::kStoring, [this](Endpoint& worker, ProcessId caller) {
    auto* program = dynamic_cast<SimProcess*>(world_.find(caller));
    const bool fits = program != nullptr && program->role() == core::Role::kDriver &&
                      !program->dead() &&
                      program->job() != static_cast<const SimProcess&>(worker).job();
    if (!fits) return trap_caller();
    if (++driver_crashes_ > 1) return;
    worker.paused_until = world_.now() + milliseconds(150);
    tell("driver " + to_string(caller) + " dies");
    SimNode* home = program->node();
    world_.after({0}, {}, [this, caller, node = home == nullptr ? ProcessId{} : home->id()] {
      world_.kill(caller);
      auto* there = dynamic_cast<SimNode*>(world_.find(node));
      if (there != nullptr && !there->dead()) there->process_died(caller, "killed by signal 9");
    });
  });
}

// Its own node hears what it said last, nobody else does.
void Simulation::kill_unheard(Endpoint& worker) {
  const std::uint32_t here = worker.machine();
  for (std::uint32_t there = 0; there < world_.machines(); ++there)
    if (there != here) world_.network().cut(here, there);
  world_.after(microseconds(400), {}, [this, id = worker.id()] {
    auto* victim = dynamic_cast<SimProcess*>(world_.find(id));
    if (victim == nullptr || victim->dead()) return;
    SimNode* home = victim->node();
    world_.kill(id);
    if (home != nullptr && !home->dead()) home->process_died(id, "killed by signal 9 (SIGKILL)");
  });
  world_.after(milliseconds(2), {}, [this, here] {
    for (std::uint32_t there = 0; there < world_.machines(); ++there)
      world_.network().mend(here, there);
  });
}

// Half of the time one that is in the middle of a call.
void Simulation::crash_worker() {
  Prng& random = world_.random();
  for (std::size_t tries = 0; tries < homes_.size(); ++tries) {
    SimNode* node = node_of(homes_[random.below(homes_.size())]);
    if (node == nullptr) continue;
    std::vector<ProcessId> workers = node->workers();
    if (workers.empty()) continue;
    if (random.one_in(2)) keep_busy(workers);
    const ProcessId victim = workers[random.below(workers.size())];
    tell("worker " + to_string(victim) + " dies");
    world_.kill(victim);
    node->process_died(victim, "killed by signal 9 (SIGKILL)");
    return;
  }
}

void Simulation::keep_busy(std::vector<ProcessId>& workers) const {
  std::vector<ProcessId> busy;
  for (const ProcessId id : workers)
    if (static_cast<const SimProcess*>(world_.find(id))->busy()) busy.push_back(id);
  if (!busy.empty()) workers = std::move(busy);
}

void Simulation::crash_driver() {
  const std::vector<SimProcess*> all = drivers();
  if (all.empty() || ++driver_crashes_ > 1) return crash_worker();
  SimProcess& victim = *all[world_.random().below(all.size())];
  tell("driver " + to_string(victim.id()) + " dies");
  SimNode* home = victim.node();
  world_.kill(victim.id());
  if (home != nullptr && !home->dead()) home->process_died(victim.id(), "killed by signal 9");
}

void Simulation::heal() {
  healed_ = true;
  tell("everything is healed");
  world_.clear_traps();
  world_.network().heal();
  for (std::uint32_t i = 0; i < world_.machines(); ++i) world_.machine(i).paused_until = {};
  for (Endpoint* process : world_.living()) process->paused_until = {};
}

}  // namespace rondo::sim
