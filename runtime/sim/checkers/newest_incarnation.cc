#include <map>
#include <utility>

#include <rondo/sim/checkers/checkers.h>

// Only the newest incarnation of an actor has effects: once a later one is constructed, an earlier
// one neither starts a call nor lets a result go; and one incarnation lives in one process.

namespace rondo::sim {

namespace {
class NewestIncarnation final : public Checker {
 public:
  [[nodiscard]] const char* name() const override { return "NewestIncarnation"; }

  std::string on_constructed(ActorId actor, Incarnation incarnation, ProcessId worker) override {
    Newest& newest = newest_[actor];
    if (incarnation < newest.incarnation) return say(actor, incarnation, "is constructed");
    if (incarnation == newest.incarnation && newest.worker != worker)
      return "actor " + to_string(actor) + " lives twice in incarnation " +
             std::to_string(incarnation.value);
    newest = {incarnation, worker};
    return {};
  }
  std::string on_begun(const Begun& run) override { return judge(run, "starts a call"); }
  std::string on_finished(const Begun& run) override { return judge(run, "lets a result go"); }

 private:
  struct Newest {
    Incarnation incarnation;
    ProcessId worker;
  };
  std::string judge(const Begun& run, const std::string& what) {
    if (run.kind != core::CallKind::kActor) return {};
    return run.incarnation < newest_[run.actor].incarnation ? say(run.actor, run.incarnation, what)
                                                            : std::string();
  }
  std::string say(ActorId actor, Incarnation incarnation, const std::string& what) {
    return "incarnation " + std::to_string(incarnation.value) + " of actor " + to_string(actor) +
           " " + what + " although incarnation " +
           std::to_string(newest_[actor].incarnation.value) + " has lived";
  }
  std::map<ActorId, Newest> newest_;
};
}  // namespace

std::unique_ptr<Checker> newest_incarnation() { return std::make_unique<NewestIncarnation>(); }

}  // namespace rondo::sim
