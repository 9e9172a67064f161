#include <utility>

#include <rondo/base/check.h>
#include <rondo/base/branch_marks.h>
#include <rondo/base/limits.h>
#include <rondo/core/process.h>

// Waits of runs, and the probes that find cycles of them.
//
// Picture people who each hold a rope tied to whom they wait for. Somebody who has waited long
// sends a messenger along his rope, and on along the next; if the messenger comes back to him,
// everybody on the round would wait for ever. The call that closed the round is then failed with
// kInvalid, and its error unwinds the others. (Edge chasing: Chandy, Misra, Haas 1983.)

namespace rondo::core {

void Process::wait_begin(TimeNs now, RunId run, const CellRef& on) {
  waits_.emplace(next_wait_++, Wait{run, on, now, now + limits::kWaitProbeAfter, {}});
  if (const std::optional<LeaseId> lease = mailbox_.wait_begin(run))
    port_.send(options_.node.id, WaitBegin{*lease});
}

bool Process::wait_end(RunId run) {
  const auto wait = wait_of(run);
  RONDO_CHECK(wait != waits_.end());
  waits_.erase(wait);
  const Incoming& call = mailbox_.incoming(run);
  if (call.head.kind == CallKind::kActor) {
    mailbox_.wait_end(run);
    return true;
  }
  const LeaseId lease{call.head.target};
  resuming_.insert(lease);
  port_.send(options_.node.id, WaitEnd{lease});
  return false;
}

std::map<std::uint64_t, Process::Wait>::iterator Process::wait_of(RunId run) {
  auto it = waits_.begin();
  while (it != waits_.end() && it->second.run != run) ++it;
  return it;
}

// The waiter's end of the rope: the ref's owner knows who makes the value.
void Process::follow(TimeNs now, WaitProbe probe, const Cell& on) {
  probe.object = on.id;
  if (on.id.owner == options_.self.id) return on_probe(now, std::move(probe));
  port_.send(on.id.owner, probe);
}

void Process::on_probe(TimeNs now, WaitProbe probe) {
  if (probe.chain.size() > 1000) return;
  if (probe.object.owner != options_.self.id) return probe_executor(now, std::move(probe));
  Call* call = calls_.find(probe.object.index, probe.object.generation);
  if (call == nullptr) return;
  if (call->state == Call::State::kSent && call->to == options_.self.id)
    return probe_executor(now, std::move(probe));   // it called itself
  if (call->state == Call::State::kSent) return port_.send(call->to, probe);
  if (call->state != Call::State::kWaiting) return;
  for (const std::uint32_t number : call->awaited) {  // it waits for its own arguments
    if (call->refs[number]->pending()) follow(now, probe, *call->refs[number]);
  }
}

void Process::probe_executor(TimeNs now, WaitProbe probe) {
  const ObjectId object = probe.object;
  const std::optional<RunId> run =
      mailbox_.run_before(object.owner, object.index, object.generation);
  if (!run) return;
  const auto wait = wait_of(*run);
  if (wait == waits_.end() || !wait->second.on->pending()) return;
  const Incoming& running = mailbox_.incoming(*run);
  const std::string name = port_.name_of(running.head.kind, running.head.function);
  hit(Branch::kWaitProbed);
  if (probe.origin == options_.self.id && wait->first == probe.wait) {
    std::optional<Incoming> closing =
        mailbox_.take_queued(object.owner, object.index, object.generation);
    if (!closing) return;
    hit(Branch::kCycleBroken);
    probe.chain.push_back(port_.name_of(closing->head.kind, closing->head.function));
    std::string text = "a cycle of waits: ";
    for (std::size_t i = 0; i < probe.chain.size(); ++i)
      text += (i == 0 ? "" : " → ") + probe.chain[i];
    Bytes payload{static_cast<std::byte>(ErrorCode::kInvalid)};
    const ByteView words = as_bytes(text);
    payload.insert(payload.end(), words.begin(), words.end());
    ReplyHeader head;
    head.status = ReplyStatus::kFailed;
    head.payload_bytes = static_cast<std::uint32_t>(payload.size());
    head.slot = closing->head.slot;
    head.generation = closing->head.generation;
    head.attempt = closing->head.attempt;
    return port_.reply(closing->from, head, payload, {});
  }
  // A probe from outside a cycle would go round it for ever: each passes here once in a round.
  auto& passed = wait->second.passed;
  if (passed.size() >= limits::kProbesPassedMax) passed.clear();
  const auto [last, fresh] = passed.try_emplace({probe.origin, probe.wait}, now);
  if (!fresh && (now - last->second) * 2 < limits::kWaitProbeAfter) return;
  last->second = now;
  probe.chain.push_back(name);
  follow(now, std::move(probe), *wait->second.on);
}

}  // namespace rondo::core
