#include <algorithm>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/core/node.h>

// Node: jobs and their files; questions of its processes to the head.

namespace rondo::core {

void Node::on(Step& step, ProcessId from, const StartJob& start) {
  const auto it = processes_.find(from);
  if (it == processes_.end() || it->second.role != Role::kDriver) return;
  StartJob ours = start;
  ours.job.home = options_.self.id;
  ours.job.home_peer = options_.self.peer;
  it->second.job = ours.job.id;
  relay_.start_job(from, ours, step.out);
  learn_job(step, ours.job);
}

void Node::on(Step& step, ProcessId from, const JobStarted& started) {
  if (from == options_.head.id) relay_.job_started(started, step.out);
}

void Node::on(Step& step, ProcessId from, const JobInfo& info) {
  if (from != options_.head.id) return;
  relay_.job_known(info.job.id);
  learn_job(step, info.job);
  pump(step);
}

void Node::on(Step& step, ProcessId from, const EndJob& end) {
  if (from == options_.head.id) {
    relay_.job_ended(end.job, end.cause, step.out);
    end_job(step, end.job, end.cause);
    pump(step);
    return;
  }
  const auto job = jobs_.find(end.job);   // a driver ends its own
  if (job != jobs_.end() && job->second.spec.driver.id == from) {
    relay_.end_job(end.job, end.cause, step.out);
    end_job(step, end.job, end.cause);
    pump(step);
  }
}

void Node::ask_job(Step& step, JobId id) {
  if (jobs_.contains(id)) return;
  jobs_[id];
  relay_.query_job(id, step.out);
}

void Node::learn_job(Step& step, const JobSpec& spec) {
  Job& job = jobs_[spec.id];
  if (job.state != Job::State::kAsked) return;
  job.spec = spec;
  job.state = Job::State::kChecking;
  step.out.add(CheckFiles{spec, spec.home == options_.self.id});
}

void Node::on_files_checked(TimeNs now, JobId id, const std::vector<std::string>& missing_hashes,
                            const std::optional<Failure>& failure, Effects& out) {
  Step step{now, out};
  const auto it = jobs_.find(id);
  if (ended_ || it == jobs_.end() || it->second.state != Job::State::kChecking) return;
  Job& job = it->second;
  if (failure) {
    job_failed(step, job, *failure);
  } else if (missing_hashes.empty()) {
    job_ready(step, job);
  } else if (job.spec.home == options_.self.id) {
    job_failed(step, job, {ErrorCode::kUnavailable,
                           "the driver's executable or libraries could not be read"});
  } else {
    job.state = Job::State::kFetching;
    files_.want(id, job.spec.home_peer, missing_hashes, out);
  }
  take_files(step);
}

void Node::on_file_written(TimeNs now, const std::string& hash, bool ok, Effects& out) {
  if (ended_) return;
  Step step{now, out};
  files_.on_written(hash, ok, out);
  take_files(step);
}

namespace {
// A file is asked for by its content hash; a user knows its name.
std::string with_names(const JobSpec& job, std::string text) {
  const auto name = [&text](const std::string& hash, const std::string& name_of) {
    for (const std::string& form : {hash, hash.substr(0, 16)})
      for (std::size_t at = 0; !form.empty() && (at = text.find(form, at)) != std::string::npos;
           at += name_of.size())
        text.replace(at, form.size(), name_of);
  };
  name(job.executable_hash, job.executable_name);
  for (const std::string& line : job.libraries)
    if (const std::size_t blank = line.find(' '); blank != std::string::npos)
      name(line.substr(0, blank), line.substr(blank + 1));
  return text;
}
}  // namespace

void Node::take_files(Step& step) {
  for (const JobFiles::Done& done : files_.take_done()) {
    const auto it = jobs_.find(done.job);
    if (it == jobs_.end() || it->second.state != Job::State::kFetching) continue;
    if (done.failure) {
      const Job& job = it->second;
      job_failed(step, it->second, {done.failure->code, with_names(job.spec, done.failure->text)});
    } else {
      job_ready(step, it->second);
    }
  }
}

void Node::job_ready(Step& step, Job& job) {
  job.state = Job::State::kReady;
  if (options_.prestart && job.spec.home == options_.self.id) job.spare_at = step.now;
  for (auto& [id, actor] : actors_)
    if (actor.spec.job == job.spec.id && !actor.worker) give_worker(step, actor);
  keep_spares(step);
  pump(step);
}

void Node::job_failed(Step& step, Job& job, const Failure& failure) {
  job.state = Job::State::kFailed;
  job.failure = failure;
  std::vector<ActorId> here;
  for (const auto& [id, actor] : actors_)
    if (actor.spec.job == job.spec.id) here.push_back(id);
  for (const ActorId id : here) actor_gone(step, id, failure.text, false);
  pump(step);
}

void Node::end_job(Step& step, JobId id, const std::string& cause) {
  const auto it = jobs_.find(id);
  if (it == jobs_.end()) return;
  const ProcessId driver = it->second.spec.driver.id;
  if (processes_.contains(driver)) step.out.send(driver, EndJob{id, cause});
  jobs_.erase(it);
  files_.forget_job(id);
  for (const LeaseWish& wish : leases_.cancel_job(id))
    refuse(step, wish, {ErrorCode::kCancelled, "the job has ended: " + cause});
  for (auto actor = actors_.begin(); actor != actors_.end();) {
    if (actor->second.spec.job == id) {
      leases_.give_actor(actor->second.spec.shape);
      actor = actors_.erase(actor);
    } else {
      ++actor;
    }
  }
  std::vector<ProcessId> workers;
  for (const auto& [process, worker] : pool_.all())
    if (worker.job == id) workers.push_back(process);
  for (const ProcessId process : workers)
    stop_worker(step, process, "its job has ended: " + cause);
  store_.end_job(step.now, id, step.out);
}

// ---- between processes and the head ----------------------------------------------------------

void Node::on(Step& step, ProcessId from, const SpawnActor& spawn) {
  if (processes_.contains(from)) relay_.spawn(from, spawn, step.out);
}

void Node::on(Step& step, ProcessId from, const WatchActor& watch) {
  if (processes_.contains(from)) relay_.watch(from, watch, step.out);
}

void Node::on(Step& step, ProcessId from, const KillActor& kill) {
  if (processes_.contains(from)) relay_.kill(from, kill, step.out);
}

void Node::on(Step& step, ProcessId from, const ActorUpdate& update) {
  if (from == options_.head.id) relay_.update(update, step.out);
}

// ---- inspection ------------------------------------------------------------------------------

void Node::on(Step& step, ProcessId from, const Inspect& ask) {
  if (ask.what == "workers") {
    step.out.add(Answer{from, ask.request, list_workers()});
  } else if (ask.what == "objects") {
    step.out.add(Answer{from, ask.request, store_.listing(options_.self.name)});
  } else if (ask.what == "status") {
    step.out.add(Answer{from, ask.request, status()});
  } else if (ask.what.starts_with("log ")) {
    step.out.add(ShowLog{from, ask.request, ask.what.substr(4)});
  } else {
    step.out.send(from, Inspected{ask.request, {},
                                  {{ErrorCode::kNotFound,
                                    "a node knows workers, objects, status and log ID, not \"" +
                                        ask.what + "\": ask the head"}}});
  }
}

Listing Node::list_workers() const {
  Listing out;
  for (const auto& [id, worker] : pool_.all()) {
    std::string state = "idle";
    if (worker.state == Worker::State::kStarting) state = "starting";
    else if (worker.state == Worker::State::kStopping) state = "stopping";
    else if (worker.actor) state = "actor";
    else if (!worker.leases.empty())
      state = worker.waiting.size() == worker.leases.size() ? "waiting" : "leased";
    out.rows.push_back({{"id", to_string(id)},
                        {"pid", worker.pid},
                        {"node", options_.self.name},
                        {"job", to_string(worker.job)},
                        {"state", state},
                        {"actor", worker.actor ? to_string(worker.actor) : std::string()}});
  }
  return out;
}

Listing Node::status() const {
  const Shape free = leases_.free();
  return {{{{"id", to_string(options_.self.id)},
            {"name", options_.self.name},
            {"address", options_.self.peer.address},
            {"pid", options_.self.pid},
            {"state", std::string(!joined() ? "joining" : fenced() ? "fenced" : "alive")},
            {"cpus", options_.self.total.cpu_milli / 1000},
            {"cpus_free", free.cpu_milli / 1000},
            {"workers", static_cast<std::int64_t>(pool_.all().size())},
            {"leases", static_cast<std::int64_t>(leases_.leases().size())},
            {"waiting", static_cast<std::int64_t>(leases_.waiting())},
            {"store_bytes", static_cast<std::int64_t>(store_.bytes_reserved())},
            {"store_bytes_max", static_cast<std::int64_t>(options_.store_bytes)},
            {"objects", static_cast<std::int64_t>(store_.objects())}}}};
}

}  // namespace rondo::core
