#include <map>
#include <set>
#include <utility>

#include <rondo/sim/checkers/checkers.h>
#include <rondo/sim/sim_process.h>
#include <rondo/sim/workload.h>

// A call has one terminal result: an attempt of it begins once, its owner never sees two different
// outcomes, and when the faults are over every call has one.

namespace rondo::sim {

namespace {
class OneResult final : public Checker {
 public:
  [[nodiscard]] const char* name() const override { return "OneResult"; }

  std::string on_begun(const Begun& run) override {
    if (attempts_.insert({run.result, run.attempt}).second) return {};
    return "attempt " + std::to_string(run.attempt) + " of call " + to_string(run.result) +
           " begins a second time";
  }
  std::string on_seen(ProcessId who, ObjectId object, const std::uint64_t* token,
                      const core::Failure*) override {
    if (who != object.owner) return {};
    const bool ok = token != nullptr;
    const auto [it, fresh] = outcomes_.emplace(object, ok);
    return fresh || it->second == ok ? std::string()
                                     : "call " + to_string(object) + " has two outcomes";
  }
  std::string on_all_done(World& world) override {
    for (Endpoint* process : world.living()) {
      auto* one = dynamic_cast<SimProcess*>(process);
      if (one == nullptr || one->workload() == nullptr) continue;
      const std::string pending = one->workload()->pending();
      if (!pending.empty()) return "driver " + to_string(one->id()) + ": " + pending;
    }
    return {};
  }

 private:
  std::set<std::pair<ObjectId, std::uint32_t>> attempts_;
  std::map<ObjectId, bool> outcomes_;
};
}  // namespace

std::unique_ptr<Checker> one_result() { return std::make_unique<OneResult>(); }

}  // namespace rondo::sim
