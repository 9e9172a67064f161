#include <rondo/sim/checkers/checkers.h>
#include <rondo/sim/endpoint.h>

// When every ref is dropped and nobody does anything, nobody holds anything: no cell, no lease, no
// lent or borrowed ref, no object in a store, no message that waits.

namespace rondo::sim {

namespace {
class NothingHeld final : public Checker {
 public:
  [[nodiscard]] const char* name() const override { return "NothingHeld"; }

  std::string on_rest(World& world) override {
    for (const Endpoint* process : world.living()) {
      const std::string held = process->held_at_rest();
      if (!held.empty())
        return std::string(process->kind()) + " " + to_string(process->id()) + " holds " + held;
      if (const ProcessId silent = process->unsettled())
        return std::string(process->kind()) + " " + to_string(process->id()) +
               " waits for an acknowledgement of " + to_string(silent);
    }
    return {};
  }
};
}  // namespace

std::unique_ptr<Checker> nothing_held() { return std::make_unique<NothingHeld>(); }

}  // namespace rondo::sim
