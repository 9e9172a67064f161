#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include <rondo/base/end_signals.h>
#include <rondo/base/ids.h>
#include <rondo/base/log.h>
#include <rondo/base/prng.h>
#include <rondo/host/control_client.h>
#include <rondo/host/head_host.h>
#include <rondo/host/machine.h>
#include <rondo/host/node_host.h>
#include <rondo/host/token.h>
#include <rondo/net/address.h>
#include <rondo/store/dirs.h>

#include "exit_code.h"
#include "find_cluster.h"
#include "options.h"

// `rondo head` and `rondo node`: one daemon in the foreground. Nobody restarts it; `rondo up` does.

namespace rondo::cli {

namespace {

bool is_tcp(const std::string& address) { return address.starts_with("tcp://"); }

// Every worker, extent and peer takes descriptors: as many as this user may have.
void raise_limits() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) log_warn("the limit of descriptors stays low");
}

store::ClusterFolder enter(const std::string& name) {
  const std::string home = need(store::open_home(), kMachine);
  store::remove_stale(home);
  return need(store::ClusterFolder::enter(home, name), kMachine);
}

// The same for every life of this cluster's head.
std::uint64_t cluster_number(const store::ClusterPaths& paths) {
  const std::string path = paths.folder + "/cluster";
  std::uint64_t number = 0;
  if (const auto text = store::read_file(path); text && text.value().size() >= 16)
    std::from_chars(text.value().data(), text.value().data() + 16, number, 16);
  if (number != 0) return number;
  number = entropy();
  need(store::write_file(path, hex(number) + "\n"), kMachine);
  return number;
}

core::Token token_for(const std::string& listen, const store::ClusterPaths& paths) {
  if (!is_tcp(listen)) return {};
  if (std::filesystem::exists(paths.token()))
    return need(host::read_token(paths.token()), kMachine);
  const core::Token token = host::random_token();
  need(host::write_token(paths.token(), token), kMachine);
  return token;
}

// What the daemon's end means for its exit code.
int code_of(int signal, const std::optional<core::Failure>& failure) {
  if (failure && failure->code != ErrorCode::kCancelled) {
    std::fprintf(stderr, "rondo: %s\n", failure->text.c_str());
    return kMachine;
  }
  if (failure) return kDone;  // asked to
  return signal == 0 ? kDone : 128 + signal;
}

// A head that was killed and starts again listens where it did: also on the port it had picked.
std::string listen_address_of(const ClusterOptions& o, const store::ClusterPaths& paths) {
  if (o.listen.empty()) return need(paths.socket_address("head"), kMachine);
  if (!o.listen.ends_with(":*")) return o.listen;
  const auto before = store::read_file(paths.address());
  if (!before || !is_tcp(before.value())) return o.listen;
  return before.value().substr(0, before.value().find('\n'));
}

}  // namespace

void check(const ClusterOptions& o) {
  if (o.heartbeat_s >= o.suspect_s || o.suspect_s >= o.term_s)
    throw Exit{kUsage, "--heartbeat must be less than --suspect, and that less than --term"};
  need(store::check_cluster_name(o.cluster), kUsage);
  if (o.listen.empty()) return;
  if (!is_tcp(o.listen))
    throw Exit{kUsage, "--listen " + o.listen + ": it takes tcp://127.0.0.1:PORT or :*"};
  need(net::check_address(o.listen), kUsage);
}

int run_head(const ClusterOptions& o) {
  check(o);
  log_open("head");
  raise_limits();
  std::atomic<int> signal{0};
  std::unique_ptr<host::HeadHost> head;
  std::mutex mutex;
  EndSignals signals([&](int number) {
    const std::lock_guard lock(mutex);
    signal = number;
    if (head) head->stop();
  }, true);
  store::ClusterFolder folder = enter(o.cluster);
  const Leaving leaving(folder);
  if (o.listen.empty()) need(folder.paths().check_sockets(), kMachine);
  const OwnedFd owned = need(folder.own("head"), kMachine);
  host::HeadHostOptions options;
  options.listen = listen_address_of(o, folder.paths());
  options.token = token_for(options.listen, folder.paths());
  options.state_path = folder.paths().state();
  options.cluster = cluster_number(folder.paths());
  options.heartbeat_every = duration(o.heartbeat_s);
  options.suspect_after = duration(o.suspect_s);
  options.term = duration(o.term_s);
  {
    auto opened = need(host::HeadHost::open(std::move(options)), kMachine);
    const std::lock_guard lock(mutex);
    head = std::move(opened);
    if (signal != 0) head->stop();
  }
  need(store::write_file(folder.paths().address(), head->self().address + "\n"), kMachine);
  std::printf("head listens at %s\n", head->self().address.c_str());
  std::fflush(stdout);
  head->run();
  const int code = code_of(signal, head->failure());
  {
    const std::lock_guard lock(mutex);
    head.reset();
  }
  return code;
}

