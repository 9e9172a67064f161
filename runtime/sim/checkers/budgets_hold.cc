#include <map>
#include <set>

#include <rondo/sim/checkers/checkers.h>

// An actor is constructed at most once more than max_restarts says.

namespace rondo::sim {

namespace {
class BudgetsHold final : public Checker {
 public:
  [[nodiscard]] const char* name() const override { return "BudgetsHold"; }

  std::string on_spawned(const core::ActorSpec& spec) override {
    most_[spec.id] = spec.max_restarts;
    return {};
  }
  std::string on_constructed(ActorId actor, Incarnation incarnation, ProcessId) override {
    std::set<Incarnation>& lived = lived_[actor];
    lived.insert(incarnation);
    const std::int32_t most = most_[actor];
    if (most < 0 || lived.size() <= static_cast<std::size_t>(most) + 1) return {};
    return "actor " + to_string(actor) + " lives for the " + std::to_string(lived.size()) +
           "th time with " + std::to_string(most) + " restarts";
  }

 private:
  std::map<ActorId, std::int32_t> most_;
  std::map<ActorId, std::set<Incarnation>> lived_;
};
}  // namespace

std::unique_ptr<Checker> budgets_hold() { return std::make_unique<BudgetsHold>(); }

}  // namespace rondo::sim
