#include <algorithm>
#include <cstring>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/sim/sim_node.h>
#include <rondo/sim/sim_process.h>

// What bodies and programs do, and the judging of every value that they see.

namespace rondo::sim {

namespace {
template <class T>
ByteView view_of(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}
constexpr core::Shape kOneCpu{1000, 0, 0};
constexpr std::uint64_t kStoredBytes = 70'000;
}  // namespace

// ---- making calls ------------------------------------------------------------------------------

CellRef SimProcess::submit(Order order, std::int32_t retries, std::vector<CellRef> inner,
                           std::vector<CellRef> arguments) {
  order.token = world_.random().next();
  core::Submission submission;
  CellRef result = fresh_cell(submission.result);
  submission.function = static_cast<std::uint32_t>(order.op);
  write_order(submission, order, std::move(inner), std::move(arguments));
  world_.checks().issued({.result = result->id, .retries = retries, .token = order.token});
  machine_->submit(world_.now(), kOneCpu, retries, std::move(submission));
  return result;
}

CellRef SimProcess::call(ActorId actor, Incarnation bound, Order order, std::vector<CellRef> inner,
                         std::vector<CellRef> arguments) {
  order.token = world_.random().next();
  order.actor = actor;
  order.sequence = ++sequences_[actor];
  core::Submission submission;
  CellRef result = fresh_cell(submission.result);
  submission.function = static_cast<std::uint32_t>(order.op);
  write_order(submission, order, std::move(inner), std::move(arguments));
  world_.checks().issued({.result = result->id,
                          .kind = core::CallKind::kActor,
                          .actor = actor,
                          .sequence = order.sequence,
                          .bound = static_cast<bool>(bound),
                          .token = order.token});
  machine_->call(world_.now(), actor, bound, std::move(submission));
  return result;
}

ActorId SimProcess::spawn(core::ActorSpec spec, std::vector<CellRef> inner) {
  spec.id = {id(), next_actor_++};
  spec.job = options_.job;
  world_.checks().spawned(spec);
  core::Submission submission;
  const CellRef left = fresh_cell(submission.result);
  write_order(submission, Order{}, std::move(inner), {});
  const ActorId actor = spec.id;
  machine_->spawn(world_.now(), std::move(spec), std::move(submission));
  return actor;
}

CellRef SimProcess::put(std::vector<CellRef> inside) {
  CellRef cell = cells_->allocate(id(), 0);
  const ValueBytes value{world_.random().next(), inside.size()};
  world_.checks().made(cell->id, value.token);
  cell->bytes = share(to_bytes(view_of(value)));
  if (!inside.empty()) {
    cell->extra = std::make_unique<CellExtra>();
    for (CellRef& ref : inside) cell->extra->refs.push_back({std::move(ref)});
  }
  cell->state.store(CellState::kReady, std::memory_order_release);
  return cell;
}

void SimProcess::kill_actor(const ActorId& actor) { machine_->kill(actor); }

// ---- seeing values -----------------------------------------------------------------------------

// Requires: not pending.
void SimProcess::judge(const CellRef& cell) {
  if (cell->state.load(std::memory_order_acquire) == CellState::kFailed) {
    const core::Failure failure{cell->extra->failure->code(), cell->extra->failure->what()};
    world_.checks().seen(id(), cell->id, nullptr, &failure);
  } else if (!cell->extra || !cell->extra->stored) {
    ValueBytes value;
    const ByteView bytes = cell->inline_view();
    if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
    world_.checks().seen(id(), cell->id, &value.token, nullptr);
  }
}

// An argument that failed never arrives: the call fails at its caller. So these are values.
bool SimProcess::look_at_arguments(Run& run) {
  const std::size_t first = run.read.inner.size();
  for (std::size_t i = 0; i < run.read.arguments.size(); ++i) {
    const ArgumentRead& argument = run.read.arguments[i];
    if (!argument.stored)
      world_.checks().seen(id(), run.refs[first + i]->id, &argument.token, nullptr);
  }
  return true;
}

// ---- bodies ------------------------------------------------------------------------------------

bool SimProcess::wait_for(Run& run, const std::vector<CellRef>& cells) {
  const auto pending =
      std::find_if(cells.begin(), cells.end(), [](const CellRef& c) { return c->pending(); });
  if (pending != cells.end()) {
    if (!run.waiting) {
      machine_->flush(world_.now());
      if (!(*pending)->pending()) return wait_for(run, cells);
      machine_->wait_begin(world_.now(), run.id, *pending);
    }
    run.waiting = true;
    return false;
  }
  if (run.waiting) {
    if (!machine_->wait_end(run.id)) {
      run.resuming = true;
      return false;
    }
    run.waiting = false;
  }
  return true;
}

void SimProcess::advance(Run& run) {
  const Order& order = run.read.order;
  if (run.stage == 0) look_at_arguments(run);
  switch (order.op) {
    case Op::kLeaf:
    case Op::kAdd:
      return return_token(run);
    case Op::kThrow:
      return return_failure(run, "the body threw");
    case Op::kForward:
      run.results = run.read.inner;
      return return_token(run);
    case Op::kKeep:
      kept_ = run.read.inner;
      return return_token(run);
    case Op::kStore:
      return advance_store(run);
    case Op::kOpen:
      return advance_open(run);
    case Op::kMake:
    case Op::kFan:
    case Op::kUnwrap:
    case Op::kCallActor:
    case Op::kAddWait:
    case Op::kOut:
    case Op::kBack:
      return advance_children(run);
  }
}

void SimProcess::advance_children(Run& run) {
  const Order& order = run.read.order;
  if (run.stage == 0) {
    run.stage = 1;
    if (order.op == Op::kOut || order.op == Op::kBack) {
      if (!order.next) return return_token(run);
      run.children.push_back(call_on(order));
      return advance_children(run);
    }
    Order child;
    child.compute_us = world_.random().between(0, 3'000);
    child.op = order.depth > 1 ? Op::kFan : Op::kLeaf;
    child.depth = order.depth > 0 ? order.depth - 1 : 0;
    if (order.op == Op::kUnwrap) {
      for (const ArgumentRead& argument : run.read.arguments)
        run.children.insert(run.children.end(), argument.refs.begin(), argument.refs.end());
    } else if (order.op == Op::kCallActor) {
      child.op = Op::kAdd;
      run.children.push_back(call(order.actor, {}, child, {}, {}));
    } else {
      const std::int64_t count = order.op == Op::kFan ? world_.random().between(1, 3) : 1;
      for (std::int64_t i = 0; i < count; ++i) run.children.push_back(submit(child, 3, {}, {}));
    }
    if (order.op == Op::kMake) {
      run.results = std::move(run.children);
      return return_token(run);
    }
  }
  if (!wait_for(run, run.children)) return;
  const Error* failed = nullptr;   // a cycle of waits goes on to whoever waits for this one
  for (const CellRef& child : run.children) {
    judge(child);
    if (failed == nullptr && child->state.load(std::memory_order_acquire) == CellState::kFailed)
      failed = &*child->extra->failure;
  }
  if (failed == nullptr) return return_token(run);
  if (failed->code() != ErrorCode::kInvalid)
    return return_failure(run, "what it waited for failed");
  core::Outcome outcome;
  outcome.status = core::ReplyStatus::kFailed;
  outcome.failure = {failed->code(), failed->what()};
  hand_in(run, std::move(outcome));
}

// The next step of a walk from actor to actor. With depth left it comes back to where it was.
CellRef SimProcess::call_on(const Order& order) {
  Order child;
  child.op = order.op == Op::kOut ? Op::kBack : Op::kOut;
  if (order.depth > 0) {
    child.next = order.actor;
    child.depth = order.depth - 1;
  }
  return call(order.next, {}, child, {}, {});
}

// A large result: memory from the node, filled, and named in the reply.
void SimProcess::advance_store(Run& run) {
  if (run.stage == 0) {
    run.stage = 1;
    world_.spring(World::Moment::kStoring, *this, run.begun.result.owner);
    CellRef answer;
    run.extent = fresh_cell(answer);
    machine_->request_extent(kStoredBytes, std::move(answer));
  }
  if (!wait_for(run, {run.extent})) return;
  if (run.extent->state.load(std::memory_order_acquire) == CellState::kFailed)
    return return_failure(run, "the store is full");
  core::GrantAnswer grant{};
  std::memcpy(&grant, run.extent->inline_view().data(), sizeof grant);
  SimNode* home = node();
  Bytes* memory = home == nullptr ? nullptr : home->extent(grant.extent);
  if (memory == nullptr) return return_failure(run, "the node's memory is gone");
  memory->assign(sizeof run.read.order.token, std::byte{0});
  std::memcpy(memory->data(), &run.read.order.token, memory->size());
  core::Outcome outcome;
  outcome.status = core::ReplyStatus::kStored;
  outcome.stored = {machine_->node().value, kStoredBytes, grant.extent, grant.generation,
                    options_.node.id.value};
  hand_in(run, std::move(outcome));
}

void SimProcess::advance_open(Run& run) {
  const auto stored =
      std::find_if(run.read.arguments.begin(), run.read.arguments.end(),
                   [](const ArgumentRead& argument) { return argument.stored; });
  if (stored == run.read.arguments.end()) return return_token(run);
  const CellRef object = stored->object;
  if (run.stage == 0) {
    if (!wait_for(run, {object})) return;   // its place comes from its owner
    run.stage = 1;
  }
  if (run.stage == 1) {
    if (object->state.load(std::memory_order_acquire) == CellState::kFailed) {
      judge(object);
      return return_failure(run, "its stored argument is lost");
    }
    run.stage = 2;
    CellRef answer;
    run.extent = fresh_cell(answer);
    machine_->request_open(object, std::move(answer));
  }
  if (!wait_for(run, {run.extent})) return;
  if (run.extent->state.load(std::memory_order_acquire) == CellState::kFailed)
    return return_failure(run, "its stored argument could not be opened: " +
                                   std::string(run.extent->extra->failure->what()));
  core::GrantAnswer place{};
  std::memcpy(&place, run.extent->inline_view().data(), sizeof place);
  SimNode* home = node();
  const Bytes* memory = home == nullptr ? nullptr : home->extent(place.extent);
  std::uint64_t token = 0;
  if (memory != nullptr && memory->size() >= sizeof token)
    std::memcpy(&token, memory->data(), sizeof token);
  world_.checks().seen(id(), object->id, &token, nullptr);
  return_token(run);
}

// ---- results -----------------------------------------------------------------------------------

void SimProcess::return_token(Run& run) {
  core::Outcome outcome;
  outcome.bytes = to_bytes(view_of(ValueBytes{run.read.order.token, run.results.size()}));
  outcome.refs = run.results;
  hand_in(run, std::move(outcome));
}

void SimProcess::return_failure(Run& run, const std::string& why) {
  core::Outcome outcome;
  outcome.status = core::ReplyStatus::kFailed;
  outcome.failure = {ErrorCode::kTaskFailed, why};
  hand_in(run, std::move(outcome));
}

// No result leaves past the node's term.
void SimProcess::hand_in(Run& run, core::Outcome outcome) {
  if (!may_speak()) {
    run.outcome = std::move(outcome);
    world_.after(milliseconds(10), id(), [this, index = run.id.index] {
      act([&] { go_on(index); });
    });
    return;
  }
  const core::RunId run_id = run.id;
  world_.checks().finished(run.begun);
  runs_.erase(run_id.index);
  const bool sealing = outcome.status == core::ReplyStatus::kStored;
  machine_->finish(world_.now(), run_id, std::move(outcome));
  if (sealing) world_.spring(World::Moment::kSealing, *this);
}

}  // namespace rondo::sim
