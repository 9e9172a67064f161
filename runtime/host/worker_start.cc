#include <rondo/host/worker_start.h>

#include <cstring>
#include <nlohmann/json.hpp>

namespace rondo::host {

namespace {

using nlohmann::json;

json peer_json(const core::Peer& peer) {
  return {{"id", peer.id.value}, {"address", peer.address}};
}

core::Peer peer_of(const json& value) {
  return {ProcessId{value.at("id").get<std::uint64_t>()}, value.at("address").get<std::string>()};
}

}  // namespace

Bytes encode(const WorkerStart& start) {
  const json value = {
      {"self", start.self.value},
      {"node", peer_json(start.node)},
      {"node_id", start.node_id.value},
      {"job", start.job.value},
      {"node_pid", start.node_pid},
      {"token_high", start.token.high},
      {"token_low", start.token.low},
      {"socket_folder", start.socket_folder},
      {"label", start.label},
      {"log_path", start.log_path},
      {"actor_creator", start.actor.creator.value},
      {"actor_number", start.actor.number},
      {"node_name", start.node_name},
      {"fingerprint", start.fingerprint},
  };
  const std::vector<std::uint8_t> packed = json::to_msgpack(value);
  Bytes out(packed.size());
  if (!packed.empty()) std::memcpy(out.data(), packed.data(), packed.size());
  return out;
}

Result<WorkerStart> decode_worker_start(ByteView bytes) {
  const auto* first = reinterpret_cast<const std::uint8_t*>(bytes.data());
  try {
    const json value = json::from_msgpack(first, first + bytes.size());
    WorkerStart start;
    start.self.value = value.at("self").get<std::uint64_t>();
    start.node = peer_of(value.at("node"));
    start.node_id.value = value.at("node_id").get<std::uint64_t>();
    start.job.value = value.at("job").get<std::uint64_t>();
    start.node_pid = value.at("node_pid").get<std::int64_t>();
    start.token = {value.at("token_high").get<std::uint64_t>(),
                   value.at("token_low").get<std::uint64_t>()};
    start.socket_folder = value.at("socket_folder").get<std::string>();
    start.label = value.at("label").get<std::string>();
    start.log_path = value.at("log_path").get<std::string>();
    start.actor = {ProcessId{value.at("actor_creator").get<std::uint64_t>()},
                   value.at("actor_number").get<std::uint64_t>()};
    start.node_name = value.at("node_name").get<std::string>();
    start.fingerprint = value.at("fingerprint").get<std::uint64_t>();
    return start;
  } catch (const json::exception& failure) {
    return Error(
        ErrorCode::kUnavailable,
        std::string("this worker was started by a node of another release: ") + failure.what());
  }
}

core::Address listen_address(const std::string& socket_folder, const std::string& kind,
                             ProcessId id) {
  if (socket_folder.empty()) return "tcp://127.0.0.1:*";
  return "ipc://" + socket_folder + "/" + kind + "-" + to_string(id);
}

}  // namespace rondo::host
