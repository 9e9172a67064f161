#include <map>
#include <tuple>

#include <rondo/sim/checkers/checkers.h>

// An actor's incarnation begins the calls of one caller in the order in which they were made, each
// at most once. (Calls that failed before leave gaps.)

namespace rondo::sim {

namespace {
class CallerOrder final : public Checker {
 public:
  [[nodiscard]] const char* name() const override { return "CallerOrder"; }

  std::string on_issued(const Issued& call) override {
    if (call.kind == core::CallKind::kActor) sequences_[call.result] = call.sequence;
    return {};
  }
  std::string on_begun(const Begun& run) override {
    if (run.kind != core::CallKind::kActor) return {};
    const std::uint64_t sequence = sequences_[run.result];
    std::uint64_t& last = last_[{run.result.owner, run.actor, run.incarnation}];
    if (sequence <= last)
      return "call " + std::to_string(sequence) + " of " + to_string(run.result.owner) +
             " begins at actor " + to_string(run.actor) + " after its call " +
             std::to_string(last);
    last = sequence;
    return {};
  }

 private:
  std::map<ObjectId, std::uint64_t> sequences_;
  std::map<std::tuple<ProcessId, ActorId, Incarnation>, std::uint64_t> last_;
};
}  // namespace

std::unique_ptr<Checker> caller_order() { return std::make_unique<CallerOrder>(); }

}  // namespace rondo::sim
