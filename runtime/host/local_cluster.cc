#include <rondo/host/local_cluster.h>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/base/prng.h>
#include <rondo/host/head_host.h>
#include <rondo/host/machine.h>
#include <rondo/host/node_host.h>
#include <rondo/host/private_folder.h>
#include <rondo/store/dirs.h>

namespace rondo::host {

namespace {

// A whole line at once: lines of several workers do not mix.
void write_line(const std::string& line) {
  const std::string text = line + "\n";
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(STDERR_FILENO, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    done += static_cast<std::size_t>(n);
  }
}

}  // namespace

struct LocalCluster::State {
  std::unique_ptr<PrivateFolder> folder;
  std::unique_ptr<HeadHost> head;
  std::vector<std::unique_ptr<NodeHost>> nodes;

  explicit State(std::unique_ptr<PrivateFolder> f) : folder(std::move(f)) {}
  ~State();
  Result<void> start_head(const std::shared_ptr<net::ZmqContext>& context);
  Result<void> start_node(const Options& options, unsigned index,
                          const std::shared_ptr<net::ZmqContext>& context);
};

LocalCluster::State::~State() {
  for (auto& node : nodes) node->stop("its driver ends", {});
  for (auto& node : nodes) node->join();
  nodes.clear();
  if (head) {
    head->stop({});
    head->join();
    head.reset();
  }
}

Result<void> LocalCluster::State::start_head(const std::shared_ptr<net::ZmqContext>& context) {
  HeadHostOptions options;
  auto address = folder->paths().socket_address("head");
  if (!address) return address.error();
  options.listen = std::move(address).value();
  options.state_path = folder->paths().state();
  options.cluster = entropy();
  options.context = context;
  auto opened = HeadHost::open(std::move(options));
  if (!opened) return opened.error();
  head = std::move(opened).value();
  head->start();
  return {};
}

Result<void> LocalCluster::State::start_node(const Options& wanted, unsigned index,
                                             const std::shared_ptr<net::ZmqContext>& context) {
  NodeHostOptions options;
  options.name = "n" + std::to_string(index + 1);
  if (auto made = folder->make_node(options.name); !made) return made.error();
  auto address = folder->paths().socket_address(options.name);
  if (!address) return address.error();
  options.listen = std::move(address).value();
  options.head = head->self();
  options.paths = folder->paths();
  options.socket_folder = folder->paths().sockets();
  const std::uint64_t memory = machine_memory_bytes();
  options.total.cpu_milli = wanted.cpus_per_node > 0
                                ? static_cast<std::int64_t>(wanted.cpus_per_node * 1000)
                                : machine_cpu_milli();
  options.total.memory_bytes =
      static_cast<std::int64_t>(wanted.memory_bytes > 0 ? wanted.memory_bytes : memory);
  options.store_bytes =
      wanted.store_bytes > 0 ? wanted.store_bytes : memory / 10 * 3 / wanted.nodes;
  if (wanted.show_logs) options.show = write_line;
  else options.show = [](const std::string&) {};
  options.context = context;
  auto opened = NodeHost::open(std::move(options));
  if (!opened) return opened.error();
  nodes.push_back(std::move(opened).value());
  nodes.back()->start();
  return {};
}

LocalCluster::LocalCluster(std::unique_ptr<State> state) : state_(std::move(state)) {}
LocalCluster::~LocalCluster() = default;

Result<std::unique_ptr<LocalCluster>> LocalCluster::start(Options options) {
  if (options.nodes == 0) return Error(ErrorCode::kInvalid, "a cluster has at least one node");
  const SignalsBlocked blocked;
  auto home = options.home.empty() ? store::open_home() : store::open_home_at(options.home);
  if (!home) return home.error();
  store::remove_stale(home.value());
  auto folder = PrivateFolder::make(home.value());
  if (!folder) return folder.error();
  auto state = std::make_unique<State>(std::move(folder).value());
  const auto context = std::make_shared<net::ZmqContext>();
  if (auto started = state->start_head(context); !started) return started.error();
  for (unsigned n = 0; n < options.nodes; ++n)
    if (auto started = state->start_node(options, n, context); !started) return started.error();
  return std::unique_ptr<LocalCluster>(new LocalCluster(std::move(state)));
}

core::Peer LocalCluster::node() const { return node(0); }

core::Peer LocalCluster::node(unsigned index) const {
  RONDO_CHECK_LT(index, state_->nodes.size());
  return state_->nodes[index]->self();
}

core::Peer LocalCluster::head() const { return state_->head->self(); }
core::Token LocalCluster::token() const { return {}; }
std::string LocalCluster::socket_folder() const { return state_->folder->paths().sockets(); }
std::string LocalCluster::folder() const { return state_->folder->paths().folder; }

void LocalCluster::flush_logs() {
  for (auto& node : state_->nodes) node->drain_logs();
}

}  // namespace rondo::host
