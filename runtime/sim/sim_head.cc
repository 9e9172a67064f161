#include <rondo/sim/sim_head.h>

#include <utility>

#include <rondo/sim/checks.h>

namespace rondo::sim {

SimHead::SimHead(World& world, std::uint32_t machine, Disk& disk, const ClusterTimes& times)
    : Endpoint(world, {world.fresh_id(), "sim://head"}, machine), disk_(disk), times_(times) {
  core::HeadOptions options;
  options.self = peer();
  options.pid = 1;
  options.cluster = 42;
  options.release = "sim";
  options.term = times_.term;
  options.heartbeat_every = times_.heartbeat_every;
  options.suspect_after = times_.suspect_after;
  options.drift = times_.drift;
  options.settle = times_.suspect_after;
  head_ = std::make_unique<core::Head>(std::move(options));
}

void SimHead::start() {
  world_.checks().head_loaded(disk_.load());
  const std::vector<core::Head::Row> rows(disk_.load().begin(), disk_.load().end());
  core::Effects out;
  head_->start(world_.now(), rows, out);
  carry_out(out);
  end_turn();
}

void SimHead::die() {
  Endpoint::die();
  disk_.crash();
  if (world_.defects().durable_rows_lost) disk_.lose_last();
}

void SimHead::check_invariants() const {
  Endpoint::check_invariants();
  head_->check_invariants();
}

std::string SimHead::held_at_rest() const {
  for (const auto& [id, entry] : head_->jobs().all()) {
    if (head_->jobs().living(id) == nullptr) continue;
    const core::JobSpec& job = entry.spec;
    return "job " + to_string(job.id) + " of driver " + to_string(job.driver.id) + " at node " +
           to_string(job.home);
  }
  if (!head_->actors().all().empty()) return "the head still has an actor";
  if (disk_.pending()) return "a row of the head is not synced";
  return {};
}

void SimHead::on_message(ProcessId from, core::Message&& message) {
  narrate(from, message);
  if (auto* spawn = std::get_if<core::SpawnActor>(&message);
      spawn != nullptr && world_.defects().budget_raised && spawn->spec.max_restarts >= 0)
    spawn->spec.max_restarts += 2;
  world_.checks().head_hears(message);
  core::Effects out;
  head_->on_message(world_.now(), from, message, out);
  carry_out(out);
}

void SimHead::on_alarm() {
  core::Effects out;
  head_->on_deadline(world_.now(), out);
  carry_out(out);
}

void SimHead::on_broken(const wire::Broken& broken) {
  core::Effects out;
  head_->on_link_broken(world_.now(), broken.peer, out);
  carry_out(out);
}

void SimHead::say(ProcessId to, core::Message message) {
  if (auto* accepted = std::get_if<core::NodeAccepted>(&message);
      accepted != nullptr && world_.defects().term_longer_at_nodes)
    accepted->term = accepted->term * 5;
  world_.checks().head_says(to, message);
  if (may_say(to)) station_->send(to, message);
}

void SimHead::carry_out(core::Effects& effects) {
  for (core::Effect& effect : effects.list) {
    if (auto* learnt = std::get_if<core::Learn>(&effect)) {
      learn(learnt->peer);
    } else if (auto* send = std::get_if<core::Send>(&effect)) {
      if (std::holds_alternative<core::StartActor>(send->message) &&
          world_.planted(world_.defects().actor_started_twice, 4)) {
        for (const auto& [id, member] : head_->membership().members())
          if (member.joined && member.info.peer.id != send->to) {
            say(member.info.peer.id, send->message);
            break;
          }
      }
      say(send->to, std::move(send->message));
    } else if (auto* datagram = std::get_if<core::Datagram>(&effect)) {
      if (may_say(datagram->to)) station_->datagram(datagram->to, datagram->message);
    } else if (auto* forgotten = std::get_if<core::Forget>(&effect)) {
      forget(forgotten->process);
    } else if (auto* row = std::get_if<core::Persist>(&effect)) {
      written_ = row->number;
      disk_.write(row->number, std::move(row->key), std::move(row->value));
    }
  }
  effects.list.clear();
  if (disk_.pending()) sync_soon();
}

// One sync at a time; what is written meanwhile waits for the next one.
void SimHead::sync_soon() {
  if (syncing_) return;
  syncing_ = true;
  const DurationNs takes = microseconds(world_.random().between(100, 8'000));
  if (world_.defects().acknowledged_before_persisted) {
    world_.after({0}, id(), [this, number = written_] {
      core::Effects out;
      head_->on_durable(world_.now(), number, out);
      carry_out(out);
      end_turn();
    });
  }
  const DurationNs sync = world_.defects().acknowledged_before_persisted ? seconds(2) : takes;
  world_.after(sync, id(), [this, number = written_] {
    disk_.sync(number);
    syncing_ = false;
    core::Effects out;
    head_->on_durable(world_.now(), number, out);
    carry_out(out);
    end_turn();
  });
}

}  // namespace rondo::sim
