#include <rondo/core/actor_directory.h>

#include <algorithm>
#include <utility>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>

namespace rondo::core {
namespace {

ActorInfo born(const ActorSpec& spec) {
  ActorInfo info;
  info.id = spec.id;
  info.name = spec.name;
  info.class_name = spec.class_name;
  info.state = ActorState::kPending;
  info.max_task_retries = spec.max_task_retries;
  info.max_pending = spec.max_pending;
  return info;
}

}  // namespace

void ActorDirectory::restore(const ActorRow& row) {
  ActorEntry entry;
  entry.spec = row.spec;
  entry.info = born(row.spec);
  entry.info.incarnation = row.incarnation;
  entry.info.state = row.state;
  entry.info.node = row.node;
  entry.info.restarts = row.restarts;
  entry.info.cause = row.cause;
  entry.info.code = row.code;
  const ActorId id = row.spec.id;
  by_job_[row.spec.job].insert(id);
  if (row.state != ActorState::kDead) {
    if (!row.spec.name.empty()) names_[row.spec.name] = id;
    if (row.node) {
      entry.confirmed = false;
      Load& load = loads_[row.node];
      load.shape += row.spec.shape;
      load.actors.insert(id);
    } else {
      unplaced_.insert(id);
    }
  }
  actors_[id] = std::move(entry);
}

bool ActorDirectory::spawn(TimeNs now, const ActorSpec& spec) {
  if (actors_.contains(spec.id)) return false;
  ActorEntry& entry = actors_[spec.id];
  entry.spec = spec;
  entry.info = born(spec);
  entry.retry_at = now;
  by_job_[spec.job].insert(spec.id);
  mark(spec.id);
  if (actors_.size() > kActorsMax) {
    die(entry, "the cluster's directory of actors is full (" + std::to_string(kActorsMax) + ")",
        ErrorCode::kOverloaded);
  } else if (const auto holder = names_.find(spec.name);
             !spec.name.empty() && holder != names_.end()) {
    const ActorEntry& other = at(holder->second);
    die(entry,
        "the name \"" + spec.name + "\" belongs to a living actor of class " +
            other.spec.class_name + " (" + to_string(other.spec.id) +
            "): choose another name, or kill that one first",
        ErrorCode::kInvalid);
  } else {
    if (!spec.name.empty()) names_[spec.name] = spec.id;
    unplaced_.insert(spec.id);
  }
  return true;
}

void ActorDirectory::assign(ActorId id, NodeId node) {
  ActorEntry& entry = at(id);
  RONDO_CHECK(unplaced_.erase(id) == 1);
  RONDO_CHECK(entry.info.state != ActorState::kDead);
  ++entry.info.incarnation.value;
  entry.info.node = node;
  if (entry.info.state == ActorState::kPending) entry.info.state = ActorState::kStarting;
  entry.confirmed = true;
  Load& load = loads_[node];
  load.shape += entry.spec.shape;
  load.actors.insert(id);
  mark(id);
}

bool ActorDirectory::started(TimeNs now, const ActorInfo& said) {
  if (!starting(said.id, said.incarnation, said.node)) return false;
  ActorEntry& entry = at(said.id);
  if (entry.info.state == ActorState::kAlive && entry.info.process == said.process) return true;
  entry.info.state = ActorState::kAlive;
  entry.info.process = said.process;
  entry.info.pid = said.pid;
  entry.alive_since = now;
  changes_.told.insert(said.id);
  return true;
}

bool ActorDirectory::starting(ActorId id, Incarnation incarnation, NodeId node) {
  const auto it = actors_.find(id);
  if (it == actors_.end()) return false;
  ActorEntry& entry = it->second;
  if (entry.info.state == ActorState::kDead || entry.info.incarnation != incarnation ||
      entry.info.node != node)
    return false;
  if (!entry.confirmed) {
    entry.confirmed = true;
    changes_.told.insert(id);
  }
  return true;
}

void ActorDirectory::exited(TimeNs now, ActorId id, Incarnation incarnation,
                            const std::string& cause) {
  const auto it = actors_.find(id);
  if (it == actors_.end()) return;
  ActorEntry& entry = it->second;
  if (entry.info.state == ActorState::kDead || entry.info.incarnation != incarnation ||
      !entry.info.node)
    return;
  const bool lived_long =
      entry.info.state == ActorState::kAlive && now - entry.alive_since >= kLongLife;
  leave_node(entry);
  entry.confirmed = true;
  if (entry.spec.max_restarts >= 0 && entry.info.restarts >= entry.spec.max_restarts) {
    hit(Branch::kBudgetUsedUp);
    std::string text = cause;
    if (entry.spec.max_restarts > 0)
      text += " (after " + std::to_string(entry.info.restarts) + " restarts, all that it may have)";
    die(entry, std::move(text), ErrorCode::kActorDied);
    return;
  }
  entry.quick_deaths = lived_long ? 0 : entry.quick_deaths;
  hit(Branch::kActorRestarted);
  if (entry.quick_deaths >= kFreeRestarts) hit(Branch::kRestartDelayed);
  entry.retry_at = now + restart_delay(entry.quick_deaths++);
  if (entry.info.restarts < INT32_MAX) ++entry.info.restarts;
  entry.info.state = ActorState::kRestarting;
  entry.info.cause = cause.substr(0, kCauseMax);
  unplaced_.insert(id);
  mark(id);
}

DurationNs ActorDirectory::restart_delay(std::uint32_t quick_deaths) {
  if (quick_deaths < kFreeRestarts) return {};
  const std::uint32_t doublings = std::min<std::uint32_t>(quick_deaths - kFreeRestarts, 20);
  return std::min(kRestartAfter * (std::int64_t{1} << doublings), kRestartAfterMax);
}

void ActorDirectory::leave_node(ActorEntry& entry) {
  if (entry.info.node) {
    Load& load = loads_.at(entry.info.node);
    load.shape -= entry.spec.shape;
    load.actors.erase(entry.spec.id);
    if (load.actors.empty()) loads_.erase(entry.info.node);
  }
  entry.info.node = {};
  entry.info.process = {};
  entry.info.pid = 0;
}

void ActorDirectory::die(ActorEntry& entry, std::string cause, ErrorCode code) {
  leave_node(entry);
  unplaced_.erase(entry.spec.id);
  if (const auto name = names_.find(entry.spec.name);
      name != names_.end() && name->second == entry.spec.id)
    names_.erase(name);
  entry.info.state = ActorState::kDead;
  if (cause.size() > kCauseMax) cause.resize(kCauseMax);
  entry.info.cause = std::move(cause);
  entry.info.code = code;
  entry.confirmed = true;
  entry.spec.arguments = {};
  mark(entry.spec.id);
}

void ActorDirectory::end(ActorId id, const std::string& cause, ErrorCode code) {
  const auto it = actors_.find(id);
  if (it != actors_.end() && it->second.info.state != ActorState::kDead)
    die(it->second, cause, code);
}

std::vector<ActorId> ActorDirectory::end_job(JobId job, const std::string& cause) {
  const auto it = by_job_.find(job);
  if (it == by_job_.end()) return {};
  std::vector<ActorId> out(it->second.begin(), it->second.end());
  for (const ActorId id : out) end(id, cause, ErrorCode::kActorDied);
  return out;
}

void ActorDirectory::erase(ActorId id) {
  const ActorEntry& entry = at(id);
  RONDO_CHECK(entry.info.state == ActorState::kDead);
  auto& of_job = by_job_[entry.spec.job];
  of_job.erase(id);
  if (of_job.empty()) by_job_.erase(entry.spec.job);
  changes_.told.erase(id);
  changes_.rows.erase(id);
  actors_.erase(id);
}

void ActorDirectory::wait_until(ActorId id, TimeNs when) { at(id).retry_at = when; }

ActorEntry& ActorDirectory::at(ActorId id) {
  const auto it = actors_.find(id);
  RONDO_CHECK(it != actors_.end());
  return it->second;
}

const ActorEntry* ActorDirectory::find(ActorId id) const {
  const auto it = actors_.find(id);
  return it == actors_.end() ? nullptr : &it->second;
}

const ActorEntry* ActorDirectory::find_name(const std::string& name) const {
  const auto it = names_.find(name);
  return it == names_.end() ? nullptr : find(it->second);
}

std::vector<ActorId> ActorDirectory::placed_on(NodeId node) const {
  const auto it = loads_.find(node);
  if (it == loads_.end()) return {};
  return {it->second.actors.begin(), it->second.actors.end()};
}

std::vector<ActorId> ActorDirectory::due(TimeNs now) const {
  std::vector<ActorId> out;
  for (const ActorId id : unplaced_)
    if (actors_.at(id).retry_at <= now) out.push_back(id);
  return out;
}

TimeNs ActorDirectory::next_retry() const {
  TimeNs next = kNever;
  for (const ActorId id : unplaced_) next = std::min(next, actors_.at(id).retry_at);
  return next;
}

void ActorDirectory::retry_all(TimeNs now) {
  for (const ActorId id : unplaced_) {
    ActorEntry& entry = at(id);
    if (entry.quick_deaths <= kFreeRestarts) entry.retry_at = std::min(entry.retry_at, now);
  }
}

Shape ActorDirectory::load(NodeId node) const {
  const auto it = loads_.find(node);
  return it == loads_.end() ? Shape{} : it->second.shape;
}

std::size_t ActorDirectory::count(NodeId node) const {
  const auto it = loads_.find(node);
  return it == loads_.end() ? 0 : it->second.actors.size();
}

ActorRow ActorDirectory::row(ActorId id) const {
  const ActorEntry* entry = find(id);
  RONDO_CHECK(entry != nullptr);
  const ActorInfo& info = entry->info;
  // Who lives is for its node to say: a row says only where it was sent.
  ActorState state = info.state;
  if (state == ActorState::kAlive)
    state = info.restarts > 0 ? ActorState::kRestarting : ActorState::kStarting;
  return {entry->spec, info.incarnation, state, info.node, info.restarts, info.cause, info.code};
}

ActorDirectory::Changes ActorDirectory::take_changes() { return std::exchange(changes_, {}); }

void ActorDirectory::check_invariants() const {
  std::map<NodeId, Shape> loads;
  for (const auto& [id, entry] : actors_) {
    RONDO_CHECK_EQ(id, entry.info.id);
    const bool dead = entry.info.state == ActorState::kDead;
    const bool placed = static_cast<bool>(entry.info.node);
    RONDO_CHECK_EQ(unplaced_.contains(id), !dead && !placed);
    if (dead) RONDO_CHECK(!placed && entry.spec.arguments.empty());
    if (placed) {
      RONDO_CHECK(entry.info.incarnation.value > 0);
      RONDO_CHECK(loads_.at(entry.info.node).actors.contains(id));
      loads[entry.info.node] += entry.spec.shape;
    }
    if (entry.info.state == ActorState::kAlive) RONDO_CHECK(placed && entry.info.process.id);
    if (entry.spec.max_restarts >= 0)
      RONDO_CHECK_LE(entry.info.restarts, entry.spec.max_restarts);
    if (!dead && !entry.spec.name.empty()) RONDO_CHECK_EQ(names_.at(entry.spec.name), id);
    RONDO_CHECK(by_job_.at(entry.spec.job).contains(id));
  }
  for (const auto& [name, id] : names_)
    RONDO_CHECK(actors_.at(id).info.state != ActorState::kDead && actors_.at(id).spec.name == name);
  for (const auto& [node, load] : loads_) RONDO_CHECK(loads.at(node) == load.shape);
}

}  // namespace rondo::core
