#include <rondo/core/head.h>

// Head: what people may ask (the keys are what `rondo list -o json` shows).

namespace rondo::core {
namespace {

std::string word(ActorState state) {
  switch (state) {
    case ActorState::kUnknown: return "unknown";
    case ActorState::kPending: return "pending";
    case ActorState::kStarting: return "starting";
    case ActorState::kAlive: return "alive";
    case ActorState::kRestarting: return "restarting";
    case ActorState::kDead: return "dead";
  }
  return "unknown";
}

std::int64_t whole_cpus(const Shape& shape) { return shape.cpu_milli / 1000; }

ListingRow node_row(const NodeInfo& info, const std::string& state) {
  return {{"id", to_string(info.id)},      {"name", info.name},
          {"address", info.peer.address},  {"process", to_string(info.peer.id)},
          {"pid", info.pid},               {"state", state},
          {"cpus", whole_cpus(info.total)}, {"cpus_free", whole_cpus(info.free)}};
}

}  // namespace

void Head::on(Step& step, ProcessId from, const Inspect& ask) {
  if (ask.what == "nodes") {
    step.effects.add(Answer{from, ask.request, list_nodes()});
  } else if (ask.what == "actors") {
    step.effects.add(Answer{from, ask.request, list_actors()});
  } else if (ask.what == "jobs") {
    step.effects.add(Answer{from, ask.request, list_jobs()});
  } else if (ask.what == "status") {
    step.effects.add(Answer{from, ask.request, status()});
  } else {
    step.effects.send(from, Inspected{ask.request, {},
                                      {{ErrorCode::kNotFound,
                                        "a head knows nodes, actors, jobs and status, not \"" +
                                            ask.what + "\": ask a node"}}});
  }
}

Listing Head::list_nodes() const {
  Listing out;
  for (const auto& [id, member] : members_.members())
    out.rows.push_back(node_row(member.info, !member.joined      ? "awaited"
                                             : member.suspected ? "suspected"
                                                                : "alive"));
  for (const auto& [id, info] : members_.dead()) out.rows.push_back(node_row(info, "dead"));
  return out;
}

Listing Head::list_actors() const {
  Listing out;
  for (const auto& [id, entry] : actors_.all()) {
    const ActorInfo& info = entry.info;
    const Member* node = members_.find(info.node);
    out.rows.push_back({{"id", to_string(id)},
                        {"name", info.name},
                        {"class", info.class_name},
                        {"state", entry.confirmed ? word(info.state) : "awaited"},
                        {"node", node != nullptr ? node->info.name : std::string()},
                        {"pid", info.pid},
                        {"incarnation", static_cast<std::int64_t>(info.incarnation.value)},
                        {"restarts", std::int64_t{info.restarts}},
                        {"cause", info.cause}});
  }
  return out;
}

Listing Head::list_jobs() const {
  Listing out;
  for (const auto& [id, job] : jobs_.all())
    out.rows.push_back({{"id", to_string(id)},
                        {"driver_pid", job.spec.driver_pid},
                        {"state", std::string(job.ended ? "ended" : "running")},
                        {"started", job.started_wall_ns / 1'000'000'000},
                        {"name", job.spec.executable_name},
                        {"cause", job.cause}});
  return out;
}

Listing Head::status() const {
  std::int64_t alive = 0, actors = 0, jobs = 0;
  for (const auto& [id, member] : members_.members()) alive += member.joined ? 1 : 0;
  for (const auto& [id, entry] : actors_.all())
    actors += entry.info.state != ActorState::kDead ? 1 : 0;
  for (const auto& [id, job] : jobs_.all()) jobs += job.ended ? 0 : 1;
  return {{{{"head", to_string(options_.self.id)},
            {"address", options_.self.address},
            {"pid", options_.pid},
            {"incarnation", static_cast<std::int64_t>(incarnation_.value)},
            {"release", options_.release},
            {"nodes", alive},
            {"actors", actors},
            {"jobs", jobs}}}};
}

}  // namespace rondo::core
