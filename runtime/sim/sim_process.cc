#include <rondo/sim/sim_process.h>

#include <cstdio>
#include <cstring>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/sim/sim_node.h>
#include <rondo/sim/workload.h>

// Ports, turns, births and deaths. What bodies do: script.cc.

namespace rondo::sim {

SimProcess::SimProcess(World& world, Options options)
    : Endpoint(world, options.self, options.machine),
      options_(std::move(options)),
      cells_(std::make_unique<CellTable>()) {
  core::Process::Options machine;
  machine.self = peer();
  machine.role = options_.role;
  machine.pid = static_cast<std::int64_t>(id().value % 100'000) + 1;
  machine.job = options_.job;
  machine.node = options_.node;
  machine.release = "sim";
  core::ProcessPort& port = *this;
  machine_ = std::make_unique<core::Process>(std::move(machine), *cells_, port);
}

SimProcess::~SimProcess() { empty(); }

void SimProcess::start() {
  CellRef second;
  welcome_cell_ = fresh_cell(second);
  act([&] { machine_->start(world_.now(), std::move(second)); });
}

void SimProcess::start_job(const core::JobSpec& job, CellRef started) {
  options_.job = job.id;
  act([&] { machine_->start_job(job, std::move(started)); });
}

void SimProcess::set_workload(std::unique_ptr<Workload> workload) {
  workload_ = std::move(workload);
}

CellRef SimProcess::fresh_cell(CellRef& second) {
  CellRef cell = cells_->allocate(id(), 1);
  second = cells_->adopt(*cell);
  return cell;
}

SimNode* SimProcess::node() const { return dynamic_cast<SimNode*>(world_.find(options_.node.id)); }

std::vector<core::BegunMark> SimProcess::marks() const {
  std::vector<core::BegunMark> out;
  for (const auto& [caller, number] : marks_) out.push_back({caller, number});
  return out;
}

// What is left of it is what others may still read: its marks.
void SimProcess::die() {
  if (dead()) return;
  Endpoint::die();
  world_.checks().process_dead(id());
  empty();
}

void SimProcess::empty() {
  workload_.reset();
  welcome_cell_ = {};
  kept_.clear();
  runs_.clear();
  to_self_.clear();
  machine_.reset();
  cells_.reset();
}

void SimProcess::check_invariants() const {
  Endpoint::check_invariants();
  machine_->check_invariants();
}

std::string SimProcess::held_at_rest() const {
  const core::Process& m = *machine_;
  const auto some = [](std::size_t n, const char* what) {
    return n == 0 ? std::string() : std::to_string(n) + " " + what;
  };
  for (const std::string& held :
       {some(m.calls(), "calls"), some(m.deferred(), "deferred messages"),
        some(m.objects().borrowed(), "borrowed refs"), some(m.objects().lent(), "lent objects"),
        some(m.tasks().queued(), "queued tasks"), some(m.tasks().leases(), "leases"),
        some(m.mailbox().queued(), "calls in mailboxes"), some(m.mailbox().running(), "runs"),
        some(cells_->live() - (welcome_cell_ ? 1 : 0), "cells")})
    if (!held.empty()) return held;
  return {};
}

// ---- ports -------------------------------------------------------------------------------------

void SimProcess::send(ProcessId to, const core::Message& message) {
  const Defects& defects = world_.defects();
  if (std::holds_alternative<core::LeaseReturn>(message) &&
      world_.planted(defects.lease_not_returned, 5))
    return;
  if (std::holds_alternative<core::RefsKept>(message) && world_.planted(defects.kept_not_told, 5))
    return;
  if (to == id()) {
    to_self_.push_back(message);
    return;
  }
  if (!may_say(to)) return;
  station_->send(to, message);
  if (const auto* hold = std::get_if<core::RefRegister>(&message);
      hold != nullptr && world_.planted(defects.hold_released_twice, 4))
    station_->send(to, core::RefRelease{hold->object});
}

void SimProcess::call(ProcessId to, const core::CallHeader& head, ByteView payload,
                      std::span<const core::RefEntry> refs) {
  if (to != id()) {
    if (may_say(to)) station_->call(to, head, payload, refs);
    return;
  }
  core::Incoming call{to, head, {}, {refs.begin(), refs.end()}, share(to_bytes(payload))};
  call.payload = *call.frame;
  to_self_.push_back(std::move(call));
}

void SimProcess::reply(ProcessId to, const core::ReplyHeader& head, ByteView payload,
                       std::span<const core::RefEntry> refs) {
  if (world_.planted(world_.defects().replies_lost, 40)) return;
  if (world_.planted(world_.defects().values_mixed_up, 20) &&
      payload.size() == sizeof(ValueBytes) && head.status == core::ReplyStatus::kOk) {
    Bytes wrong = to_bytes(payload);
    wrong[0] ^= std::byte{1};
    if (to != id() && may_say(to)) station_->reply(to, head, wrong, refs);
    return;
  }
  if (to != id()) {
    if (may_say(to)) station_->reply(to, head, payload, refs);
  } else {
    to_self_.push_back(SelfReply{head, to_bytes(payload), {refs.begin(), refs.end()}});
  }
}

std::string SimProcess::name_of(core::CallKind kind, std::uint32_t function) {
  if (function == static_cast<std::uint32_t>(Op::kOut)) return "A.f";
  if (function == static_cast<std::uint32_t>(Op::kBack)) return "B.g";
  return (kind == core::CallKind::kActor ? "A." : "f") + std::to_string(function);
}

void SimProcess::on_peer(const core::Peer& peer, NodeId home) {
  learn(peer);
  machine_->on_peer(peer, home);
}

void SimProcess::on_message(ProcessId from, core::Message&& message) {
  narrate(from, message);
  if (const auto* welcome = std::get_if<core::Welcome>(&message)) {
    welcomed_ = true;
    station_->set_home(welcome->node);
  }
  machine_->on_message(world_.now(), from, message);
}

void SimProcess::on_call(ProcessId from, const core::CallHeader& head, ByteView payload,
                         std::span<const core::RefEntry> refs, const SharedBytes& frame) {
  if (world_.verbose())
    std::printf("%9lld us %s %s hears call %s of %s attempt %u target %llu\n",
                static_cast<long long>((world_.now().ns - 1'000'000'000) / 1'000), kind(),
                to_string(id()).c_str(),
                to_string(ObjectId{from, head.slot, head.generation}).c_str(),
                to_string(from).c_str(), head.attempt,
                static_cast<unsigned long long>(head.target));
  core::Incoming call{from, head, payload, {refs.begin(), refs.end()}, frame};
  const Defects& defects = world_.defects();
  if (defects.calls_swapped && !swapped_ && world_.random().one_in(4)) {
    swapped_ = std::move(call);
    return;
  }
  if (world_.planted(defects.calls_delivered_twice, 20)) machine_->on_call(world_.now(), call);
  machine_->on_call(world_.now(), std::move(call));
}

void SimProcess::on_reply(ProcessId from, const core::ReplyHeader& head, ByteView payload,
                          std::span<const core::RefEntry> refs, const SharedBytes&) {
  if (world_.verbose())
    std::printf("%9lld us %s %s hears reply of %s to its call %u.%u attempt %u status %u %s\n",
                static_cast<long long>((world_.now().ns - 1'000'000'000) / 1'000), kind(),
                to_string(id()).c_str(), to_string(from).c_str(), head.slot, head.generation,
                head.attempt, static_cast<unsigned>(head.status),
                head.status == core::ReplyStatus::kFailed
                    ? std::string(as_text(payload)).c_str()
                    : "");
  machine_->on_reply(world_.now(), from, head, payload, refs);
}

void SimProcess::on_broken(const wire::Broken& broken) {
  world_.checks().fail("LinksHold", std::string(kind()) + " broke its link to " +
                                        to_string(broken.peer) + ": " + broken.why);
}

TimeNs SimProcess::next_deadline() const { return machine_->next_deadline().value_or(kNever); }

// ---- turns -------------------------------------------------------------------------------------

void SimProcess::act(const std::function<void()>& what) {
  if (dead()) return;
  what();
  if (!in_turn_) end_turn();
}

void SimProcess::turn_ends() {
  in_turn_ = true;
  if (swapped_) {
    core::Incoming late = std::move(*swapped_);
    swapped_.reset();
    machine_->on_call(world_.now(), std::move(late));
  }
  for (bool moved = true; moved;) {
    machine_->flush(world_.now());
    moved = hear_self();
    moved = execute() || moved;
    if (filled_) {
      filled_ = false;
      moved = true;
      std::vector<std::uint32_t> waiting;
      for (const auto& [index, run] : runs_)
        if (run.waiting && !run.resuming) waiting.push_back(index);
      for (const std::uint32_t index : waiting) go_on(index);
      if (workload_) workload_->look();
    }
  }
  in_turn_ = false;
  if (!end_cause_.empty()) end_itself();
}

bool SimProcess::hear_self() {
  bool moved = false;
  while (!to_self_.empty()) {
    const auto item = std::move(to_self_.front());
    to_self_.pop_front();
    moved = true;
    if (const auto* message = std::get_if<core::Message>(&item))
      machine_->on_message(world_.now(), id(), *message);
    else if (const auto* call = std::get_if<core::Incoming>(&item))
      machine_->on_call(world_.now(), *call);
    else if (const auto* reply = std::get_if<SelfReply>(&item))
      machine_->on_reply(world_.now(), id(), reply->head, reply->payload, reply->refs);
  }
  return moved;
}

bool SimProcess::execute() {
  bool moved = false;
  while (!births_.empty()) {
    const core::CreateActor birth = std::move(births_.front());
    births_.pop_front();
    bear(birth);
    moved = true;
  }
  std::deque<core::RunId> ready = std::exchange(to_run_, {});
  for (const core::RunId run : ready) begin(run);
  return moved || !ready.empty();
}

// The cluster wants it gone. A driver tells its program first: everything pending fails in words.
void SimProcess::end_itself() {
  if (options_.role == core::Role::kDriver) {
    machine_->fail_everything({ErrorCode::kUnavailable, "the job was ended: " + end_cause_});
    if (workload_) workload_->ended();
  }
  const std::string cause = "it ended: " + end_cause_;
  SimNode* home = node();
  world_.after({0}, {}, [&world = world_, self = id(), node = options_.node.id, cause] {
    world.kill(self);
    if (auto* there = dynamic_cast<SimNode*>(world.find(node)); there && !there->dead())
      there->process_died(self, cause);
  });
  static_cast<void>(home);
  end_cause_.clear();
}

void SimProcess::leave(const std::string& reason) {
  act([&] { machine_->say_goodbye(reason); });
}

void SimProcess::node_died() {
  world_.after(microseconds(500), id(), [this] {
    act([&] {
      core::ProcessDied death;
      death.process = options_.node.id;
      death.cause = "the node of this program ended";
      machine_->on_message(world_.now(), options_.node.id, death);
    });
  });
}

// ---- what runs here ----------------------------------------------------------------------------

bool SimProcess::may_speak() const {
  if (options_.role == core::Role::kDriver || world_.defects().term_not_read) return true;
  const SimNode* home = node();
  return home != nullptr && world_.now() < home->term_end();
}

void SimProcess::bear(const core::CreateActor& birth) {
  if (!may_speak()) {
    world_.after(milliseconds(10), id(), [this, birth] { act([&] { births_.push_back(birth); }); });
    return;
  }
  ByteView payload;
  std::vector<core::RefEntry> entries;
  std::optional<core::Failure> failure;
  if (!core::read_spawn_arguments(birth.spec.arguments, payload, entries))
    world_.checks().fail("Births", "an actor's arguments do not decode");
  if (birth.spec.class_name == "Throws")
    failure = core::Failure{ErrorCode::kTaskFailed, "its constructor threw"};
  actor_ = birth.spec.id;
  incarnation_ = birth.incarnation;
  world_.checks().constructed(actor_, incarnation_, id());
  const std::vector<CellRef> refs = machine_->borrow_all(entries);
  machine_->constructed(birth, failure);
}

void SimProcess::begin(core::RunId run_id) {
  if (!may_speak()) {
    world_.after(milliseconds(10), id(),
                 [this, run_id] { act([&] { to_run_.push_back(run_id); }); });
    return;
  }
  const core::Incoming& call = machine_->incoming(run_id);
  if (!world_.defects().marks_not_written) {
    std::uint64_t& mark = marks_[call.from];
    mark = std::max(mark, call.head.number);
  }
  Run& run = runs_[run_id.index];
  run = Run{};
  run.id = run_id;
  run.begun = {.result = {call.from, call.head.slot, call.head.generation},
               .kind = call.head.kind,
               .attempt = call.head.attempt,
               .worker = id(),
               .node = machine_->node()};
  if (call.head.kind == core::CallKind::kTask) {
    run.begun.lease = LeaseId{call.head.target};
  } else {
    run.begun.actor = actor_;
    run.begun.incarnation = incarnation_;
  }
  world_.note(call.head.slot ^ (call.from.value << 1));
  world_.checks().begun(run.begun);
  run.refs = machine_->borrow_all(call.refs);
  if (!read_order(call.payload, run.refs, run.read))
    world_.checks().fail("Calls", "the arguments of call " + to_string(run.begun.result) +
                                      " do not decode: " + std::to_string(call.payload.size()) +
                                      " bytes, " + std::to_string(call.refs.size()) + " refs, op " +
                                      std::to_string(call.head.function));
  world_.after(microseconds(run.read.order.compute_us), id(),
               [this, index = run_id.index] { act([&] { go_on(index); }); });
}

void SimProcess::resume(core::RunId id) {
  const auto it = runs_.find(id.index);
  if (it == runs_.end() || !it->second.resuming) return;
  it->second.resuming = it->second.waiting = false;
  world_.after({0}, Endpoint::id(), [this, index = id.index] { act([&] { go_on(index); }); });
}

void SimProcess::go_on(std::uint32_t index) {
  const auto it = runs_.find(index);
  if (it == runs_.end()) return;
  if (it->second.outcome) hand_in(it->second, std::move(*it->second.outcome));
  else advance(it->second);
}

}  // namespace rondo::sim
