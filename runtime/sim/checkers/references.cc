#include <set>

#include <rondo/sim/checkers/checkers.h>

// Who holds a ref reads the value that its maker put there, or a failure in words; it is lost only
// when its owner died, or its owner's node was declared dead (or, a stored one, the node that had
// it).

namespace rondo::sim {

namespace {
class References final : public Checker {
 public:
  explicit References(const Checks& checks) : checks_(checks) {}
  [[nodiscard]] const char* name() const override { return "References"; }

  std::string on_process_dead(ProcessId process) override {
    dead_.insert(process);
    return {};
  }
  std::string on_head_says(ProcessId, const core::Message& message) override {
    if (const auto* view = std::get_if<core::ClusterView>(&message))
      for (const core::NodeInfo& node : view->nodes)
        if (!node.alive) dead_nodes_.insert(node.id);
    return {};
  }
  std::string on_seen(ProcessId who, ObjectId object, const std::uint64_t* token,
                      const core::Failure* failure) override {
    const std::string what =
        "the object " + to_string(object) + ", seen by " + to_string(who) + ", ";
    const Issued* made = checks_.find(object);
    if (made == nullptr) return what + "was made by nobody";
    if (token != nullptr)
      return *token == made->token ? std::string() : what + "is another value";
    if (failure->text.empty()) return what + "failed without words";
    const bool gone = dead_.contains(object.owner) ||
                      dead_nodes_.contains(checks_.home_of(object.owner));
    if (failure->code == ErrorCode::kObjectLost && !gone)
      return what + "is lost although its owner lives: " + failure->text;
    return {};
  }

 private:
  const Checks& checks_;
  std::set<ProcessId> dead_;
  std::set<NodeId> dead_nodes_;   // declared so, whether they are or not
};
}  // namespace

std::unique_ptr<Checker> references(const Checks& checks) {
  return std::make_unique<References>(checks);
}

}  // namespace rondo::sim
