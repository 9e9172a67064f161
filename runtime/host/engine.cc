#include <rondo/engine.h>

#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

#include <rondo/base/log.h>
#include <rondo/base/prng.h>
#include <rondo/exec/parent_watch.h>
#include <rondo/exec/pidfd.h>
#include <rondo/exec/worker_start.h>
#include <rondo/host/fd_watch.h>
#include <rondo/host/find_cluster.h>
#include <rondo/host/interrupts.h>
#include <rondo/host/local_cluster.h>
#include <rondo/host/private_folder.h>
#include <rondo/host/process_host.h>
#include <rondo/host/worker_start.h>
#include <rondo/store/image.h>

// How a program becomes a driver or a worker.

extern char** environ;

namespace rondo::detail {

namespace {

using host::ProcessHost;

// Removes "--rondo-address=A" (and refuses what it does not know of --rondo-*).
std::string take_address(int& argc, char** argv) {
  std::string address;
  int kept = 0;
  for (int i = 0; i < argc; ++i) {
    const std::string_view word = argv[i] == nullptr ? "" : argv[i];
    constexpr std::string_view kFlag = "--rondo-address=";
    if (i > 0 && word.starts_with(kFlag)) {
      address = word.substr(kFlag.size());
      if (address.empty())
        throw Error(ErrorCode::kInvalid, "--rondo-address= wants an address, as in ipc:///run/...");
    } else if (i > 0 && word.starts_with("--rondo-")) {
      throw Error(ErrorCode::kInvalid,
                  "unknown argument " + std::string(word) + "; Rondo knows --rondo-address=A");
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  if (kept >= 0) argv[kept] = nullptr;
  return address;
}

template <class T>
T or_throw(Result<T> result) {
  if (!result) throw Error(result.error());
  return std::move(result).value();
}

void or_throw(Result<void> result) {
  if (!result) throw Error(result.error());
}

core::JobSpec describe_job(const Registry& registry, int argc, char** argv,
                           const store::Image& image) {
  core::JobSpec job;
  job.id = JobId{entropy()};
  job.driver_pid = ::getpid();
  job.executable_hash = image.executable_hash;
  job.executable_name = image.executable_name;
  job.libraries = image.library_lines();
  for (int i = 0; i < argc; ++i) job.arguments.emplace_back(argv[i]);
  for (char** line = environ; *line != nullptr; ++line) job.environment.emplace_back(*line);
  std::error_code ignored;
  job.directory = std::filesystem::current_path(ignored).string();
  job.fingerprint = registry.fingerprint();
  return job;
}

class HostEngine final : public Engine {
 public:
  HostEngine(int& argc, char** argv, const Registry& registry) {
    const std::string address = take_address(argc, argv);
    log_open("driver");
    core::Peer node;
    core::Token token;
    std::string folder;
    if (host::address_is_named(address)) {
      const host::ClusterPlace place = or_throw(host::locate(address));
      node = or_throw(host::find_local_node(place));
      token = place.token;
      folder = place.socket_folder;
    } else {
      interrupts_ = std::make_unique<host::Interrupts>([this] { end_at_once(); },
                                                       host::take_private_folders_along);
      cluster_ = or_throw(host::LocalCluster::start({}));
      node = cluster_->node();
      token = cluster_->token();
      folder = cluster_->socket_folder();
    }
    const ProcessId self{entropy()};
    process_ = std::make_unique<ProcessHost>(
        ProcessHost::Options{.role = core::Role::kDriver,
                             .self = {self, host::listen_address(folder, "d", self)},
                             .node = node,
                             .token = token,
                             .registry = &registry,
                             .label = "driver"});
    or_throw(process_->connect(seconds(5)));
    const store::Image image = or_throw(store::capture_image());
    core::JobSpec job = describe_job(registry, argc, argv, image);
    job.driver = process_->peer();
    job.home_peer = node;
    or_throw(process_->start_job(job, seconds(10)));
    if (!cluster_) watch_node();
    const std::lock_guard lock(ending_);
    whole_ = true;
  }

  ~HostEngine() override {
    {
      const std::lock_guard lock(ending_);  // once a signal has come, this waits for the end
      whole_ = false;
    }
    watch_.reset();
    process_->stop("the Runtime ended");
    process_.reset();
    cluster_.reset();
    interrupts_.reset();
  }

  Client& client() override { return *process_; }

 private:
  // On a thread of interrupts_. Threads that wait in get stay where they are: the process is over
  // before they learn of it. What is only half made, or half destroyed, is left to the kernel.
  void end_at_once() {
    const std::lock_guard lock(ending_);
    if (!whole_) return;
    process_->freeze();
    cluster_.reset();
  }

  void watch_node() {
    node_pidfd_ = exec::open_pidfd(static_cast<pid_t>(process_->node_pid()));
    if (node_pidfd_.get() < 0) return process_->lose_node();
    watch_ = std::make_unique<host::FdWatch>([this](int) { process_->lose_node(); });
    watch_->add(node_pidfd_.get());
  }

  std::mutex ending_;
  bool whole_ = false;                            // GUARDED_BY(ending_)
  std::unique_ptr<host::Interrupts> interrupts_;  // first: made first, ends last
  std::unique_ptr<host::LocalCluster> cluster_;
  std::unique_ptr<ProcessHost> process_;
  OwnedFd node_pidfd_;
  std::unique_ptr<host::FdWatch> watch_;
};

// A worker ends with its node, also when the kernel's signal was lost.
void end_with_parent(std::int64_t node_pid) {
  auto watch = exec::ParentWatch::begin(static_cast<pid_t>(node_pid));
  if (!watch) ::_exit(0);
  std::thread([parent = std::move(watch).value()]() mutable {
    pollfd gone{parent.fd(), POLLIN, 0};
    while (::poll(&gone, 1, -1) <= 0) {
    }
    ::_exit(0);
  }).detach();
}

[[noreturn]] void serve(const Bytes& start_bytes, const Registry& registry) {
  const auto start = host::decode_worker_start(start_bytes);
  if (!start) {
    std::fprintf(stderr, "rondo: this worker cannot start: %s\n", start.error().what());
    ::_exit(5);
  }
  const host::WorkerStart& what = start.value();
  log_open(what.label);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // a killed worker's last lines are in its log
  end_with_parent(what.node_pid);
  if (what.fingerprint != registry.fingerprint()) {
    std::fprintf(stderr,
                 "rondo: this worker's functions are not its driver's; register the same tasks and "
                 "actors in the same "
                 "order in every process\n");
    ::_exit(5);
  }
  auto marks = store::MarksPage::attach(exec::take_inherited(exec::kWorkerMarksFd));
  if (!marks) {
    std::fprintf(stderr, "rondo: this worker cannot start: %s\n", marks.error().what());
    ::_exit(5);
  }
  std::unique_ptr<ProcessHost> process;
  try {
    process = std::make_unique<ProcessHost>(ProcessHost::Options{
        .role = core::Role::kWorker,
        .self = {what.self, host::listen_address(what.socket_folder, "w", what.self)},
        .node = what.node,
        .job = what.job,
        .token = what.token,
        .registry = &registry,
        .marks = std::move(marks).value(),
        .label = what.label});
  } catch (const Error& error) {
    std::fprintf(stderr, "rondo: this worker cannot start: %s\n", error.what());
    ::_exit(5);
  }
  const auto connected = process->connect(seconds(30));
  if (!connected) {
    std::fprintf(stderr, "rondo: this worker cannot reach its node: %s\n",
                 connected.error().what());
    ::_exit(4);
  }
  process->serve();
  ::_exit(0);
}

}  // namespace

std::unique_ptr<Engine> start_engine(int& argc, char** argv, const Registry& registry) {
  serve_if_worker(argc, argv, registry);
  return std::make_unique<HostEngine>(argc, argv, registry);
}

void end_process(int code) {
  host::take_private_folders_along();
  ::_exit(code);
}

void serve_if_worker(int&, char**, const Registry& registry) {
  if (const std::optional<Bytes> start = exec::take_worker_start()) serve(*start, registry);
}

}  // namespace rondo::detail
