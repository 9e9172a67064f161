#include <rondo/host/find_cluster.h>

#include <signal.h>

#include <cerrno>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include <rondo/host/control_client.h>
#include <rondo/host/machine.h>
#include <rondo/host/token.h>
#include <rondo/net/address.h>
#include <rondo/store/dirs.h>

namespace rondo::host {

namespace {

std::string environment_address() {
  const char* text = std::getenv("RONDO_ADDRESS");
  return text == nullptr ? "" : text;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::string line_in(const std::string& path) {
  auto text = store::read_file(path);
  return text ? trimmed(std::move(text).value()) : std::string();
}

// The addresses of a cluster's head and nodes, as they wrote them down.
std::vector<std::string> addresses_of(const store::ClusterPaths& paths) {
  std::vector<std::string> out{line_in(paths.address())};
  std::error_code failed;
  for (const auto& node : std::filesystem::directory_iterator(paths.folder + "/nodes", failed))
    out.push_back(line_in(node.path().string() + "/address"));
  return out;
}

Result<ClusterPlace> place_in(const store::ClusterPaths& paths, const std::string& address) {
  ClusterPlace place;
  place.address = address;
  place.folder = paths.folder;
  if (address.starts_with("ipc://")) {
    place.socket_folder = std::filesystem::path(address.substr(6)).parent_path().string();
    return place;
  }
  auto token = read_token(paths.token());
  if (!token) return token.error();
  place.token = token.value();
  return place;
}

Result<ClusterPlace> locate_named(const std::string& address) {
  if (auto fine = net::check_address(address); !fine) return fine.error();
  if (const auto home = store::open_home(); home)
    for (const store::ClusterPaths& paths : store::living_clusters(home.value())) {
      const std::vector<std::string> known = addresses_of(paths);
      if (std::find(known.begin(), known.end(), address) != known.end())
        return place_in(paths, address);
    }
  ClusterPlace place;  // another RONDO_HOME's
  place.address = address;
  if (address.starts_with("ipc://")) {
    place.socket_folder = std::filesystem::path(address.substr(6)).parent_path().string();
  } else if (const char* path = std::getenv("RONDO_TOKEN_FILE"); path != nullptr) {
    auto token = read_token(path);
    if (!token) return token.error();
    place.token = token.value();
  }
  return place;
}

}  // namespace

bool address_is_named(const std::string& address) {
  return !address.empty() || !environment_address().empty();
}

Result<ClusterPlace> locate(const std::string& address) {
  const std::string named = address.empty() ? environment_address() : address;
  if (!named.empty()) return locate_named(named);
  auto home = store::open_home();
  if (!home) return home.error();
  std::vector<store::ClusterPaths> shared;
  for (const store::ClusterPaths& paths : store::living_clusters(home.value()))
    if (!store::is_private(paths) && !line_in(paths.address()).empty()) shared.push_back(paths);
  if (shared.size() == 1) return place_in(shared.front(), line_in(shared.front().address()));
  if (shared.empty())
    return Error(ErrorCode::kUnavailable, "no cluster runs in " + home.value() +
                                              ": start one with rondo up, or name one "
                                              "with --address or RONDO_ADDRESS");
  std::string list;
  for (const store::ClusterPaths& paths : shared)
    list += "\n  " + paths.name() + "  " + line_in(paths.address());
  return Error(ErrorCode::kUnavailable,
               "several clusters run in " + home.value() + ": name one with --address:" + list);
}

Result<core::Peer> find_local_node(const ClusterPlace& place, DurationNs timeout) {
  auto client = ControlClient::connect(place, timeout);
  if (!client) return client.error();
  if (!client.value()->is_head()) return client.value()->peer();
  auto text = client.value()->inspect("nodes", timeout);
  if (!text) return text.error();
  const std::string here = to_string(NodeId{machine_identity()});
  const auto rows = nlohmann::json::parse(text.value(), nullptr, false);
  if (!rows.is_array())
    return Error(ErrorCode::kUnavailable, place.address + " answers what is not a list of nodes");
  for (const auto& row : rows) {
    if (row.value("state", "") != "alive") continue;
    if (row.contains("machine") && row.value("machine", "") != here) continue;
    const std::int64_t pid = row.value("pid", std::int64_t{0});
    if (pid > 0 && ::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) continue;  // it died
    const std::string process = row.value("process", "");
    core::Peer peer{{}, row.value("address", "")};
    std::from_chars(process.data(), process.data() + process.size(), peer.id.value, 16);
    if (peer.id && !peer.address.empty()) return peer;
  }
  return Error(ErrorCode::kUnavailable,
               "the cluster at " + place.address +
                   " has no living node on this machine: start one with rondo node --head " +
                   place.address);
}

}  // namespace rondo::host
