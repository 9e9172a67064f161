#include <rondo/core/peer_book.h>

#include <rondo/base/check.h>

namespace rondo::core {

template <class Id>
bool PeerBook::Obituaries<Id>::add(Id id, const std::string& cause, std::size_t most) {
  if (!causes.emplace(id, cause).second) return false;
  order.push_back(id);
  if (order.size() > most) {
    causes.erase(order.front());
    order.pop_front();
  }
  return true;
}

void PeerBook::meet(ProcessId id, NodeId home, const Address& address) {
  if (!id || dead(id, home)) return;
  Entry& entry = living_[id];
  if (home) entry.home = home;
  if (!address.empty()) entry.address = address;
}

bool PeerBook::dead(ProcessId id, NodeId home) const {
  return dead_.causes.contains(id) || dead(home);
}

bool PeerBook::dead(NodeId node) const { return dead_nodes_.causes.contains(node); }

std::string PeerBook::why(ProcessId id, NodeId home) const {
  if (const auto it = dead_.causes.find(id); it != dead_.causes.end()) return it->second;
  const auto it = dead_nodes_.causes.find(home);
  RONDO_CHECK(it != dead_nodes_.causes.end());
  return it->second;
}

Peer PeerBook::peer(ProcessId id) const {
  const auto it = living_.find(id);
  return {id, it == living_.end() ? Address{} : it->second.address};
}

NodeId PeerBook::home(ProcessId id) const {
  const auto it = living_.find(id);
  return it == living_.end() ? NodeId{} : it->second.home;
}

bool PeerBook::bury(ProcessId id, const std::string& cause) {
  living_.erase(id);
  return dead_.add(id, cause, kDeadMax);
}

std::vector<ProcessId> PeerBook::bury(NodeId node, const std::string& cause) {
  std::vector<ProcessId> out;
  if (!dead_nodes_.add(node, cause, kDeadNodesMax)) return out;
  for (const auto& [id, entry] : living_)
    if (entry.home == node) out.push_back(id);
  return out;
}

}  // namespace rondo::core
