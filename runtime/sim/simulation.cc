#include <rondo/sim/simulation.h>

#include <utility>

#include <rondo/sim/checks.h>

// Building a cluster, and the two phases. What befalls it: faults.cc.

namespace rondo::sim {

namespace {
constexpr DurationNs kAnswerWithin = seconds(40);   // after healing
constexpr DurationNs kCycleWithin = seconds(2);
constexpr DurationNs kRestWithin = seconds(20);
constexpr std::uint64_t kLookEvery = 3'000;         // events
}  // namespace

Simulation::Simulation(std::uint64_t seed, const Defects& defects) : world_(seed, defects) {}
Simulation::~Simulation() = default;

void Simulation::tell(const std::string& line) {
  story_ += std::to_string((world_.now().ns - 1'000'000'000) / 1'000'000) + " ms: " + line + "\n";
}

void Simulation::build() {
  Prng& random = world_.random();
  if (random.one_in(4)) times_ = {seconds(5), milliseconds(500), seconds(2), milliseconds(250)};
  head_machine_ = world_.add_machine();
  auto head = std::make_unique<SimHead>(world_, head_machine_, disk_, times_);
  head_ = head->id();
  static_cast<SimHead&>(world_.add(std::move(head))).start();
  const std::int64_t nodes = random.between(3, 7);
  homes_.resize(static_cast<std::size_t>(nodes));
  for (std::size_t i = 0; i < homes_.size(); ++i) {
    homes_[i].name = "n" + std::to_string(i + 1);
    homes_[i].machine = world_.add_machine();
    start_node(homes_[i]);
  }
  const std::int64_t drivers = random.between(3, 4);
  for (std::int64_t i = 0; i < drivers; ++i)
    start_driver(homes_[random.below(homes_.size())], 230 / static_cast<std::uint32_t>(drivers));
}

void Simulation::start_node(Home& home) {
  SimNode::Options options;
  options.name = home.name;
  options.total = {static_cast<std::int64_t>(1 + world_.random().below(3)) * 1000, 0, 0};
  options.store_bytes = std::uint64_t{16} << 20;
  options.machine = home.machine;
  auto node = std::make_unique<SimNode>(world_, options);
  home.node = node->id();
  home.restart_at = kNever;
  static_cast<SimNode&>(world_.add(std::move(node))).start();
}

void Simulation::start_driver(Home& home, std::uint32_t calls) {
  const SimNode* node = node_of(home);
  if (node == nullptr || node->ended()) return;
  SimProcess::Options options;
  options.self.id = world_.fresh_id();
  options.self.address = "sim://d-" + to_string(options.self.id);
  options.role = core::Role::kDriver;
  options.machine = home.machine;
  options.node = node->peer();
  auto& driver = static_cast<SimProcess&>(
      world_.add(std::make_unique<SimProcess>(world_, std::move(options))));
  driver.set_workload(std::make_unique<Workload>(driver, actors_, calls));
  driver.start();
  driver.workload()->start();
}

SimNode* Simulation::node_of(const Home& home) const {
  auto* node = dynamic_cast<SimNode*>(world_.find(home.node));
  return node == nullptr || node->dead() ? nullptr : node;
}

std::vector<SimProcess*> Simulation::drivers() const {
  std::vector<SimProcess*> out;
  for (Endpoint* process : world_.living()) {
    auto* one = dynamic_cast<SimProcess*>(process);
    if (one != nullptr && one->role() == core::Role::kDriver) out.push_back(one);
  }
  return out;
}

// Daemons that died are started again by their supervisors, a while later.
void Simulation::supervise() {
  if (!world_.alive(head_)) {
    if (head_back_at_ == kNever)
      head_back_at_ = world_.now() + milliseconds(world_.random().between(20, 1'500));
    if (world_.now() >= head_back_at_) {
      head_back_at_ = kNever;
      auto head = std::make_unique<SimHead>(world_, head_machine_, disk_, times_);
      head_ = head->id();
      static_cast<SimHead&>(world_.add(std::move(head))).start();
    }
  }
  for (Home& home : homes_) {
    if (world_.alive(home.node)) continue;
    if (home.stays_down && !healed_) continue;
    if (home.restart_at == kNever)
      home.restart_at = world_.now() + milliseconds(world_.random().between(20, 800));
    if (world_.now() >= home.restart_at) start_node(home);
  }
}

void Simulation::look_now_and_then() {
  if (world_.events() < looked_at_ + kLookEvery) return;
  looked_at_ = world_.events();
  world_.checks().look();
}

bool Simulation::run_until(DurationNs at_most, const std::function<bool()>& done) {
  const TimeNs limit = world_.now() + at_most;
  while (world_.now() < limit && !world_.checks().failed()) {
    if (done()) return true;
    world_.run_until(world_.now() + milliseconds(20));
    supervise();
    look_now_and_then();
  }
  return done();
}

bool Simulation::all_answered() const {
  for (const SimProcess* driver : drivers())
    if (!driver->workload()->made_all() || !driver->workload()->pending().empty()) return false;
  return true;
}

bool Simulation::at_rest() const {
  for (const Endpoint* process : world_.living())
    if (!process->held_at_rest().empty() || process->unsettled()) return false;
  return true;
}

Outcome Simulation::run() {
  build();
  plan_faults();
  const auto made = [&] {
    for (const SimProcess* driver : drivers())
      if (!driver->workload()->made_all()) return false;
    return true;
  };
  static_cast<void>(run_until(seconds(7), [] { return false; }));   // safety
  heal();
  static_cast<void>(run_until(seconds(30), made));
  static_cast<void>(run_until(kAnswerWithin, [&] { return all_answered(); }));
  Checks& checks = world_.checks();
  checks.all_done();
  if (!checks.failed()) close_cycles();
  rest();
  Outcome out;
  out.failure = checks.failure();
  out.failed_by = checks.failed_by();
  out.trace = world_.trace();
  out.events = world_.events();
  out.calls = static_cast<std::uint32_t>(checks.calls().size());
  out.faults = faults_;
  out.story = story_;
  out.seen = seen_;
  out.branches = branches_.all();
  return out;
}

// Two actors that call each other, for every program that still runs: A.f → B.g → A.f. In the
// quiet that is found within 2 s, and said in words to whoever called first.
void Simulation::close_cycles() {
  Checks& checks = world_.checks();
  // Who fell silent before the healing may still be declared dead until a term is over.
  static_cast<void>(run_until(times_.term + times_.drift + seconds(1), [] { return false; }));
  const auto programs = [&] {   // some may end meanwhile
    std::vector<Workload*> out;
    for (SimProcess* driver : drivers())
      if (driver->workload()->running()) out.push_back(driver->workload());
    return out;
  };
  for (Workload* program : programs()) program->make_pair();
  const auto answered = [&] { return all_answered(); };
  if (!run_until(seconds(10), answered))
    return checks.fail("CyclesFound", "two new actors do not answer");
  for (Workload* program : programs()) program->close_cycle();
  const bool in_time = run_until(kCycleWithin, answered);
  for (const Workload* program : programs()) {
    const std::string said = in_time ? program->cycle_said() : "nothing within 2 s";
    const bool named = said.find("A.f → B.g → A.f") != std::string::npos;
    if (!named) checks.fail("CyclesFound", "a cycle of waits gets this answer: " + said);
    else ++seen_.cycles_found;
  }
}

void Simulation::rest() {
  Checks& checks = world_.checks();
  for (SimProcess* driver : drivers()) driver->workload()->kill_actors();
  for (SimProcess* driver : drivers()) driver->workload()->drop_all();
  // The jobs still live: nothing of them may be held but the jobs themselves.
  const auto quiet = [&] {
    for (const Endpoint* process : world_.living())
      if (std::string(process->kind()) != "head" && !process->held_at_rest().empty()) return false;
    return true;
  };
  if (!run_until(kRestWithin, quiet)) {
    for (const Endpoint* process : world_.living())
      if (std::string(process->kind()) != "head" && !process->held_at_rest().empty())
        checks.fail("NothingHeld", std::string(process->kind()) + " " + to_string(process->id()) +
                                       " holds " + process->held_at_rest() +
                                       " while its job lives");
  }
  for (SimProcess* driver : drivers()) driver->leave("done");
  static_cast<void>(run_until(milliseconds(300), [] { return false; }));
  for (SimProcess* driver : drivers()) world_.kill(driver->id());
  static_cast<void>(run_until(kRestWithin, [&] { return at_rest(); }));
  checks.look();
  checks.rest();
}

Outcome run_seed(std::uint64_t seed, const Defects& defects) {
  return Simulation(seed, defects).run();
}

}  // namespace rondo::sim
