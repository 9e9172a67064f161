#include <map>
#include <set>

#include <rondo/core/rows.h>
#include <rondo/sim/checkers/checkers.h>

// What a head has told anybody, the next head knows: its rows name no older incarnation, and the
// dead stay dead.

namespace rondo::sim {

namespace {
class AcknowledgedSurvive final : public Checker {
 public:
  [[nodiscard]] const char* name() const override { return "AcknowledgedSurvive"; }

  std::string on_head_says(ProcessId, const core::Message& message) override {
    if (const auto* start = std::get_if<core::StartActor>(&message)) {
      told(start->spec.id, start->incarnation, false);
      jobs_[start->spec.id] = start->spec.job;
    } else if (const auto* update = std::get_if<core::ActorUpdate>(&message)) {
      const core::ActorInfo& actor = update->actor;
      if (actor.state == core::ActorState::kUnknown || !jobs_.contains(actor.id)) return {};
      told(actor.id, actor.incarnation, actor.state == core::ActorState::kDead);
    } else if (const auto* end = std::get_if<core::EndJob>(&message)) {
      ended_.insert(end->job);
    } else if (const auto* started = std::get_if<core::JobStarted>(&message)) {
      started_.insert(started->job);
    }
    return {};
  }
  std::string on_head_hears(const core::Message& message) override {
    if (const auto* start = std::get_if<core::StartJob>(&message))
      homes_[start->job.id] = start->job.home;
    else if (const auto* end = std::get_if<core::EndJob>(&message))
      ended_.insert(end->job);
    return {};
  }
  std::string on_head_loaded(const std::map<std::string, Bytes>& rows) override {
    std::map<ActorId, core::ActorRow> actors;
    std::set<JobId> jobs;
    for (const auto& [job, home] : homes_)   // a job ends with its home
      if (rows.contains(core::dead_node_key(home))) ended_.insert(job);
    for (const auto& [key, value] : rows) {
      if (key.starts_with("actor/"))
        if (const auto row = core::decode_actor(value)) actors[row->spec.id] = *row;
      if (key.starts_with("job/"))
        if (const auto row = core::decode_job(value)) jobs.insert(row->spec.id);
    }
    for (const JobId job : started_)
      if (!jobs.contains(job) && !ended_.contains(job))
        return "job " + to_string(job) + " was started, and the next head does not know it";
    for (const auto& [id, fact] : told_) {
      const auto job = jobs_.find(id);
      if (job != jobs_.end() && ended_.contains(job->second)) continue;
      const auto row = actors.find(id);
      const std::string what = "actor " + to_string(id);
      if (row == actors.end()) {
        if (!fact.dead) return what + " was told of, and the next head does not know it";
      } else if (row->second.incarnation < fact.incarnation) {
        return what + " was told of in incarnation " + std::to_string(fact.incarnation.value) +
               ", and the next head knows only " + std::to_string(row->second.incarnation.value);
      } else if (fact.dead && row->second.state != core::ActorState::kDead) {
        return what + " was dead, and lives again";
      }
    }
    return {};
  }

 private:
  struct Fact {
    Incarnation incarnation;
    bool dead = false;
  };
  void told(ActorId id, Incarnation incarnation, bool dead) {
    Fact& fact = told_[id];
    fact.incarnation = std::max(fact.incarnation, incarnation);
    fact.dead = fact.dead || dead;
  }
  std::map<ActorId, Fact> told_;
  std::map<ActorId, JobId> jobs_;
  std::map<JobId, NodeId> homes_;
  std::set<JobId> started_;
  std::set<JobId> ended_;
};
}  // namespace

std::unique_ptr<Checker> acknowledged_survive() { return std::make_unique<AcknowledgedSurvive>(); }

}  // namespace rondo::sim
