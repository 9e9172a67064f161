#include <rondo/host/worker_processes.h>

#include <signal.h>
#include <unistd.h>

#include <utility>

#include <rondo/exec/log_tail.h>
#include <rondo/exec/worker_start.h>
#include <rondo/host/worker_start.h>

namespace rondo::host {

namespace {

constexpr std::size_t kLastLines = 10;

// The job's environment, the worker's descriptor, and the folder of its libraries in front.
std::vector<std::string> environment_of(const core::JobSpec& job, const std::string& libraries) {
  const std::string path = "LD_LIBRARY_PATH=";
  const std::string mine = std::string(exec::kWorkerVariable) + "=";
  std::vector<std::string> out;
  std::string search;
  for (const std::string& line : job.environment) {
    if (line.starts_with(mine)) continue;
    if (line.starts_with(path) && !libraries.empty()) search = line.substr(path.size());
    else out.push_back(line);
  }
  if (!libraries.empty()) {
    std::string value = path + libraries;
    if (!search.empty()) value += ":" + search;
    out.push_back(std::move(value));
  }
  out.push_back(exec::worker_variable());
  return out;
}

}  // namespace

WorkerProcesses::WorkerProcesses(Options options)
    : options_(std::move(options)), launcher_(std::make_unique<exec::ProcessLauncher>()) {}

std::string WorkerProcesses::log_path(ProcessId worker) const {
  return options_.logs_folder + "/w-" + to_string(worker) + ".log";
}

Result<void> WorkerProcesses::expect(const core::StartWorker& start) {
  Worker worker;
  worker.job = start.job;
  worker.shape = start.shape;
  worker.actor = start.actor;
  worker.label = start.label;
  worker.log_path = log_path(start.worker);
  auto marks = store::MarksPage::create();
  if (marks) {
    worker.marks = std::move(marks).value();
    if (term_end_ != kNever) worker.marks->set_term_end(term_end_);
  }
  workers_.emplace(start.worker, std::move(worker));
  if (!marks) return marks.error();
  return {};
}

bool WorkerProcesses::give(ProcessId id, ActorId actor, const std::string& label) {
  const auto it = workers_.find(id);
  if (it == workers_.end()) return false;
  it->second.actor = actor;
  it->second.label = label;
  return true;
}

void WorkerProcesses::launch(ProcessId id, const std::string& executable,
                             const std::string& library_folder) {
  const auto it = workers_.find(id);
  if (it == workers_.end() || !launcher_) return;  // stopped meanwhile
  Worker& worker = it->second;
  WorkerStart start;
  start.self = id;
  start.node = options_.node;
  start.node_id = options_.node_id;
  start.job = worker.job.id;
  start.node_pid = ::getpid();
  start.token = options_.token;
  start.socket_folder = options_.socket_folder;
  start.label = worker.label;
  start.log_path = worker.log_path;
  start.actor = worker.actor;
  start.node_name = options_.node_name;
  start.fingerprint = worker.job.fingerprint;
  auto packed = exec::pack_worker_start(encode(start));
  worker.launching = true;
  if (!packed) {
    land({id, packed.error()});
    return;
  }
  exec::LaunchSpec spec;
  spec.executable = executable;
  spec.arguments = worker.job.arguments;
  if (spec.arguments.empty()) spec.arguments.push_back(worker.job.executable_name);
  spec.environment = environment_of(worker.job, library_folder);
  spec.directory = worker.job.directory;
  spec.descriptors = {{packed.value().get(), exec::kWorkerStartFd},
                      {worker.marks->fd(), exec::kWorkerMarksFd}};
  spec.log_path = worker.log_path;
  // The packed descriptor lives until the child has it.
  auto hold = std::make_shared<OwnedFd>(std::move(packed).value());
  launcher_->launch(std::move(spec), [this, id, hold](Result<exec::Launched> child) {
    land({id, std::move(child)});
  });
}

void WorkerProcesses::land(Landed landed) {
  {
    const std::lock_guard lock(mutex_);
    landed_.push_back(std::move(landed));
  }
  options_.wake();
}

void WorkerProcesses::take_landed(Changes& changes) {
  std::vector<Landed> landed;
  {
    const std::lock_guard lock(mutex_);
    landed.swap(landed_);
  }
  for (auto& [id, child] : landed) {
    const auto it = workers_.find(id);
    RONDO_CHECK(it != workers_.end());  // while launching it is not forgotten
    it->second.launching = false;
    if (!child) {
      changes.gone.push_back(bury(id, child.error().what()));
      continue;
    }
    it->second.pid = child.value().pid;
    watcher_.watch_child(id, std::move(child).value());
    changes.launched.push_back(id);
    if (!it->second.stop_cause.empty()) watcher_.kill(id);
  }
}

std::optional<WorkerProcesses::Gone> WorkerProcesses::failed(ProcessId id,
                                                             const std::string& cause) {
  if (!workers_.contains(id)) return std::nullopt;
  return bury(id, cause);
}

std::optional<WorkerProcesses::Gone> WorkerProcesses::stop(ProcessId id, const std::string& cause) {
  const auto it = workers_.find(id);
  if (it == workers_.end()) return std::nullopt;
  if (it->second.stop_cause.empty()) it->second.stop_cause = cause.empty() ? "stopped" : cause;
  if (it->second.launching) return std::nullopt;
  if (it->second.pid == 0) return bury(id, it->second.stop_cause);
  watcher_.kill(id);
  return std::nullopt;
}

Result<void> WorkerProcesses::watch_other(ProcessId process, std::int64_t pid) {
  return watcher_.watch_other(process, static_cast<pid_t>(pid));
}

WorkerProcesses::Changes WorkerProcesses::poll() {
  Changes changes;
  take_landed(changes);
  for (const exec::Exit& exit : watcher_.poll()) {
    const auto it = workers_.find(exit.process);
    if (it == workers_.end()) {
      changes.gone.push_back({exit.process, false, {}, exit.cause, {}});
      continue;
    }
    const std::string cause = cause_of(it->second, exit);
    changes.gone.push_back(bury(exit.process, cause));
  }
  return changes;
}

// Why, where its words are, and its last words if it fell by itself.
std::string WorkerProcesses::cause_of(const Worker& worker, const exec::Exit& exit) const {
  if (!worker.stop_cause.empty()) return worker.stop_cause;
  std::string cause = exit.cause + "; log " + worker.log_path;
  const bool fell = exit.signal ? *exit.signal != SIGKILL : exit.code.value_or(0) != 0;
  if (!fell) return cause;
  const std::string words = exec::last_lines(worker.log_path, kLastLines);
  if (!words.empty()) cause += "; its last lines:\n" + words;
  return cause;
}

WorkerProcesses::Gone WorkerProcesses::bury(ProcessId id, const std::string& cause) {
  const auto it = workers_.find(id);
  Gone gone{id, true, it->second.job.id, cause, {}};
  if (it->second.marks && it->second.pid != 0) {
    store::MarksPage::Begun begun = it->second.marks->read();
    gone.begun = std::move(begun.marks);
    // Process 0 is everybody: more callers than the page had room for.
    if (begun.everything) gone.begun = {{ProcessId{}, UINT64_MAX}};
  }
  workers_.erase(it);
  return gone;
}

void WorkerProcesses::set_term_end(TimeNs end) {
  term_end_ = end;
  for (auto& [id, worker] : workers_)
    if (worker.marks) worker.marks->set_term_end(end);
}

const WorkerProcesses::Worker* WorkerProcesses::find(ProcessId worker) const {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? nullptr : &it->second;
}

bool WorkerProcesses::any_of(JobId job) const {
  for (const auto& [id, worker] : workers_)
    if (worker.job.id == job) return true;
  return false;
}

void WorkerProcesses::kill_all() {
  launcher_.reset();  // what it is just starting lands, or ends with it
  Changes changes;
  take_landed(changes);
  for (const auto& [id, worker] : workers_)
    if (worker.pid != 0) watcher_.kill(id);
  for (const exec::Exit& exit : watcher_.wait_all(seconds(2))) workers_.erase(exit.process);
}

}  // namespace rondo::host
