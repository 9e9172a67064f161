#include <map>
#include <set>
#include <utility>

#include <rondo/sim/checkers/checkers.h>
#include <rondo/sim/sim_node.h>

// A lease serves one owner, one task at a time; and at every node what is leased and what is free
// make up the whole.

namespace rondo::sim {

namespace {
class LeasesAddUp final : public Checker {
 public:
  [[nodiscard]] const char* name() const override { return "LeasesAddUp"; }

  std::string on_begun(const Begun& run) override {
    if (run.kind != core::CallKind::kTask) return {};
    const auto key = std::pair(run.worker, run.lease);
    const auto [owner, fresh] = owners_.emplace(key, run.result.owner);
    const std::string what = "lease " + std::to_string(run.lease.value) + " of worker " +
                             to_string(run.worker);
    if (!fresh && owner->second != run.result.owner) return what + " serves two owners";
    if (!running_.insert(key).second) return what + " runs two tasks at once";
    return {};
  }
  std::string on_finished(const Begun& run) override {
    if (run.kind == core::CallKind::kTask) running_.erase({run.worker, run.lease});
    return {};
  }
  std::string on_look(World& world) override {
    for (Endpoint* process : world.living()) {
      const auto* node = dynamic_cast<const SimNode*>(process);
      if (node == nullptr) continue;
      core::Shape sum = node->machine_state().leases().free();
      for (const auto& [id, lease] : node->machine_state().leases().leases())
        if (!lease.waiting) sum += lease.shape;
      if (sum.cpu_milli != node->options().total.cpu_milli)
        return "node " + node->options().name + ": leased and free cpu make " +
               std::to_string(sum.cpu_milli) + " of " +
               std::to_string(node->options().total.cpu_milli);
    }
    return {};
  }

 private:
  std::map<std::pair<ProcessId, LeaseId>, ProcessId> owners_;
  std::set<std::pair<ProcessId, LeaseId>> running_;
};
}  // namespace

std::unique_ptr<Checker> leases_add_up() { return std::make_unique<LeasesAddUp>(); }

}  // namespace rondo::sim
