#include <rondo/core/mailbox.h>

#include <utility>

#include <rondo/base/check.h>

namespace rondo::core {

void Mailbox::host_actor(ActorId actor, Incarnation incarnation) {
  actor_ = actor;
  incarnation_ = incarnation;
  Counter& counter = counters_[kActorCounter];
  serve(kActorCounter, counter);
}

void Mailbox::on_call(Incoming call) {
  const bool to_actor = call.head.kind == CallKind::kActor;
  if (to_actor && actor_ && call.head.target != incarnation_.value) {
    return give_back(call, ReplyStatus::kFailed,
                     "the call is for another incarnation of the actor");
  }
  const std::uint64_t key = to_actor ? kActorCounter : call.head.target;
  Counter& counter = counters_[key];
  counter.owner = call.from;
  counter.queue.push_back(std::move(call));
  if (!counter.running) {
    serve(key, counter);
  } else if (!to_actor && runs_[*counter.running].waiting) {
    give_back(counter.queue.back(), ReplyStatus::kReturned,
              {});  // sent before the owner knew that the worker waits
    counter.queue.pop_back();
  }
}

void Mailbox::serve(std::uint64_t key, Counter& counter) {
  if (counter.running || counter.queue.empty() || (key == kActorCounter && !actor_)) return;
  std::uint32_t index = 0;
  if (free_runs_.empty()) {
    index = static_cast<std::uint32_t>(runs_.size());
    runs_.emplace_back();
  } else {
    index = free_runs_.back();
    free_runs_.pop_back();
  }
  Run& run = runs_[index];
  run.call = std::move(counter.queue.front());
  run.counter = key;
  run.waiting = false;
  counter.queue.pop_front();
  counter.running = index;
  ++running_;
  port_.run(RunId{index});
}

void Mailbox::finish(RunId id) {
  Run& run = runs_[id.index];
  RONDO_CHECK(run.call.has_value() && !run.waiting);
  run.call.reset();
  free_runs_.push_back(id.index);
  --running_;
  const auto it = counters_.find(run.counter);
  RONDO_CHECK(it != counters_.end());
  it->second.running.reset();
  serve(run.counter, it->second);
  if (!it->second.running && it->first != kActorCounter) counters_.erase(it);
}

std::optional<LeaseId> Mailbox::wait_begin(RunId id) {
  Run& run = runs_[id.index];
  RONDO_CHECK(run.call.has_value() && !run.waiting);
  run.waiting = true;
  ++waiting_;
  if (run.counter == kActorCounter) return std::nullopt;
  Counter& counter = counters_[run.counter];
  while (!counter.queue.empty()) {  // newest first: the owner puts each at its queue's front
    give_back(counter.queue.back(), ReplyStatus::kReturned, {});
    counter.queue.pop_back();
  }
  return LeaseId{run.counter};
}

void Mailbox::wait_end(RunId id) {
  Run& run = runs_[id.index];
  RONDO_CHECK(run.waiting);
  run.waiting = false;
  --waiting_;
}

std::vector<RunId> Mailbox::waiting_on(LeaseId lease) const {
  std::vector<RunId> out;
  const auto it = counters_.find(lease.value);
  if (it != counters_.end() && it->second.running) out.push_back(RunId{*it->second.running});
  return out;
}

void Mailbox::give_back(const Incoming& call, ReplyStatus status, const std::string& text) {
  Bytes payload;
  if (status == ReplyStatus::kFailed) {
    payload.push_back(static_cast<std::byte>(ErrorCode::kActorDied));
    const ByteView words = as_bytes(text);
    payload.insert(payload.end(), words.begin(), words.end());
  }
  ReplyHeader head;
  head.status = status;
  head.payload_bytes = static_cast<std::uint32_t>(payload.size());
  head.slot = call.head.slot;
  head.generation = call.head.generation;
  head.attempt = call.head.attempt;
  port_.reply(call.from, head, payload, {});
}

void Mailbox::on_process_died(ProcessId process) {
  for (auto it = counters_.begin(); it != counters_.end();) {
    std::erase_if(it->second.queue, [&](const Incoming& call) { return call.from == process; });
    const bool empty =
        it->second.queue.empty() && !it->second.running && it->first != kActorCounter;
    it = empty ? counters_.erase(it) : std::next(it);
  }
}

std::size_t Mailbox::queued() const {
  std::size_t sum = 0;
  for (const auto& [key, counter] : counters_) sum += counter.queue.size();
  return sum;
}

std::optional<RunId> Mailbox::run_before(ProcessId from, std::uint32_t slot,
                                         std::uint32_t generation) const {
  const auto same = [&](const Incoming& call) {
    return call.from == from && call.head.slot == slot && call.head.generation == generation;
  };
  for (const auto& [key, counter] : counters_) {
    if (!counter.running) continue;
    bool here = same(*runs_[*counter.running].call);
    for (const Incoming& call : counter.queue) here = here || same(call);
    if (here) return RunId{*counter.running};
  }
  return std::nullopt;
}

std::optional<Incoming> Mailbox::take_queued(ProcessId from, std::uint32_t slot,
                                             std::uint32_t generation) {
  for (auto& [key, counter] : counters_) {
    for (auto it = counter.queue.begin(); it != counter.queue.end(); ++it) {
      if (it->from != from || it->head.slot != slot || it->head.generation != generation) continue;
      std::optional<Incoming> call = std::move(*it);
      counter.queue.erase(it);
      return call;
    }
  }
  return std::nullopt;
}

void Mailbox::check_invariants() const {
  std::size_t running = 0;
  std::size_t waiting = 0;
  for (const Run& run : runs_) {
    if (!run.call) continue;
    ++running;
    if (run.waiting) ++waiting;
  }
  RONDO_CHECK_EQ(running, running_);
  RONDO_CHECK_EQ(waiting, waiting_);
}

}  // namespace rondo::core
