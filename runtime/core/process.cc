#include <rondo/core/process.h>

#include <cstring>
#include <utility>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>
#include <rondo/base/limits.h>

namespace rondo::core {

namespace {
constexpr std::uint32_t kSpawnGroup =
    UINT32_MAX;  // a pseudo-call: constructor arguments that are awaited

template <class T>
ByteView view_of(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}
}  // namespace

Process::Process(Options options, CellTable& cells, ProcessPort& port)
    : options_(std::move(options)),
      cells_(cells),
      port_(port),
      objects_({options_.self.id, options_.self.address, NodeId{}}, cells, book_, port),
      sender_(objects_, port),
      tasks_({.self = options_.self,
              .job = options_.job,
              .newest_first = options_.role == Role::kWorker,
              .idle_keep = options_.role == Role::kWorker ? DurationNs{0} : limits::kLeaseIdle},
             calls_, sender_, book_, port),
      actors_(options_.self.id, calls_, sender_, book_, port),
      mailbox_(port) {}

// ---- from this process's threads

void Process::start(TimeNs, CellRef welcomed) {
  welcomed_ = std::move(welcomed);
  port_.learn(options_.node);
  port_.send(options_.node.id, Hello{.self = options_.self,
                                     .role = options_.role,
                                     .pid = options_.pid,
                                     .job = options_.job,
                                     .version = limits::kProtocolVersion,
                                     .release = options_.release});
  tasks_.set_node(options_.node.id, options_.job);
  actors_.set_node(options_.node.id);
}

void Process::start_job(const JobSpec& job, CellRef started) {
  job_started_ = std::move(started);
  options_.job = job.id;
  tasks_.set_node(options_.node.id, job.id);
  port_.send(options_.node.id, StartJob{RequestId{next_request_++}, job});
}

Call& Process::admit(TimeNs, CallKind kind, Submission submission) {
  Call& call = calls_.create(std::move(submission.result));
  call.kind = kind;
  call.function = submission.function;
  call.payload = std::move(submission.payload);
  call.refs = std::move(submission.refs);
  call.awaited = std::move(submission.awaited);
  for (const std::uint32_t number : call.awaited) {
    if (objects_.await(*call.refs[number], {call.slot, call.generation})) ++call.unready;
  }
  return call;
}

void Process::submit(TimeNs now, const Shape& shape, std::int32_t max_retries,
                     Submission submission) {
  Call& call = admit(now, CallKind::kTask, std::move(submission));
  call.group = tasks_.group_of(shape);
  call.retries_left = max_retries;
  if (ended_) return fail_call(call, *ended_);
  if (tasks_.queued() >= limits::kCallsQueuedMax) {
    return fail_call(call, {ErrorCode::kOverloaded,
                            "too many tasks are queued in this process; wait for results first"});
  }
  if (call.unready == 0) arguments_ready(now, call);
}

void Process::call(TimeNs now, const ActorId& actor, Incarnation bound, Submission submission) {
  Call& call = admit(now, CallKind::kActor, std::move(submission));
  call.group = actors_.group_of(actor);
  call.bound = bound;
  call.retries_left = actors_.info(call.group).max_task_retries;
  if (ended_) return fail_call(call, *ended_);
  if (!actors_.accepts(call.group)) {
    return fail_call(call,
                     {ErrorCode::kOverloaded, "too many calls wait for actor " + to_string(actor) +
                                                  " (max_pending); wait for results first"});
  }
  actors_.enqueue(call);
  if (call.unready == 0 && !call.awaited.empty()) arguments_ready(now, call);
}

void Process::spawn(TimeNs now, ActorSpec spec, Submission arguments) {
  spec.job = options_.job;
  actors_.expect(spec);
  Call& call = admit(now, CallKind::kActor, std::move(arguments));
  call.group = kSpawnGroup;
  spawning_.emplace(call.slot, std::move(spec));
  if (call.unready == 0) arguments_ready(now, call);
}

void Process::send_spawn(Call& call) {
  const auto it = spawning_.find(call.slot);
  RONDO_CHECK(it != spawning_.end());
  ActorSpec spec = std::move(it->second);
  spawning_.erase(it);
  sender_.resolve(call.payload, call.refs);
  // Kept form: u64 payload bytes, payload, then each ref: owner, index|generation, node, address
  // length and text.
  Bytes& out = spec.arguments;
  const auto append = [&out](ByteView bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
  append(view_of(std::uint64_t{sender_.resolved().size()}));
  append(sender_.resolved());
  for (const RefEntry& entry : sender_.entries()) {
    append(view_of(entry.id));
    append(view_of(entry.owner_node));
    append(view_of(std::uint64_t{entry.owner.size()}));
    append(as_bytes(entry.owner));
  }
  if (out.size() > limits::kSpawnBytesMax) {
    ActorUpdate refused;
    refused.actor = actors_.info(actors_.group_of(spec.id));
    refused.actor.state = ActorState::kDead;
    refused.actor.cause = "its constructor arguments take " + std::to_string(out.size()) +
                          " bytes, more than " + std::to_string(limits::kSpawnBytesMax) +
                          "; put the large one and pass its Ref";
    on_update(TimeNs{}, refused);
  } else {
    if (!call.refs.empty()) spawn_refs_[spec.id] = call.refs;
    const ActorId id = spec.id;
    port_.send(options_.node.id, SpawnActor{std::move(spec)});
    actors_.watch(id);
  }
  objects_.fill(*call.result, {}, {});
  calls_.release(call);
}

void Process::arguments_ready(TimeNs now, Call& call) {
  for (const std::uint32_t number : call.awaited) {
    const Cell& cell = *call.refs[number];
    if (cell.state.load(std::memory_order_acquire) != CellState::kFailed) continue;
    Failure failure{cell.extra->failure->code(), cell.extra->failure->what()};
    if (call.group == kSpawnGroup) {
      ActorUpdate dead;
      dead.actor = actors_.info(actors_.group_of(spawning_.at(call.slot).id));
      dead.actor.state = ActorState::kDead;
      dead.actor.cause = "a constructor argument failed: " + failure.text;
      spawning_.erase(call.slot);
      on_update(now, dead);
    } else if (call.kind == CallKind::kActor) {
      actors_.cancel(call);
    }
    return fail_call(call, failure);
  }
  if (call.group == kSpawnGroup) return send_spawn(call);
  if (call.kind == CallKind::kTask) return tasks_.enqueue(now, call);
  call.state = Call::State::kReady;
  actors_.mark_dirty(call.group);
}

void Process::settle_released(TimeNs now) {
  for (std::vector<WaitingCall> released = objects_.take_released_calls(); !released.empty();
       released = objects_.take_released_calls()) {
    for (const WaitingCall& waiting : released) {
      Call* call = calls_.find(waiting.slot, waiting.generation);
      if (call == nullptr) continue;   // it failed for another argument's sake
      if (call->state == Call::State::kWaiting && call->unready > 0 && --call->unready == 0)
        arguments_ready(now, *call);
    }
  }
}

void Process::fail_call(Call& call, const Failure& failure) {
  objects_.fail(*call.result, failure);
  calls_.release(call);
}

void Process::fail_calls(std::vector<Call*>& calls, bool of_tasks, const std::string& cause) {
  for (Call* call : calls) {
    if (of_tasks) {
      fail_call(*call,
                {ErrorCode::kTaskFailed, "task '" + port_.name_of(CallKind::kTask, call->function) +
                                             "' failed and max_retries is spent: " + cause});
      continue;
    }
    Failure why = actors_.why_dead(*call);
    why.text = "call of '" + port_.name_of(CallKind::kActor, call->function) + "': " + why.text;
    fail_call(*call, why);
  }
  calls.clear();
}

void Process::put_stored(const CellRef& cell, const StoredResult& stored) {
  port_.send(options_.node.id,
             ObjectSealed{cell->id, options_.self, stored.extent, stored.generation, stored.bytes,
                          node_id_});
}

void Process::adopt_borrowed(const CellRef& cell, const RefEntry& entry) {
  objects_.adopt_borrowed(*cell, entry);
}

// A number for a question to the node; none if this process can ask nothing any more.
std::optional<RequestId> Process::ask(CellRef answer) {
  if (ended_) {
    objects_.fail(*answer, *ended_);
    return std::nullopt;
  }
  const RequestId id{next_request_++};
  requests_.emplace(id, std::move(answer));
  return id;
}

void Process::request_extent(std::uint64_t bytes, CellRef answer) {
  const std::optional<RequestId> id = ask(std::move(answer));
  if (id) port_.send(options_.node.id, ExtentRequest{*id, bytes});
}

void Process::return_extent(std::uint32_t extent, std::uint32_t generation) {
  port_.send(options_.node.id, ExtentReturn{extent, generation});
}

void Process::request_open(const CellRef& object, CellRef answer) {
  const std::optional<RequestId> id = ask(std::move(answer));
  if (!id) return;
  const Value value = objects_.value_of(*object);
  const RefEntry entry = objects_.entry_of(*object);
  port_.send(options_.node.id,
             ObjectOpen{*id, entry.id, Peer{entry.id.owner, entry.owner}, value.place,
                        entry.owner_node});
}

void Process::find(const std::string& name, CellRef answer) {
  const std::optional<RequestId> id = ask(std::move(answer));
  if (id) port_.send(options_.node.id, WatchActor{*id, ActorId{}, name});
}

void Process::bind(const ActorId& actor, CellRef answer) {
  if (ended_) return objects_.fail(*answer, *ended_);
  binds_.push_back({actor, std::move(answer)});
  settle_binds(actor);
}

void Process::kill(const ActorId& actor) { port_.send(options_.node.id, KillActor{actor}); }

void Process::say_goodbye(const std::string& reason) {
  port_.send(options_.node.id, Goodbye{reason});
}

void Process::take_drops() {
  while (cells_.has_dropped()) {
    for (Cell* cell : cells_.take_dropped()) objects_.on_dropped(*cell);
  }
}

// ---- turns

void Process::flush(TimeNs now) {
  if (ended_) {  // every call is failed already, those that wait for others among them
    (void)objects_.take_released_calls();
    return take_drops();
  }
  std::vector<Call*> failed;
  do {
    settle_released(now);
    tasks_.pump(now);
    actors_.pump_dirty(now, failed);
    const bool any = !failed.empty();
    fail_calls(failed, false, {});
    if (!any) break;
  } while (true);
  settle_released(now);
  if (!deferred_.empty()) retry_deferred();
  take_drops();
  if (ask_at_ == kNever && (!objects_.all_confirmed() || actors_.any_left_behind()))
    ask_at_ = now + limits::kAskAfter;
}

// Who died before this process was born has been told of to others only: owners that do not confirm
// our holds, and processes of actors that live elsewhere by now.
void Process::ask_about_silent(TimeNs now) {
  if (now < ask_at_) return;
  std::map<ProcessId, NodeId> silent = objects_.silent_owners();
  silent.merge(actors_.left_behind());
  ask_at_ = silent.empty() ? kNever : now + limits::kAskAfter;
  for (const auto& [process, home] : silent) {
    hit(Branch::kOwnerAskedAbout);
    port_.send(options_.node.id, ProcessQuery{process, home});
  }
}

void Process::on_deadline(TimeNs now) {
  tasks_.on_deadline(now);
  ask_about_silent(now);
  for (auto& [id, wait] : waits_) {
    if (now < wait.probe_at) continue;
    wait.probe_at = now + limits::kWaitProbeAfter;
    if (!wait.on->pending()) continue;
    const Incoming& call = mailbox_.incoming(wait.run);
    WaitProbe probe{.origin = options_.self.id,
                    .wait = id,
                    .object = wait.on->id,
                    .chain = {port_.name_of(call.head.kind, call.head.function)},
                    .origin_peer = options_.self};
    follow(now, std::move(probe), *wait.on);
  }
}

std::optional<TimeNs> Process::next_deadline() const {
  std::optional<TimeNs> next = tasks_.next_deadline();
  if (ask_at_ != kNever && (!next || ask_at_ < *next)) next = ask_at_;
  for (const auto& [id, wait] : waits_) {
    if (!next || wait.probe_at < *next) next = wait.probe_at;
  }
  return next;
}

void Process::fail_everything(const Failure& failure) {
  ended_ = failure;
  const auto fail = [&](const CellRef& cell) {
    if (cell && cell->pending()) objects_.fail(*cell, failure);
  };
  for (const auto& [id, answer] : requests_) fail(answer);
  for (const Bind& bind : binds_) fail(bind.answer);
  fail(welcomed_);
  fail(job_started_);
  requests_.clear();
  binds_.clear();
  calls_.for_each([&](Call& call) { fail(call.result); });
  objects_.lose_all(failure);
}

void Process::check_invariants() const {
  objects_.check_invariants();
  tasks_.check_invariants();
  actors_.check_invariants();
  mailbox_.check_invariants();
}

bool read_spawn_arguments(ByteView arguments, ByteView& payload, std::vector<RefEntry>& refs) {
  const auto take = [&arguments](void* to, std::size_t bytes) {
    if (arguments.size() < bytes) return false;
    std::memcpy(to, arguments.data(), bytes);
    arguments = arguments.subspan(bytes);
    return true;
  };
  std::uint64_t bytes = 0;
  if (!take(&bytes, sizeof bytes) || arguments.size() < bytes) return false;
  payload = arguments.first(bytes);
  arguments = arguments.subspan(bytes);
  while (!arguments.empty()) {
    RefEntry entry;
    std::uint64_t length = 0;
    if (!take(&entry.id, sizeof entry.id) || !take(&entry.owner_node, sizeof entry.owner_node))
      return false;
    if (!take(&length, sizeof length) || length > limits::kAddressBytesMax ||
        length > arguments.size())
      return false;
    entry.owner = as_text(arguments.first(length));
    arguments = arguments.subspan(length);
    refs.push_back(std::move(entry));
  }
  return true;
}

}  // namespace rondo::core
