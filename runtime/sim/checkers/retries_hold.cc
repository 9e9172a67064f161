#include <map>

#include <rondo/sim/checkers/checkers.h>

// A call begins at most once more than its retries allow: with none, at most once.

namespace rondo::sim {

namespace {
class RetriesHold final : public Checker {
 public:
  explicit RetriesHold(const Checks& checks) : checks_(checks) {}
  [[nodiscard]] const char* name() const override { return "RetriesHold"; }

  std::string on_spawned(const core::ActorSpec& spec) override {
    of_actor_[spec.id] = spec.max_task_retries;
    return {};
  }
  std::string on_begun(const Begun& run) override {
    const Issued* call = checks_.find(run.result);
    if (call == nullptr) return "a call begins that nobody made";
    std::int32_t most = call->retries;
    if (call->kind == core::CallKind::kActor) most = of_actor_[call->actor];
    if (call->bound) most = 0;
    const int times = ++begun_[run.result];
    if (most < 0 || times <= most + 1) return {};
    return "call " + to_string(run.result) + " begins for the " + std::to_string(times) +
           "th time with " + std::to_string(most) + " retries";
  }

 private:
  const Checks& checks_;
  std::map<ActorId, std::int32_t> of_actor_;
  std::map<ObjectId, int> begun_;
};
}  // namespace

std::unique_ptr<Checker> retries_hold(const Checks& checks) {
  return std::make_unique<RetriesHold>(checks);
}

}  // namespace rondo::sim
