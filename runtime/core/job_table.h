#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include <rondo/core/rows.h>
#include <rondo/core/types.h>

// JobTable: the head's list of drivers' runs. A job lives from StartJob until its driver or its
// home node ends; ended ones are kept for a while, for people.

namespace rondo::core {

struct Job {
  JobSpec spec;
  std::int64_t started_wall_ns = 0;
  bool ended = false;
  std::string cause;
};

class JobTable {
 public:
  static constexpr std::size_t kLivingMax = 10'000;
  static constexpr std::size_t kEndedMax = 256;

  void restore(const JobRow&);
  enum class Start { kStarted, kAlready, kEnded, kFull };
  Start start(const JobSpec&, std::int64_t started_wall_ns);   // idempotent by id
  bool end(JobId, const std::string& cause);                   // false: it does not live

  [[nodiscard]] const Job* living(JobId) const;                // nullptr: unknown or ended
  [[nodiscard]] std::vector<JobId> at_home(NodeId) const;      // living ones
  [[nodiscard]] JobRow row(JobId) const;                       // Requires: living.
  [[nodiscard]] const std::map<JobId, Job>& all() const { return jobs_; }
  void check_invariants() const;

 private:
  std::map<JobId, Job> jobs_;
  std::deque<JobId> ended_;   // oldest first
};

}  // namespace rondo::core
