#include <rondo/host/node_host.h>

#include <unistd.h>

#include <algorithm>
#include <utility>

#include <rondo/base/log.h>
#include <rondo/base/prng.h>
#include <rondo/host/clock.h>
#include <rondo/host/machine.h>
#include <rondo/host/release.h>

// NodeHost: opening, what comes in, and deaths. Carrying out effects: node_effects.cc.

namespace rondo::host {

namespace {
constexpr DurationNs kSeekFirst = milliseconds(200);  // the head's id is not known yet
constexpr DurationNs kSeekAgain = milliseconds(250);
constexpr std::size_t kLogLinesBytes = std::size_t{32} << 10;
constexpr std::size_t kDeadLogsMax = 1'000;
}  // namespace

NodeHost::NodeHost(Options options)
    : options_(std::move(options)), id_(entropy()), head_(options_.head) {}

NodeHost::~NodeHost() {
  watch_.reset();
  if (files_) files_->finish();  // their tasks use this host
  if (memory_) memory_->finish();
  if (workers_) workers_->kill_all();
}

Result<std::unique_ptr<NodeHost>> NodeHost::open(Options options) {
  std::unique_ptr<NodeHost> host(new NodeHost(std::move(options)));
  if (auto ready = host->prepare(); !ready) return ready.error();
  return host;
}

Result<void> NodeHost::prepare() {
  const SignalsBlocked blocked;
  DaemonLoop::Options loop;
  loop.self = {ProcessId{entropy()}, options_.listen};
  loop.token = options_.token;
  loop.context = options_.context;
  loop.thread_name = "rondo-" + options_.name;
  auto opened = DaemonLoop::open(std::move(loop));
  if (!opened) return opened.error();
  loop_ = std::move(opened).value();
  if (auto ready = prepare_store(); !ready) return ready.error();
  if (auto ready = prepare_workers(); !ready) return ready.error();

  core::NodeOptions node;
  node.self.id = id_;
  node.self.peer = loop_->self();
  node.self.name = options_.name;
  node.self.total = node.self.free = options_.total;
  node.self.pid = ::getpid();
  node.self.machine = machine_identity();
  node.head = head_;
  node.seed = entropy();
  node.release = kRelease;
  node.store_bytes = options_.store_bytes;
  node_ = std::make_unique<core::Node>(std::move(node));
  return store::write_file(options_.paths.node(options_.name) + "/address",
                           loop_->self().address + "\n");
}

Result<void> NodeHost::prepare_store() {
  auto board = store::GenerationBoard::create();
  if (!board) return board.error();
  board_ = std::move(board).value();
  extents_ = std::make_unique<store::ExtentServer>(board_);
  memory_ = std::make_unique<WorkThread>("rondo-memory");
  auto files = JobFiles::open(options_.paths.cache(options_.name));
  if (!files) return files.error();
  files_ = std::move(files).value();
  return {};
}

Result<void> NodeHost::prepare_workers() {
  WorkerProcesses::Options workers;
  workers.node = loop_->self();
  workers.node_id = id_;
  workers.node_name = options_.name;
  workers.token = options_.token;
  workers.socket_folder = options_.socket_folder;
  workers.logs_folder = options_.paths.logs();
  workers.wake = [this] {
    loop_->post([this](TimeNs now, core::Effects& out) { look_at_processes(now, out); });
  };
  workers_ = std::make_unique<WorkerProcesses>(std::move(workers));
  auto logs =
      LogForwarder::open(options_.paths.logs(), [this](const WorkerLines& lines) { show(lines); });
  if (logs) logs_ = std::move(logs).value();
  else log_warn(logs.error().what());  // workers run without it; their logs are files
  watch_ = std::make_unique<FdWatch>([this](int fd) {
    loop_->post([this, fd](TimeNs now, core::Effects& out) {
      look_at_processes(now, out);
      watch_->rearm(fd);
    });
  });
  watch_->add(workers_->fd());
  return {};
}

void NodeHost::on_start(TimeNs now, core::Effects& out) {
  head_heard_ = now;
  seek_at_ = head_.id ? now + kSeekAgain : now;
  node_->start(now, out);
}

// ---- what comes in ---------------------------------------------------------------------------

void NodeHost::on_peer(TimeNs, const core::Peer& peer, core::Effects&) {
  // Answers must find their way even where the machine sends none by itself.
  log_debug("met " + to_string(peer.id) + " at " + peer.address);
}

void NodeHost::on_message(TimeNs now, ProcessId from, const core::Message& message,
                          core::Effects& out) {
  if (failure_) return;
  if (from == head_.id) head_heard_ = now;
  if (const auto* hello = std::get_if<core::Hello>(&message)) {
    met(now, *hello, out);
    return;
  }
  if (const auto* refused = std::get_if<core::Refused>(&message); refused && from != head_.id)
    return end(refused->failure);  // our head came back as one that does not want us
  if (const auto* welcome = std::get_if<core::Welcome>(&message)) {
    if (!welcome->node) head_spoke(now, from, out);
  } else if (const auto* accepted = std::get_if<core::NodeAccepted>(&message)) {
    heartbeat_every_ = accepted->heartbeat_every;
  }
  if (const auto* ask = std::get_if<core::Inspect>(&message); ask && ask->what == "head") {
    out.send(from, core::Inspected{ask->request, options_.head.address, {}});
    return;
  }
  node_->on_message(now, from, message, out);
  if (const auto* ended = std::get_if<core::EndJob>(&message)) {
    ended_jobs_.insert(ended->job);
    forget_job(ended->job);
  } else if (std::holds_alternative<core::Goodbye>(message)) {
    const auto local = locals_.find(from);
    if (local != locals_.end() && local->second == core::Role::kClient) {
      locals_.erase(local);
      workers_->forget_other(from);
      out.add(core::Forget{from});
    }
  }
}

// Whoever lives on this machine is watched by its pid, so that its death is known at once.
void NodeHost::met(TimeNs now, const core::Hello& hello, core::Effects& out) {
  const bool local = hello.role == core::Role::kDriver || hello.role == core::Role::kClient;
  const ProcessId process = hello.self.id;
  if (!local || hello.pid <= 0 || !locals_.emplace(process, hello.role).second) {
    node_->on_message(now, process, hello, out);
    return;
  }
  const bool lives = workers_->watch_other(process, hello.pid).ok();
  node_->on_message(now, process, hello, out);
  if (!lives) gone(now, {process, false, {}, "is gone", {}}, out);
}

// A head answered our greeting: the same one, or a later life of it.
void NodeHost::head_spoke(TimeNs now, ProcessId from, core::Effects& out) {
  head_heard_ = now;
  if (from == head_.id) return;
  head_ = {from, options_.head.address};
  node_->on_head_changed(now, head_, out);
}

void NodeHost::seek_head(TimeNs now) {
  // Every heartbeat is answered: after one and a half without a word the head may have died.
  const bool silent = now - head_heard_ > DurationNs{heartbeat_every_.ns * 3 / 2};
  seek_at_ = now + (head_.id ? kSeekAgain : kSeekFirst);
  if (head_.id && !silent) return;
  core::Hello hello;
  hello.self = loop_->self();
  hello.role = core::Role::kNode;
  hello.pid = ::getpid();
  hello.version = limits::kProtocolVersion;
  hello.release = kRelease;
  loop_->greet(options_.head.address, hello);
}

void NodeHost::on_broken(TimeNs now, ProcessId peer, const std::string& why, core::Effects& out) {
  node_->on_link_broken(now, peer, why, out);
}

TimeNs NodeHost::next_deadline() const {
  return std::min({node_->next_deadline(), seek_at_, unheld_at_});
}

void NodeHost::on_deadline(TimeNs now, core::Effects& out) {
  if (seek_at_ <= now) seek_head(now);
  if (unheld_at_ <= now) look_at_unheld(now, out);
  if (!failure_ && node_->next_deadline() <= now) node_->on_deadline(now, out);
}

// ---- deaths ----------------------------------------------------------------------------------

void NodeHost::look_at_processes(TimeNs now, core::Effects& out) {
  WorkerProcesses::Changes changes = workers_->poll();
  for (const ProcessId id : changes.launched) {
    const WorkerProcesses::Worker* worker = workers_->find(id);
    if (worker == nullptr) continue;  // gone in the same look
    if (logs_) logs_->follow(id, worker->job.id, worker->label, worker->pid, worker->log_path);
    if (worker->actor) actor_logs_[worker->actor] = id;
  }
  for (const WorkerProcesses::Gone& each : changes.gone) gone(now, each, out);
}

void NodeHost::gone(TimeNs now, const WorkerProcesses::Gone& gone, core::Effects& out) {
  if (gone.worker) {
    if (logs_) logs_->finish(gone.process);
    keep_log(gone.process);
  }
  holds_.remove(gone.process);
  remove_socket(gone.process);
  locals_.erase(gone.process);
  if (!failure_) node_->on_process_exited(now, gone.process, gone.cause, gone.begun, out);
  if (gone.worker) forget_job(gone.job);
  if (!unheld_.empty()) look_at_unheld(now, out);
}

// Where it listened: a process that was killed leaves its socket. Ids are never used again.
void NodeHost::remove_socket(ProcessId process) {
  if (options_.socket_folder.empty()) return;
  for (const char* kind : {"w", "d", "c"})
    ::unlink((options_.socket_folder + "/" + kind + "-" + to_string(process)).c_str());
}

// The dead's logs stay for people to read: the latest of them.
void NodeHost::keep_log(ProcessId worker) {
  dead_logs_.push_back(worker);
  if (dead_logs_.size() <= kDeadLogsMax) return;
  ::unlink(workers_->log_path(dead_logs_.front()).c_str());
  std::erase_if(actor_logs_, [&](const auto& log) { return log.second == dead_logs_.front(); });
  dead_logs_.pop_front();
}

void NodeHost::forget_job(JobId job) {
  if (!ended_jobs_.contains(job) || workers_->any_of(job)) return;
  ended_jobs_.erase(job);
  drivers_.erase(job);
  files_->run([this, job] { files_->release(job); });
}

void NodeHost::end(core::Failure failure) {
  if (!failure_) failure_ = std::move(failure);
  workers_->kill_all();
  loop_->stop();
}

void NodeHost::stop(const std::string& reason, DurationNs patience) {
  loop_->post([this, reason, patience](TimeNs, core::Effects& out) {
    if (head_.id) out.send(head_.id, core::Goodbye{reason});
    workers_->kill_all();
    loop_->stop(patience);
  });
}

// ---- logs ------------------------------------------------------------------------------------

void NodeHost::drain_logs() {
  if (logs_) logs_->drain();
}

// On the forwarder's thread, or on the loop's when a worker has died.
void NodeHost::show(const WorkerLines& lines) {
  if (options_.show) {
    for (const std::string& line : lines.lines)
      options_.show(shown_line(lines.label, options_.name, lines.pid, line));
    return;
  }
  std::vector<core::LogLines> messages;
  std::size_t bytes = kLogLinesBytes;
  for (const std::string& line : lines.lines) {
    if (bytes + line.size() > kLogLinesBytes) {
      messages.push_back({options_.name, lines.label, lines.pid, {}});
      bytes = 0;
    }
    bytes += line.size() + 1;
    messages.back().lines.push_back(line);
  }
  loop_->post([this, job = lines.job, messages = std::move(messages)](TimeNs, core::Effects& out) {
    const auto driver = drivers_.find(job);
    if (driver == drivers_.end()) return;
    out.learn(driver->second);
    for (const core::LogLines& message : messages) out.datagram(driver->second.id, message);
  });
}

}  // namespace rondo::host
