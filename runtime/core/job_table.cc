#include <rondo/core/job_table.h>

#include <rondo/base/check.h>

namespace rondo::core {

void JobTable::restore(const JobRow& row) {
  jobs_[row.spec.id] = Job{row.spec, row.started_wall_ns, false, {}};
}

JobTable::Start JobTable::start(const JobSpec& spec, std::int64_t started_wall_ns) {
  if (const auto it = jobs_.find(spec.id); it != jobs_.end())
    return it->second.ended ? Start::kEnded : Start::kAlready;
  if (jobs_.size() - ended_.size() >= kLivingMax) return Start::kFull;
  jobs_[spec.id] = Job{spec, started_wall_ns, false, {}};
  return Start::kStarted;
}

bool JobTable::end(JobId id, const std::string& cause) {
  const auto it = jobs_.find(id);
  if (it == jobs_.end() || it->second.ended) return false;
  it->second.ended = true;
  it->second.cause = cause;
  it->second.spec.environment.clear();
  ended_.push_back(id);
  if (ended_.size() > kEndedMax) {
    jobs_.erase(ended_.front());
    ended_.pop_front();
  }
  return true;
}

const Job* JobTable::living(JobId id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() || it->second.ended ? nullptr : &it->second;
}

std::vector<JobId> JobTable::at_home(NodeId node) const {
  std::vector<JobId> out;
  for (const auto& [id, job] : jobs_)
    if (!job.ended && job.spec.home == node) out.push_back(id);
  return out;
}

JobRow JobTable::row(JobId id) const {
  const Job* job = living(id);
  RONDO_CHECK(job != nullptr);
  return {job->spec, job->started_wall_ns};
}

void JobTable::check_invariants() const {
  RONDO_CHECK_LE(ended_.size(), kEndedMax);
  std::size_t ended = 0;
  for (const auto& [id, job] : jobs_) {
    RONDO_CHECK_EQ(id, job.spec.id);
    ended += job.ended ? 1 : 0;
  }
  RONDO_CHECK_EQ(ended, ended_.size());
}

}  // namespace rondo::core
