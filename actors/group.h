#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <rondo/actors/chaos.h>
#include <rondo/actors/checkpoint.h>
#include <rondo/actors/reporter.h>
#include <rondo/actors/step_calls.h>
#include <rondo/runtime.h>

// The stages of a run, replicas x stages of them, each an actor in a worker, as one thing that
// does a step.
//
// A step is a transaction. `step` lets every actor build its next version beside the one in force
// and seal it as an object that this process owns; when all are sealed here, `commit` decides:
// that moment is the only commit point. Until then a failure throws the attempt away: everybody
// rolls back to the last committed step, only the failed actor is born again, takes its version
// from the sealed snapshot, the replicas of each stage meet anew for their sums, and the step is
// done once more, to the same bits.
// The actors need not stand still while a version is sealed and decided: `step` may be told the
// next one too, whose passes they begin at once on what they have built. Should the step before it
// fail, these passes are thrown away with it.
//
// Snapshots outlive the workers that made them: opening them copies them to this process's node
// and into its reach. So they survive every worker and every node, for as long as this process
// lives, and a newborn gets them from here, sealed anew. If this process ends, the run does, until
// --resume.
//
// One thread. Throws Error when the run cannot go on: a method threw, or actors die faster than
// steps are committed.

namespace rondo::actors {

class Group {
 public:
  struct Options {
    int threads = 1;   // an actor
    std::string name;  // of the run: unique in the cluster
    Chaos* chaos = nullptr;   // planned kills; outlives the group
    bool record = false;      // what the stages do when: see spans
    SumWay sum = SumWay::kAuto;   // how replicas sum their gradients
  };
  struct Step {
    Segment segment;
    bool fresh = false;  // from zero states: the first segment of an epoch
    double lr = 0;
    std::int64_t number = 0;  // from 1
  };

  // Starts the actors with `first`, the version in force after `step` steps (by replica, then by
  // stage).
  Group(Context& context, const RunSpec& spec, const Streams& streams, Reporter& reporter,
        const std::atomic<int>& stop, const Options& options);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  // False when `stop` was raised before all were ready.
  bool start(const std::vector<StageSnapshot>& first, std::int64_t step);
  // The sum of the losses over the segment's tokens; prepared, not yet in force. Nothing when
  // `stop` was raised and the step took too long to wait for: the version in force is as it was.
  // `next`: the step that will follow, without a validation between them; null: none that is known.
  std::optional<double> step(const Step& step, const Step* next = nullptr);
  void commit();
  // The sum of the losses over all validation segments.
  std::optional<double> validate(const std::vector<Segment>& segments);
  // What the stages' bits depend on besides the run; of GPUs that differ: of each.
  [[nodiscard]] const std::string& profile() const { return profile_; }
  // What is in force. Needs no actor. Requires: has_version().
  [[nodiscard]] bool has_version() const { return committed_.size() == parties_.size(); }
  [[nodiscard]] std::vector<StageSnapshot> committed() const;
  // Options::record: what each stage did in the step that was committed last (by replica, then by
  // stage).
  [[nodiscard]] std::vector<std::vector<StageSpan>> spans() const;

 private:
  // A party's part of a version, sealed: the object, and what this process reads of it.
  struct Sealed {
    Ref<Prepared> ref;
    Prepared value;
  };
  using Version = std::vector<Sealed>;   // by party
  // While it lives, `cells` has the cells of the refs.
  struct Watch {
    template <class T>
    Watch(std::vector<CellRef>& watched, const std::vector<Ref<T>>& refs) : cells(watched) {
      for (const Ref<T>& ref : refs) cells.push_back(ref.cell());
    }
    ~Watch() { cells.clear(); }
    std::vector<CellRef>& cells;
  };

  [[nodiscard]] StepPlan plan() const { return {spec_, streams_, parties_}; }
  [[nodiscard]] bool is_stopped() const { return stop_.load() != 0; }
  [[nodiscard]] Sealed open(const Ref<Prepared>& ref);
  // The value; throws Stopped when `stop` has been raised for a while and it is still not there.
  Buffer wait_for(const CellRef& cell);
  template <class T>
  T get(const Ref<T>& ref) {
    static_cast<void>(wait_for(ref.cell()));
    return context_.get(ref);
  }
  // Of the first replica, who holds the weights for all.
  [[nodiscard]] std::size_t holder(std::size_t party) const {
    return party % static_cast<std::size_t>(spec_.layout.stages);
  }
  void plan_kills(std::int64_t step);
  [[nodiscard]] Turn turn_of(const Step& step) const;
  StepEnds submit(const Step& step, const Step* next);
  double await(const StepEnds& ends);
  void look_for_deaths();
  double validate_once(const std::vector<Segment>& segments);
  [[nodiscard]] Error root_of(const StepEnds& ends, const Error& error) const;

  bool restored_at_start();
  [[nodiscard]] std::string ask_profile();
  // After a failure: false when stopped. Throws `error` itself if no actor died of it.
  bool recover(const Error& error);
  // Asks everybody; reports who died and gives their indices.
  std::vector<std::size_t> find_dead();
  bool bear_again(std::size_t party);
  void seal_again(const std::vector<std::size_t>& parties);
  void restore_all();
  [[nodiscard]] SumWay first_way() const;
  [[nodiscard]] bool sums_on_gpus(const std::vector<MeetingPlace>& places);
  void meet_all();
  std::vector<MeetingPlace> ask_places(SumWay way);
  void end_sums();
  Ref<void> restore(std::size_t party);

  Context& context_;
  RunSpec spec_;
  const Streams& streams_;
  Reporter& reporter_;
  const std::atomic<int>& stop_;
  Options options_;
  std::string profile_;
  std::vector<Party> parties_;  // by replica, then by stage
  Version committed_;
  Version prepared_;
  Turn turn_;                     // of the step under way
  std::vector<Ref<Floats>> ahead_;   // the passes of the step after it, where they have begun
  std::vector<CellRef> watched_;        // whose failure ends any wait
  std::vector<CellRef> ended_;   // the updates, by party, of a step that is being given up
  std::vector<Meeting> meetings_;       // by stage; with one replica none
  std::string given_up_nccl_;           // why; empty: it was not
  std::string why_on_host_;             // as it was said last
  std::int64_t committed_step_ = 0;
  std::uint64_t incarnation_ = 1;  // of the group
  int failures_ = 0;               // since the last commit
  std::optional<std::chrono::steady_clock::time_point> stop_seen_;  // when a wait saw `stop`
};

}  // namespace rondo::actors
