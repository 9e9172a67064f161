#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include <rondo/core/types.h>

// PeerBook: whom we have met, where they live, and who of them is dead.
//
// Picture an address book with a page of obituaries. A death is told by process, or, when a whole
// node is lost, by node alone: nobody is left there who could name its processes. So everybody's
// house is written down when they are met, and when a house is lost all who lived there are dead.
//
// News travel different ways, so a name may be met after its death was told: the obituaries are
// kept, the newest kDeadMax of them, and whoever is named in them is not met again.
//
// Loop only. Ordered: iteration is part of determinism.

namespace rondo::core {

class PeerBook {
 public:
  static constexpr std::size_t kDeadMax = 65'536;
  static constexpr std::size_t kDeadNodesMax = 4'096;

  // A home of 0 or an empty address leaves what is known.
  void meet(ProcessId, NodeId home, const Address& = {});
  // The process, or the node that it is said to live on, is dead.
  [[nodiscard]] bool dead(ProcessId, NodeId home = {}) const;
  [[nodiscard]] bool dead(NodeId) const;
  [[nodiscard]] std::string why(ProcessId, NodeId home = {}) const;   // Requires: dead.
  [[nodiscard]] Peer peer(ProcessId) const;        // the address is empty if it is not known
  [[nodiscard]] NodeId home(ProcessId) const;      // 0: not known

  bool bury(ProcessId, const std::string& cause);  // false: it was buried before
  // Those who lived there; each is to be buried too. None if the node was buried before.
  [[nodiscard]] std::vector<ProcessId> bury(NodeId, const std::string& cause);
  [[nodiscard]] std::size_t met() const { return living_.size(); }

 private:
  struct Entry {
    NodeId home;
    Address address;
  };
  template <class Id>
  struct Obituaries {
    std::map<Id, std::string> causes;
    std::deque<Id> order;
    bool add(Id id, const std::string& cause, std::size_t most);
  };

  std::map<ProcessId, Entry> living_;
  Obituaries<ProcessId> dead_;
  Obituaries<NodeId> dead_nodes_;
};

}  // namespace rondo::core
