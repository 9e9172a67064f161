#include <cstring>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/base/branch_marks.h>
#include <rondo/base/limits.h>
#include <rondo/core/process.h>

// What a Process does with what it hears: messages, calls, replies, deaths; and the replies that it
// writes.

namespace rondo::core {

namespace {
template <class... F>
struct Cases : F... {
  using F::operator()...;
};

template <class T>
ByteView view_of(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}

Bytes encode_failure(const Failure& failure) {
  Bytes out;
  out.push_back(static_cast<std::byte>(failure.code));
  const ByteView words =
      as_bytes(failure.text).first(std::min(failure.text.size(), limits::kErrorBytesMax));
  out.insert(out.end(), words.begin(), words.end());
  return out;
}

Failure decode_failure(ByteView payload) {
  if (payload.empty()) return {ErrorCode::kTaskFailed, "no cause was given"};
  return {static_cast<ErrorCode>(payload[0]), std::string(as_text(payload.subspan(1)))};
}
}  // namespace

void Process::on_message(TimeNs now, ProcessId from, const Message& message) {
  if (ended_) return;
  std::visit(
      Cases{
          [&](const Welcome& m) {
            node_id_ = m.node;
            objects_.set_node(m.node);
            tasks_.set_home(m.node);
            if (welcomed_ && welcomed_->pending()) objects_.fill(*welcomed_, view_of(m.node), {});
            welcomed_ = {};
            for (Incoming& call : std::exchange(early_, {})) on_call(now, std::move(call));
          },
          [&](const Refused& m) {
            if (welcomed_ && welcomed_->pending()) objects_.fail(*welcomed_, m.failure);
            if (job_started_ && job_started_->pending()) objects_.fail(*job_started_, m.failure);
            port_.end(m.failure.text);
          },
          [&](const JobStarted&) {
            if (job_started_ && job_started_->pending()) objects_.fill(*job_started_, {}, {});
            job_started_ = {};
          },
          [&](const EndJob& m) { port_.end(m.cause); },
          [&](const Shutdown& m) { port_.end(m.cause); },
          [&](const ActorUpdate& m) { on_update(now, m); },
          [&](const CreateActor& m) { port_.construct(m); },
          // news of a death and what the dead one's node said before may come in either order
          [&](const LeaseGrant& m) {
            if (book_.dead(m.worker.id, m.node)) tasks_.ask_again(m.request);
            else tasks_.on_grant(now, m);
          },
          [&](const LeaseRedirect& m) {
            if (book_.dead(m.node.id)) tasks_.ask_again(m.request);
            else tasks_.on_redirect(m);
          },
          [&](const LeaseRefused& m) { on_lease_refused(m); },
          [&](const LeaseRevoke& m) { tasks_.on_revoke(now, m); },
          [&](const WaitResume& m) {
            if (resuming_.erase(m.lease) == 0) return;
            for (const RunId run : mailbox_.waiting_on(m.lease)) {
              mailbox_.wait_end(run);
              port_.resume(run);
            }
          },
          [&](const ProcessDied& m) { on_died(now, m); },
          [&](const RefRegister& m) { objects_.on_register(from, m); },
          [&](const RefRegistered& m) { objects_.on_registered(m); },
          [&](const RefRelease& m) { objects_.on_release(from, m); },
          [&](const ObjectReady& m) { objects_.on_ready(m); },
          [&](const ObjectCopied& m) { objects_.on_copied(m); },
          [&](const RefsKept& m) {
            kept_.erase({from, m.object});
          },
          [&](const ExtentGrant& m) {
            answer_request(m.request, {m.extent, m.generation, m.bytes, m.fd, m.node_pid});
          },
          [&](const ExtentRefused& m) { refuse_request(m.request, m.failure); },
          [&](const ObjectOpened& m) {
            answer_request(m.request,
                           {m.place.extent, m.place.generation, m.place.bytes, m.fd, m.node_pid});
          },
          [&](const ObjectMissing& m) { refuse_request(m.request, m.failure); },
          [&](const WaitProbe& m) { on_probe(now, m); },
          [](const auto&) {},  // not for processes: a peer of another kind; nothing depends on it
      },
      message);
}

void Process::on_lease_refused(const LeaseRefused& m) {
  std::vector<Call*> failed;
  tasks_.on_refused(m, failed);
  for (Call* call : failed) {
    fail_call(*call, {m.failure.code, "task '" + port_.name_of(CallKind::kTask, call->function) +
                                          "': " + m.failure.text});
  }
}

void Process::answer_request(RequestId request, const GrantAnswer& answer) {
  const auto it = requests_.find(request);
  if (it == requests_.end()) return;
  if (it->second->pending()) objects_.fill(*it->second, view_of(answer), {});
  requests_.erase(it);
}

void Process::refuse_request(RequestId request, const Failure& failure) {
  const auto it = requests_.find(request);
  if (it == requests_.end()) return;
  if (it->second->pending()) objects_.fail(*it->second, failure);
  requests_.erase(it);
}

void Process::on_update(TimeNs now, const ActorUpdate& update) {
  const ActorInfo& info = update.actor;
  if (update.request) {  // the answer to find
    const auto it = requests_.find(update.request);
    if (it != requests_.end()) {
      const CellRef answer = std::move(it->second);
      requests_.erase(it);
      if (info.state == ActorState::kUnknown || info.state == ActorState::kDead) {
        objects_.fail(*answer,
                      {ErrorCode::kNotFound, "no living actor is called '" + info.name + "'"});
      } else {
        Bytes bytes = to_bytes(view_of(FoundAnswer{info.id}));
        const ByteView name = as_bytes(info.class_name);
        bytes.insert(bytes.end(), name.begin(), name.end());
        objects_.fill(*answer, bytes, {});
      }
    }
  }
  std::vector<Call*> failed;
  const bool gone = info.state == ActorState::kAlive && book_.dead(info.process.id, info.node);
  actors_.on_update(now, update, gone, failed);
  fail_calls(failed, false, {});
  if (info.state == ActorState::kDead) spawn_refs_.erase(info.id);
  settle_binds(info.id);
}

void Process::settle_binds(const ActorId& actor) {
  if (binds_.empty()) return;
  const ActorInfo known = actors_.info(actors_.group_of(actor));
  if (known.state != ActorState::kAlive && known.state != ActorState::kDead) return;
  // its process is known to be dead before the directory has said so: wait for the next birth
  if (known.state == ActorState::kAlive && book_.dead(known.process.id, known.node)) return;
  std::erase_if(binds_, [&](const Bind& bind) {
    if (bind.actor != actor) return false;
    if (known.state == ActorState::kAlive) {
      objects_.fill(*bind.answer, view_of(known.incarnation), {});
    } else {
      objects_.fail(*bind.answer, {ErrorCode::kActorDied,
                                   "actor " + to_string(actor) + " is dead: " + known.cause});
    }
    return true;
  });
}

void Process::on_peer(const Peer& peer, NodeId home) {
  if (!book_.dead(peer.id, home)) return book_.meet(peer.id, home, peer.address);
  hit(Branch::kLateWordOfTheLost);
  book_.bury(peer.id, book_.why(peer.id, home));   // of a node that is lost: it must not speak
  port_.forget(peer.id);
}

// A lost node takes everybody along that we know to live there; what they had begun nobody knows.
void Process::on_died(TimeNs now, const ProcessDied& death) {
  if (death.process) {
    if (book_.bury(death.process, death.cause)) process_died(now, death);
    return;
  }
  for (const ProcessId process : book_.bury(death.node, death.cause)) {
    hit(Branch::kNodeTookProcesses);
    if (book_.bury(process, death.cause))
      process_died(now, {process, death.node, 0, death.cause, {kAnyMayHaveBegun}});
  }
  objects_.on_node_died(death.node);
}

void Process::process_died(TimeNs now, const ProcessDied& death) {
  if (death.process == options_.node.id) return port_.end(death.cause);
  objects_.on_process_died(death);
  std::vector<Call*> failed;
  tasks_.on_process_died(now, death, failed);
  fail_calls(failed, true, death.cause);
  actors_.on_process_died(now, death, failed);
  fail_calls(failed, false, {});
  mailbox_.on_process_died(death.process);
  sender_.forget(death.process);
  std::erase_if(early_, [&](const Incoming& call) { return call.from == death.process; });
  std::erase_if(kept_, [&](const auto& kept) { return kept.first.first == death.process; });
  std::erase_if(deferred_, [&](const Deferred& deferred) { return deferred.to == death.process; });
  port_.forget(death.process);
}

// ---- calls that come in

void Process::on_call(TimeNs, Incoming call) {
  if (ended_ || book_.dead(call.from)) return;
  if (!node_id_) {
    hit(Branch::kCallBeforeWelcome);
    return early_.push_back(std::move(call));
  }
  for (const RefEntry& entry : call.refs) {
    book_.meet(entry.id.owner, entry.owner_node, entry.owner);
    port_.learn(Peer{entry.id.owner, entry.owner});
  }
  mailbox_.on_call(std::move(call));
}

void Process::constructed(const CreateActor& what, std::optional<Failure> failure) {
  ActorCreated created{what.spec.id, what.incarnation, {}};
  if (failure) created.failure.push_back(std::move(*failure));
  else mailbox_.host_actor(what.spec.id, what.incarnation);
  port_.send(options_.node.id, created);
}

void Process::finish(TimeNs, RunId run, Outcome outcome) {
  const Incoming& call = mailbox_.incoming(run);
  const ProcessId to = call.from;
  Reply reply;
  reply.head.status = outcome.status;
  reply.head.slot = call.head.slot;
  reply.head.generation = call.head.generation;
  reply.head.attempt = call.head.attempt;
  const ObjectId result{to, call.head.slot, call.head.generation};
  ByteView payload = outcome.bytes;
  Bytes words;
  if (outcome.status == ReplyStatus::kStored) {
    words = to_bytes(view_of(outcome.stored));
    const ByteView address = as_bytes(options_.node.address);
    words.insert(words.end(), address.begin(), address.end());
    payload = words;
    port_.send(options_.node.id,
               ObjectSealed{result, book_.peer(to), outcome.stored.extent,
                            outcome.stored.generation, outcome.stored.bytes, book_.home(to)});
  } else if (outcome.status == ReplyStatus::kFailed) {
    words = encode_failure(outcome.failure);
    payload = words;
  }
  reply.head.payload_bytes = static_cast<std::uint32_t>(payload.size());
  std::vector<ObjectId> until;
  for (const RefEntry& entry : call.refs) {
    if (!objects_.registered(entry.id)) until.push_back(entry.id);
  }
  for (const CellRef& ref : outcome.refs) {
    reply.refs.push_back(objects_.entry_of(*ref));
    if (!objects_.registered(ref->id)) until.push_back(ref->id);
  }
  reply.head.ref_count = static_cast<std::uint16_t>(reply.refs.size());
  if (!outcome.refs.empty() && !book_.dead(to)) kept_[{to, result}] = std::move(outcome.refs);
  if (until.empty()) {
    if (!book_.dead(to)) port_.reply(to, reply.head, payload, reply.refs);
  } else {
    reply.payload = to_bytes(payload);
    defer(Deferred{std::move(until), to, std::move(reply)});
  }
  mailbox_.finish(run);
}

void Process::defer(Deferred deferred) {
  if (!book_.dead(deferred.to)) deferred_.push_back(std::move(deferred));
}

void Process::retry_deferred() {
  std::erase_if(deferred_, [&](const Deferred& deferred) {
    for (const ObjectId& id : deferred.until) {
      if (!objects_.registered(id)) return false;
    }
    if (const Reply* reply = std::get_if<Reply>(&deferred.what)) {
      port_.reply(deferred.to, reply->head, reply->payload, reply->refs);
    } else {
      port_.send(deferred.to, std::get<RefsKept>(deferred.what));
    }
    return true;
  });
}

// ---- replies that come in

void Process::on_reply(TimeNs now, ProcessId from, const ReplyHeader& head, ByteView payload,
                       std::span<const RefEntry> entries) {
  if (ended_) return;
  Call* call = calls_.find(head.slot, head.generation);
  if (call == nullptr || call->state != Call::State::kSent || call->to != from ||
      call->attempt != head.attempt)
    return;
  const bool task = call->kind == CallKind::kTask;
  if (head.status == ReplyStatus::kReturned) {
    if (task) tasks_.on_returned(now, *call);
    else actors_.on_returned(*call);
    return;
  }
  if (task) tasks_.on_answered(now, *call);
  else actors_.on_answered(*call);
  std::vector<CellRef> refs;
  if (!entries.empty()) {
    refs = objects_.borrow_all(entries);
    std::vector<ObjectId> until;
    for (const RefEntry& entry : entries) until.push_back(entry.id);
    defer(Deferred{std::move(until), from, RefsKept{call->result->id}});
  }
  Cell& cell = *call->result;
  if (head.status == ReplyStatus::kFailed) {
    objects_.fail(cell, decode_failure(payload));
  } else if (head.status == ReplyStatus::kStored && payload.size() >= sizeof(StoredResult)) {
    StoredResult stored;
    std::memcpy(&stored, payload.data(), sizeof stored);
    objects_.fill_stored(
        cell,
        StoredValue{.node = NodeId{stored.node},
                    .node_process = ProcessId{stored.node_process},
                    .node_address = std::string(as_text(payload.subspan(sizeof stored))),
                    .extent = stored.extent,
                    .generation = stored.generation,
                    .bytes = stored.bytes},
        std::move(refs));
  } else {
    objects_.fill(cell, payload, std::move(refs));
  }
  calls_.release(*call);
}

}  // namespace rondo::core