namespace {

struct Seat {  // a node's place in its cluster's folder
  store::ClusterFolder folder;
  std::string name;
  OwnedFd owned;
};

// The name asked for, or the first that is free.
Seat take_seat(const NodeOptions& o, const host::ClusterPlace& head) {
  const bool at_home = !head.folder.empty() && o.cluster.empty();
  const std::string cluster = at_home ? store::ClusterPaths{head.folder}.name()
                                      : (o.cluster.empty() ? "remote" : o.cluster);
  store::ClusterFolder folder = enter(cluster);
  if (!at_home) {  // drivers and verbs of this RONDO_HOME find the cluster here too
    need(store::write_file(folder.paths().address(), head.address + "\n"), kMachine);
    if (is_tcp(head.address)) need(host::write_token(folder.paths().token(), head.token), kMachine);
  }
  for (unsigned n = 1; n <= 4096; ++n) {
    const std::string name = o.name.empty() ? "n" + std::to_string(n) : o.name;
    auto owned = folder.own("node-" + name);
    if (owned) {
      need(folder.make_node(name), kMachine);
      return {std::move(folder), name, std::move(owned).value()};
    }
    if (!o.name.empty()) {
      folder.leave_and_remove();
      throw Exit{kMachine, "a node " + name + " runs already: name another"};
    }
  }
  throw Exit{kMachine, "no name is free: end some nodes, or give one with --name"};
}

host::NodeHostOptions options_for(const NodeOptions& o, const Seat& seat,
                                  const host::ClusterPlace& place) {
  host::NodeHostOptions options;
  options.name = seat.name;
  options.paths = seat.folder.paths();
  if (is_tcp(place.address)) {
    options.listen = "tcp://127.0.0.1:*";
  } else {
    options.listen = need(seat.folder.paths().socket_address(seat.name), kMachine);
    options.socket_folder = seat.folder.paths().sockets();
  }
  options.token = place.token;
  options.total.cpu_milli =
      o.cpus > 0 ? static_cast<std::int64_t>(o.cpus * 1000) : host::machine_cpu_milli();
  const std::uint64_t memory = o.memory_bytes > 0 ? o.memory_bytes : host::machine_memory_bytes();
  options.total.memory_bytes = static_cast<std::int64_t>(memory);
  options.store_bytes = o.store_bytes > 0 ? o.store_bytes : memory / 10 * 3;
  return options;
}

}  // namespace

int run_node(const NodeOptions& o) {
  if (!o.name.empty() && !store::check_cluster_name(o.name))
    throw Exit{kUsage, "no name for a node: \"" + o.name +
                           "\" (letters, digits, - _ . and at most 64)"};
  log_open(o.name.empty() ? "node" : "node " + o.name);
  raise_limits();
  std::atomic<int> signal{0};
  std::unique_ptr<host::NodeHost> node;
  std::mutex mutex;
  EndSignals signals([&](int number) {
    const std::lock_guard lock(mutex);
    signal = number;
    if (node) node->stop("it was told to end");
  }, true);
  host::ClusterPlace place = find_cluster(o.head);
  if (!o.token_file.empty()) place.token = need(host::read_token(o.token_file), kMachine);
  core::Peer head;
  {
    const auto client = need(host::ControlClient::connect(place), kNoCluster);
    if (!client->is_head())
      throw Exit{kUsage, place.address + " is a node: --head wants the address of its head"};
    head = client->peer();
  }
  Seat seat = take_seat(o, place);
  const Leaving leaving(seat.folder);
  host::NodeHostOptions options = options_for(o, seat, place);
  options.head = head;
  {
    auto opened = need(host::NodeHost::open(std::move(options)), kMachine);
    const std::lock_guard lock(mutex);
    node = std::move(opened);
    if (signal != 0) node->stop("it was told to end");
  }
  std::printf("node %s listens at %s\n", seat.name.c_str(), node->self().address.c_str());
  std::fflush(stdout);
  node->run();
  int code = code_of(signal, node->failure());
  if (code == kMachine) code = kNoCluster;  // a node ends by itself when its head refuses it
  {
    const std::lock_guard lock(mutex);
    node.reset();
  }
  return code;
}

}  // namespace rondo::cli
