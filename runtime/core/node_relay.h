#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <rondo/core/effects.h>

// NodeRelay: what the processes of a node want of the head, kept until the head has answered.
//
// It is not a queue but a list of open wishes: every wish is idempotent at the head, so after a new
// head has accepted the node the whole list is simply said again. What a watched actor is, is told
// once to the node, and by the node to each of its processes that watches.

namespace rondo::core {

class NodeRelay {
 public:
  static constexpr std::size_t kWishesMax = 262'144;

  void head_changed() { head_ = {}; }
  void head_accepted(ProcessId head, Effects& out);   // says every open wish
  [[nodiscard]] ProcessId head() const { return head_; }

  void start_job(ProcessId driver, const StartJob&, Effects& out);
  void job_started(const JobStarted&, Effects& out);   // → its driver
  void query_job(JobId, Effects& out);
  void job_known(JobId);
  void end_job(JobId, const std::string& cause, Effects& out);
  [[nodiscard]] bool ending(JobId job) const { return ending_.contains(job); }
  void job_ended(JobId, const std::string& cause, Effects& out);   // its wishes go; drivers hear it

  void spawn(ProcessId, const SpawnActor&, Effects& out);
  void watch(ProcessId, const WatchActor&, Effects& out);
  void kill(ProcessId, const KillActor&, Effects& out);
  void update(const ActorUpdate&, Effects& out);       // → those who watch

  void process_gone(ProcessId);
  void check_invariants() const;

 private:
  struct Starting {
    ProcessId driver;
    StartJob start;
  };
  struct NameQuestion {
    ProcessId process;
    RequestId request;           // the process's own
    std::string name;
  };
  struct Watched {
    std::optional<ActorInfo> last;
    bool unknown = false;        // the head has said that it knows no such actor (yet)
    std::set<ProcessId> watchers;
  };

  void say(Message, Effects& out);
  [[nodiscard]] bool full() const;
  void refuse(ProcessId, RequestId, ActorId, Effects& out);

  ProcessId head_;               // 0: none has accepted us
  std::map<JobId, Starting> starting_;
  std::set<JobId> asked_;
  std::map<JobId, std::string> ending_;
  std::map<ActorId, SpawnActor> spawning_;             // until the first word about the actor
  std::set<ActorId> killing_;                          // until it is dead
  std::map<ActorId, Watched> watched_;
  std::map<RequestId, NameQuestion> names_;            // our request → whose question
  std::uint64_t next_request_ = 1;
};

}  // namespace rondo::core
