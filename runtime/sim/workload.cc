#include <rondo/sim/workload.h>

#include <utility>

namespace rondo::sim {

Workload::Workload(SimProcess& process, SharedActors& actors, std::uint32_t calls)
    : process_(process), actors_(actors), random_(process.world().random().next()), left_(calls) {}

void Workload::start() {
  if (!process_.welcome()) {
    process_.world().after(milliseconds(2), process_.id(), [this] { start(); });
    return;
  }
  begin_job();
}

void Workload::begin_job() {
  core::JobSpec job;
  job.id = JobId{random_.next() | 1};
  job.driver = process_.peer();
  job.driver_pid = 1;
  job.executable_hash = std::string(1, static_cast<char>('a' + random_.below(20))) + "-program";
  job.executable_name = "program";
  CellTable& cells = process_.cells();
  job_started_ = cells.allocate(process_.id(), 1);
  process_.start_job(job, cells.adopt(*job_started_));
}

void Workload::ended() {
  look();
  ended_ = true;
  left_ = 0;
}

void Workload::look() {
  if (!job_runs_ && job_started_ && !job_started_->pending()) {
    job_runs_ = job_started_->state.load(std::memory_order_acquire) == CellState::kReady;
    job_started_ = {};
    if (job_runs_) process_.world().after(milliseconds(1), process_.id(), [this] { step(); });
  }
  for (Held& held : held_) {
    if (held.seen || held.cell->pending()) continue;
    held.seen = true;
    process_.judge(held.cell);
  }
}

std::string Workload::pending() const {
  if (!job_runs_ && !ended_) return "its job has not started";
  std::size_t count = 0;
  std::string first;
  for (const Held& held : held_) {
    if (!held.cell->pending()) continue;
    ++count;
    if (first.empty()) first = held.what + " (object " + to_string(held.cell->id) + ")";
  }
  if (count == 0) return {};
  const core::Process& machine = process_.machine_state();
  return std::to_string(count) + " refs are pending, the first of " + first + "; " +
         std::to_string(machine.tasks().queued()) + " tasks are queued, " +
         std::to_string(machine.tasks().leases()) + " leases held";
}

void Workload::step() {
  if (ended_ || left_ == 0) return;
  process_.act([this] { make_something(); });
  process_.world().after(microseconds(random_.between(0, 70'000)), process_.id(),
                         [this] { step(); });
}

void Workload::make_something() {
  --left_;
  ++made_;
  const std::uint64_t dice = random_.below(100);
  if (mine_.size() < 2 || dice < 3) return make_actor();
  if (dice < 45) return make_task();
  if (dice < 46) return make_walk();
  if (dice < 84) return make_call();
  if (dice < 88) {
    std::vector<CellRef> inside;
    if (const Held* some = some_held(); some != nullptr && random_.percent(50))
      inside.push_back(some->cell);
    const bool holds_ref = !inside.empty();
    return hold(process_.put(std::move(inside)), holds_ref, false, "put");
  }
  if (dice < 90) return process_.kill_actor(mine_[random_.below(mine_.size())]);
  for (std::uint64_t n = random_.below(6); n > 0 && !held_.empty(); --n) {
    const auto at = static_cast<std::ptrdiff_t>(random_.below(held_.size()));
    held_.erase(held_.begin() + at);
  }
}

void Workload::make_task() {
  constexpr Op kOps[] = {Op::kLeaf,   Op::kLeaf,    Op::kFan,       Op::kMake,
                         Op::kUnwrap, Op::kForward, Op::kFan,       Op::kForward,
                         Op::kStore,  Op::kOpen,    Op::kCallActor, Op::kThrow,
                         Op::kStore,  Op::kOpen};
  Order order;
  order.op = kOps[random_.below(std::size(kOps))];
  order.depth = static_cast<std::uint32_t>(random_.below(3));
  order.compute_us = random_.percent(85) ? random_.between(0, 4'000) : random_.between(0, 60'000);
  std::vector<CellRef> inner;
  std::vector<CellRef> given;
  if (order.op == Op::kForward) {
    if (const Held* some = some_held()) inner.push_back(some->cell);
  }
  if (order.op == Op::kUnwrap || order.op == Op::kOpen) {
    for (const Held& held : held_)
      if ((order.op == Op::kOpen ? held.stored : held.holds_ref) && random_.percent(50) &&
          given.empty())
        given.push_back(held.cell);
  } else {
    given = arguments(25);
  }
  if (order.op == Op::kCallActor) {
    if (actors_.all.empty()) order.op = Op::kLeaf;
    else order.actor = actors_.all[random_.below(actors_.all.size())];
  }
  const bool holds_ref = order.op == Op::kMake || (order.op == Op::kForward && !inner.empty());
  constexpr std::int32_t kRetries[] = {0, 1, 3, 3};
  const bool stored = order.op == Op::kStore;
  hold(process_.submit(order, kRetries[random_.below(4)], std::move(inner), std::move(given)),
       holds_ref, stored, "task op " + std::to_string(static_cast<int>(order.op)));
}

void Workload::make_call() {
  constexpr Op kOps[] = {Op::kAdd,  Op::kAdd,  Op::kAdd,    Op::kAdd,
                         Op::kAdd,  Op::kKeep, Op::kAddWait, Op::kStore};
  Order order;
  order.op = kOps[random_.below(std::size(kOps))];
  order.compute_us = random_.between(0, 3'000);
  const bool own = actors_.all.empty() || random_.percent(70);
  const std::vector<ActorId>& among = own ? mine_ : actors_.all;
  const ActorId actor = among[random_.below(among.size())];
  std::vector<CellRef> inner;
  if (order.op == Op::kKeep) {
    if (const Held* some = some_held()) inner.push_back(some->cell);
  }
  const Incarnation bound{random_.percent(12) ? 1u : 0u};
  for (std::uint64_t burst = random_.percent(20) ? 5 : 1; burst > 0; --burst)
    hold(process_.call(actor, bound, order, inner, arguments(15)), false, order.op == Op::kStore,
         "call of " + to_string(actor) + (bound ? " bound" : ""));
}

void Workload::make_actor() {
  core::ActorSpec spec;
  spec.class_name = random_.one_in(12) ? "Throws" : "Counter";
  constexpr std::int32_t kRestarts[] = {0, 1, 3, 3, -1};
  spec.max_restarts = kRestarts[random_.below(5)];
  constexpr std::int32_t kRetries[] = {0, 0, 2, -1};
  spec.max_task_retries = kRetries[random_.below(4)];
  constexpr std::int32_t kThrows[] = {0, 1, 6};   // with 6 the restarts are delayed
  if (spec.class_name == "Throws") spec.max_restarts = kThrows[random_.below(3)];
  if (random_.one_in(3)) spec.name = "actor " + std::to_string(random_.below(6));
  std::vector<CellRef> inner;
  if (const Held* some = some_held(); some != nullptr && random_.percent(30))
    inner.push_back(some->cell);
  const ActorId actor = process_.spawn(std::move(spec), std::move(inner));
  mine_.push_back(actor);
  actors_.all.push_back(actor);
}

// From actor to actor, and sometimes back: then it is a cycle of waits.
void Workload::make_walk() {
  Order order;
  order.op = Op::kOut;
  order.next = actors_.all[random_.below(actors_.all.size())];
  order.depth = static_cast<std::uint32_t>(random_.below(2));
  const ActorId first = mine_[random_.below(mine_.size())];
  hold(process_.call(first, {}, order, {}, {}), false, false, "walk from " + to_string(first));
}

void Workload::make_pair() {
  process_.act([this] {
    for (ActorId& one : pair_) {
      core::ActorSpec spec;
      spec.class_name = "Counter";
      spec.max_restarts = 3;
      one = process_.spawn(std::move(spec), {});
      mine_.push_back(one);
      Order order;
      order.op = Op::kAdd;
      hold(process_.call(one, {}, order, {}, {}), false, false, "call of a pair");
    }
  });
}

void Workload::close_cycle() {
  process_.act([this] {
    Order order;
    order.op = Op::kOut;
    order.next = pair_[1];
    order.depth = 1;
    cycle_ = process_.call(pair_[0], {}, order, {}, {});
    hold(cycle_, false, false, "cycle");
  });
}

std::string Workload::cycle_said() const {
  if (cycle_->state.load(std::memory_order_acquire) != CellState::kFailed) return "a value";
  const Error& error = *cycle_->extra->failure;
  if (error.code() == ErrorCode::kInvalid) return error.what();
  return "of another kind: " + std::string(error.what());
}

void Workload::hold(CellRef cell, bool holds_ref, bool stored, std::string what) {
  held_.push_back({std::move(cell), false, holds_ref, stored, std::move(what)});
}

const Workload::Held* Workload::some_held() {
  return held_.empty() ? nullptr : &held_[random_.below(held_.size())];
}

std::vector<CellRef> Workload::arguments(std::uint64_t percent) {
  std::vector<CellRef> out;
  for (int i = 0; i < 2; ++i)
    if (random_.percent(percent))
      if (const Held* some = some_held()) out.push_back(some->cell);
  return out;
}

void Workload::kill_actors() {
  process_.act([this] {
    for (const ActorId& actor : mine_) process_.kill_actor(actor);
  });
}

void Workload::drop_all() {
  process_.act([this] {
    held_.clear();
    cycle_ = {};
  });
}

}  // namespace rondo::sim
