#include <rondo/base/limits.h>
#include <rondo/sim/checkers/checkers.h>
#include <rondo/sim/sim_process.h>

// Queues stay within their bounds (each machine checks its own), and a mailbox holds no more than
// was ever made.

namespace rondo::sim {

namespace {
class QueuesBounded final : public Checker {
 public:
  [[nodiscard]] const char* name() const override { return "QueuesBounded"; }

  std::string on_issued(const Issued&) override {
    ++made_;
    return {};
  }
  std::string on_look(World& world) override {
    for (Endpoint* process : world.living()) {
      process->check_invariants();
      auto* one = dynamic_cast<SimProcess*>(process);
      if (one == nullptr) continue;
      const core::Process& machine = one->machine_state();
      if (machine.mailbox().queued() > made_ || machine.calls() > limits::kCallsQueuedMax)
        return "process " + to_string(one->id()) + " has " +
               std::to_string(machine.mailbox().queued()) + " calls in its mailboxes";
    }
    return {};
  }

 private:
  std::size_t made_ = 0;
};
}  // namespace

std::unique_ptr<Checker> queues_bounded() { return std::make_unique<QueuesBounded>(); }

}  // namespace rondo::sim
