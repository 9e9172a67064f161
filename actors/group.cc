#include <rondo/actors/group.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include <rondo/actors/this_machine.h>
#include <rondo/base/check.h>
#include <rondo/ops/elementwise.h>
#include <rondo/ops/numeric_profile.h>

namespace rondo::actors {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kFailuresMax = 20;               // without a committed step between them
constexpr int kFailuresWithNccl = 3;           // likewise, before host memory is tried
constexpr DurationNs kBirthPatience = seconds(1);
constexpr DurationNs kGlance = milliseconds(250);  // between two looks at `stop` in a wait
constexpr auto kStopPatience = std::chrono::seconds(1);
constexpr std::size_t kSegmentsAhead = 4;      // of validation, submitted and not yet awaited

// Thrown through a wait that is not worth its time any more.
struct Stopped {};

double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

// The end of the sentence: what befell the actor, without which call found it out.
std::string cause_of(const Error& error) {
  const std::string text = error.what();
  const std::size_t at = text.find(" is gone: ");
  return at == std::string::npos ? text : text.substr(at + 10);
}

// A lost sum is worth another try; who gave up did so because of something else.
void throw_unless_done(const std::vector<SumOutcome>& sums) {
  for (const SumOutcome& sum : sums)
    if (sum.end == SumEnd::kLost) throw Error(ErrorCode::kObjectLost, sum.why);
  for (const SumOutcome& sum : sums)
    if (sum.end == SumEnd::kGivenUp) throw Error(ErrorCode::kCancelled, sum.why);
}

std::vector<MeetingPlace> of_stage(const std::vector<MeetingPlace>& places, std::size_t stage,
                                   std::size_t depth) {
  std::vector<MeetingPlace> here;
  for (std::size_t at = stage; at < places.size(); at += depth) here.push_back(places[at]);
  return here;
}

void say(const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); }

}  // namespace

Group::Group(Context& context, const RunSpec& spec, const Streams& streams, Reporter& reporter,
             const std::atomic<int>& stop, const Options& options)
    : context_(context),
      spec_(spec),
      streams_(streams),
      reporter_(reporter),
      stop_(stop),
      options_(options) {
  const Layout& layout = spec.layout;
  // A stage needs no vocabulary, and a large one would not fit into a spawn
  RunSpec travelling = spec;
  travelling.data.vocabulary.tokens.clear();
  for (int replica = 0; replica < layout.replicas; ++replica) {
    for (int stage = 0; stage < layout.stages; ++stage) {
      Party party;
      party.name = options.name + "/r" + std::to_string(replica) + ".s" + std::to_string(stage);
      party.handle = context.spawn<StageActor>({.name = party.name, .max_restarts = -1},
                                               StageSpec{travelling, replica, stage},
                                               options.threads);
      parties_.push_back(party);
    }
  }
}

Group::~Group() {
  for (const Party& party : parties_) {
    try {
      context_.kill(party.handle);
    } catch (const Error&) {  // the cluster is gone, and with it the actor
    }
  }
}

bool Group::start(const std::vector<StageSnapshot>& first, std::int64_t step) {
  RONDO_CHECK_EQ(first.size(), parties_.size());
  committed_step_ = step;
  for (std::size_t party = 0; party < first.size(); ++party) {
    Prepared version;
    if (holder(party) == party)
      version.weights = SharedFloats::lend(first[party].parameters, first[party].moments);
    version.states = SharedFloats::lend(first[party].states);
    committed_.push_back(open(context_.put(version)));
  }
  try {
    return restored_at_start();
  } catch (const Stopped&) {
    return false;
  }
}

bool Group::restored_at_start() {
  for (std::size_t party = 0; party < parties_.size(); ++party)
    if (!bear_again(party)) return false;
  while (true) {
    try {
      restore_all();
      profile_ = ask_profile();
      return true;
    } catch (const Error& error) {
      if (!recover(error)) return false;
    }
  }
}

// The processor's cores follow the canonical arithmetic everywhere; GPUs are asked.
std::string Group::ask_profile() {
  if (spec_.device == Device::kCpu) return ops::numeric_profile();
  std::vector<Ref<std::string>> asked;
  for (const Party& party : parties_) asked.push_back(party.bound.call(&StageActor::profile));
  std::set<std::string> all;
  for (const auto& ref : asked) all.insert(get(ref));
  std::string joined;
  for (const std::string& one : all) joined += (joined.empty() ? "" : " + ") + one;
  return joined;
}

Buffer Group::wait_for(const CellRef& cell) {
  bool failed = false;
  while (true) {
    try {
      return detail::open_value(context_.session(), cell, kGlance).buffer;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kTimeout) throw;
      if (failed) throw;   // a cell that holds a timeout of its own
      // It may have failed since: the next look throws what the cell holds.
      failed = cell->state.load(std::memory_order_acquire) == CellState::kFailed;
    }
    look_for_deaths();
    end_sums();   // again: who was paused may have missed the word
    if (!is_stopped()) continue;
    if (!stop_seen_) stop_seen_ = Clock::now();
    if (Clock::now() - *stop_seen_ > kStopPatience) throw Stopped();
  }
}

Group::Sealed Group::open(const Ref<Prepared>& ref) { return {ref, get(ref)}; }

std::optional<double> Group::step(const Step& step, const Step* next) {
  while (true) {
    const StepEnds ends = submit(step, next);
    try {
      try {
        const Watch watch(watched_, ends.seals);
        return await(ends);
      } catch (const Error& error) {
        const Watch given_up(ended_, ends.updates);
        end_sums();
        if (!recover(root_of(ends, error))) return std::nullopt;
      }
    } catch (const Stopped&) {
      return std::nullopt;
    }
  }
}

Turn Group::turn_of(const Step& step) const {
  const double tokens = static_cast<double>(step.segment.steps) * spec_.batch;
  return {incarnation_, step.number,  step.segment.steps,
          step.fresh,   1.0 / tokens, committed_step_};
}

// A version that lies in host memory is sealed at once, while this process decides over it; one on
// a GPU when the first pass of the next step is under way there, beside which it is copied.
StepEnds Group::submit(const Step& step, const Step* next) {
  turn_ = turn_of(step);
  plan_kills(step.number);
  StepEnds ends;
  ends.passes = std::exchange(ahead_, {});
  if (ends.passes.empty()) ends.passes = submit_passes(plan(), turn_, step.segment);
  const bool behind = next != nullptr && spec_.device == Device::kGpu;
  ends.updates = submit_updates(plan(), turn_, step.lr, !behind);
  ends.seals = ends.updates;
  if (next == nullptr) return ends;
  plan_kills(next->number);
  std::function<void(std::size_t)> seal;   // none: it has been
  if (behind)
    seal = [&](std::size_t party) {
      ends.seals[party] = parties_[party].bound.call(&StageActor::seal, turn_);
    };
  ahead_ = submit_passes(plan(), turn_of(*next), next->segment, seal);
  return ends;
}

// Prepared: every part of the next version is sealed and readable here.
double Group::await(const StepEnds& ends) {
  prepared_ = {};
  std::vector<SumOutcome> sums;
  for (const Ref<Prepared>& ref : ends.seals) {
    prepared_.push_back(open(ref));
    sums.push_back(prepared_.back().value.sum);
  }
  throw_unless_done(sums);
  std::vector<double> losses;   // by replica
  const auto depth = static_cast<std::size_t>(spec_.layout.stages);
  for (std::size_t last = depth - 1; last < prepared_.size(); last += depth)
    losses.push_back(prepared_[last].value.loss);
  return ops::tree_sum(losses);
}

// Throws what befell one of those who are waited for, whoever comes first. Who has given his part
// and died in the step ahead shows there only; others may still wait for him in their sum.
void Group::look_for_deaths() {
  const auto look = [this](const CellRef& cell) {
    if (cell->state.load(std::memory_order_acquire) == CellState::kFailed)
      static_cast<void>(detail::try_open_value(context_.session(), cell));
  };
  for (const CellRef& cell : watched_) look(cell);
  for (const Ref<Floats>& ref : ahead_) {
    try {
      look(ref.cell());
    } catch (const Error& error) {   // other failures are echoes
      if (error.code() == ErrorCode::kActorDied || error.code() == ErrorCode::kObjectLost) throw;
    }
  }
}

// Who waits in a sum for one that has died may not see it, and what is called next waits for him.
void Group::end_sums() {
  if (ended_.empty()) return;
  const auto depth = static_cast<std::size_t>(spec_.layout.stages);
  for (std::size_t stage = 0; stage < meetings_.size(); ++stage) {
    std::vector<bool> waits;
    for (std::size_t party = stage; party < parties_.size(); party += depth) {
      const CellState state = ended_[party]->state.load(std::memory_order_acquire);
      waits.push_back(state == CellState::kPending);
    }
    if (std::find(waits.begin(), waits.end(), true) != waits.end())
      meetings_[stage].end(waits, "the step is given up");
  }
}

// What failed first: later calls of the step may only say that an earlier one did not happen.
// Calls were submitted in such an order that no failure comes before its cause.
Error Group::root_of(const StepEnds& ends, const Error& error) const {
  try {
    for (const Ref<Floats>& ref : ends.passes) static_cast<void>(context_.try_get(ref));
    for (const Ref<Prepared>& ref : ends.updates) static_cast<void>(context_.try_get(ref));
    for (const Ref<Prepared>& ref : ends.seals) static_cast<void>(context_.try_get(ref));
  } catch (const Error& first) {
    return first;
  }
  return error;
}

void Group::commit() {
  RONDO_CHECK_EQ(prepared_.size(), parties_.size());
  committed_ = std::exchange(prepared_, {});
  committed_step_ = turn_.step;
  failures_ = 0;
  if (ahead_.empty()) submit_commit(plan(), turn_);   // else the next update brings the word
}

std::optional<double> Group::validate(const std::vector<Segment>& segments) {
  while (true) {
    try {
      try {
        return validate_once(segments);
      } catch (const Error& error) {
        if (!recover(error)) return std::nullopt;
      }
    } catch (const Stopped&) {
      return std::nullopt;
    }
  }
}

double Group::validate_once(const std::vector<Segment>& segments) {
  RONDO_CHECK(ahead_.empty());
  std::vector<double> losses;
  std::deque<std::vector<Ref<double>>> ahead;
  const auto take = [&] {
    std::vector<double> slices;
    for (const Ref<double>& ref : ahead.front()) slices.push_back(get(ref));
    losses.push_back(ops::tree_sum(slices));
    ahead.pop_front();
  };
  for (std::size_t at = 0; at < segments.size(); ++at) {
    if (is_stopped()) throw Stopped();
    const Turn turn{incarnation_, 0, segments[at].steps, at == 0, 0};
    ahead.push_back(submit_validation(plan(), turn, segments[at]));
    if (ahead.size() > kSegmentsAhead) take();
  }
  while (!ahead.empty()) take();
  return ops::tree_sum(losses);
}

std::vector<StageSnapshot> Group::committed() const {
  std::vector<StageSnapshot> all;
  for (std::size_t party = 0; party < parties_.size(); ++party) {
    const std::size_t count = parameter_count(
        spec_.model,
        layers_of(spec_.layout, spec_.model.layers, static_cast<int>(holder(party))));
    const std::span<const float> weights = committed_[holder(party)].value.weights.view();
    all.push_back(StageView{weights.first(count), weights.subspan(count),
                            committed_[party].value.states.view()}
                      .copy());
  }
  return all;
}

std::vector<std::vector<StageSpan>> Group::spans() const {
  std::vector<std::vector<StageSpan>> all;
  for (const Sealed& sealed : committed_) all.push_back(sealed.value.spans);
  return all;
}

// ---- failures

void Group::plan_kills(std::int64_t step) {
  if (options_.chaos == nullptr) return;
  for (const Chaos::Strike& strike : options_.chaos->before_step(step)) {
    const Party& party = parties_[strike.party];
    say("chaos: " + party.name + " is to die in phase: " + std::string(to_string(strike.phase)));
    static_cast<void>(party.bound.call(&StageActor::doom, strike.phase, strike.node));
  }
}

bool Group::recover(const Error& error) {
  Error cause = error;
  std::map<std::size_t, Clock::time_point> died;  // when it was noticed
  while (true) {
    if (cause.code() == ErrorCode::kUnavailable) throw cause;  // this process has no cluster
    if (++failures_ > kFailuresMax)
      throw Error(cause.code(), "given up after " + std::to_string(kFailuresMax) +
                                    " failures without a step between them: " + cause.what());
    prepared_ = {};
    ahead_ = {};
    incarnation_ += 1;
    const auto noticed = Clock::now();
    const std::vector<std::size_t> dead = find_dead();
    for (std::size_t party : dead) died.emplace(party, noticed);
    // Nobody died, nothing was lost: the work itself failed, and would fail again.
    if (died.empty() && cause.code() != ErrorCode::kObjectLost &&
        cause.code() != ErrorCode::kActorDied)
      throw cause;
    try {
      seal_again(dead);
      for (std::size_t party : dead)
        if (!bear_again(party)) return false;
      restore_all();
      for (const auto& [party, when] : died)
        reporter_.restart(parties_[party].name, seconds_since(when), committed_step_);
      return true;
    } catch (const Error& again) {
      cause = again;
    }
  }
}

std::vector<std::size_t> Group::find_dead() {
  std::vector<Ref<int>> pings;
  for (const Party& party : parties_) pings.push_back(party.bound.call(&StageActor::pid));
  std::vector<std::size_t> dead;
  for (std::size_t at = 0; at < parties_.size(); ++at) {
    try {
      static_cast<void>(get(pings[at]));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kUnavailable) throw;
      reporter_.failure(parties_[at].name, cause_of(error), committed_step_);
      parties_[at].restored = false;
      dead.push_back(at);
    }
  }
  if (options_.chaos != nullptr && !dead.empty()) tell_hit(options_.chaos->died(dead));
  return dead;
}

// Waits until the actor lives again; false when stopped meanwhile.
bool Group::bear_again(std::size_t party) {
  Party& one = parties_[party];
  const auto began = Clock::now();
  bool told = false;
  while (!is_stopped()) {
    try {
      const Actor<StageActor> born = one.handle.bound(kBirthPatience);
      if (born == one.bound) {  // its death has not reached the directory yet
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        continue;
      }
      one.bound = born;
      if (options_.chaos != nullptr && failures_ > 0 && options_.chaos->kills_at_birth()) {
        const bool node = options_.chaos->kills_nodes();
        const int pid = context_.get(
            one.bound.call(node ? &StageActor::node_pid : &StageActor::pid));
        say("chaos: " + one.name + " dies at its birth");
        ::kill(pid, SIGKILL);
      }
      return true;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kTimeout) throw;
      if (!told && seconds_since(began) > 3) {
        say("waiting for a place where " + one.name + " can run: " + error.what());
        told = true;
      }
    }
  }
  return false;
}

// A newborn's version, put anew into the store of this process's node: wherever the worker lived
// that sealed it first, its node may be gone, and nobody need wait to learn that.
void Group::seal_again(const std::vector<std::size_t>& parties) {
  std::set<std::size_t> again;
  for (const std::size_t party : parties) again.insert({party, holder(party)});
  for (const std::size_t party : again)
    committed_[party] = open(context_.put(committed_[party].value));
}

// Gives the newborn the committed version, and tells everybody else to go back to it.
void Group::restore_all() {
  std::vector<Ref<void>> done;
  for (std::size_t at = 0; at < parties_.size(); ++at) {
    const Party& party = parties_[at];
    done.push_back(party.restored ? party.bound.call(&StageActor::roll_back, incarnation_,
                                                     committed_step_)
                                  : restore(at));
  }
  for (std::size_t at = 0; at < parties_.size(); ++at) {
    get(done[at]);
    parties_[at].restored = true;
  }
  if (spec_.layout.replicas > 1) meet_all();
}

// What the replicas are asked for first.
SumWay Group::first_way() const {
  const bool may_be_nccl = options_.sum == SumWay::kNccl || options_.sum == SumWay::kAuto;
  if (!may_be_nccl) return options_.sum;
  return spec_.device == Device::kGpu ? SumWay::kNccl : SumWay::kShm;
}

// Whether the replicas of every stage can sum on their GPUs; if not, why stands on stderr.
bool Group::sums_on_gpus(const std::vector<MeetingPlace>& places) {
  if (options_.sum == SumWay::kAuto && failures_ > kFailuresWithNccl)
    given_up_nccl_ = std::to_string(failures_) + " failures without a step between them";
  std::string why = given_up_nccl_;
  const auto depth = static_cast<std::size_t>(spec_.layout.stages);
  for (std::size_t stage = 0; stage < depth && why.empty(); ++stage)
    why = why_not_on_gpus(of_stage(places, stage, depth));
  if (why.empty()) return true;
  if (options_.sum == SumWay::kNccl)
    throw Error(ErrorCode::kInvalid, "--all-reduce nccl: " + why);
  if (std::exchange(why_on_host_, why) != why)
    say("the replicas sum their gradients in host memory: " + why);
  return false;
}

// Brings the replicas of each stage together again, for the sums of this incarnation.
void Group::meet_all() {
  const SumWay way = first_way();
  std::vector<MeetingPlace> places = ask_places(way);
  const bool on_gpus = way == SumWay::kNccl && sums_on_gpus(places);
  const bool apart = std::any_of(places.begin(), places.end(), [](const MeetingPlace& place) {
    return place.machine != this_machine();
  });
  if (apart && options_.sum != SumWay::kShm && options_.sum != SumWay::kZmq)
    places = ask_places(SumWay::kZmq);
  if (apart && options_.sum == SumWay::kShm)
    throw Error(ErrorCode::kInvalid,
                "replicas on other machines share no memory: leave --all-reduce shm out");
  const auto depth = static_cast<std::size_t>(spec_.layout.stages);
  meetings_.clear();
  for (std::size_t stage = 0; stage < depth; ++stage) {
    const LayerRange layers =
        layers_of(spec_.layout, spec_.model.layers, static_cast<int>(stage));
    auto made = Meeting::make({.group = incarnation_,
                               .floats = parameter_count(spec_.model, layers),
                               .on_gpus = on_gpus},
                              of_stage(places, stage, depth));
    if (!made) throw made.error();
    meetings_.push_back(std::move(made).value());
  }
  std::vector<Ref<SumOutcome>> met;
  for (std::size_t at = 0; at < parties_.size(); ++at)
    met.push_back(parties_[at].bound.call(&StageActor::meet, meetings_[holder(at)].plan()));
  std::vector<SumOutcome> outcomes;
  try {
    const Watch watch(watched_, met);
    for (const auto& ref : met) outcomes.push_back(get(ref));
  } catch (...) {
    const std::vector<bool> all(static_cast<std::size_t>(spec_.layout.replicas), true);
    for (const Meeting& meeting : meetings_) meeting.end(all, "a replica cannot come");
    throw;
  }
  throw_unless_done(outcomes);
}

std::vector<MeetingPlace> Group::ask_places(SumWay way) {
  std::vector<Ref<MeetingPlace>> asked;
  for (const Party& party : parties_)
    asked.push_back(party.bound.call(&StageActor::open_sum, incarnation_, way));
  std::vector<MeetingPlace> places;
  for (const auto& ref : asked) places.push_back(get(ref));
  return places;
}

Ref<void> Group::restore(std::size_t at) {
  const Party& party = parties_[at];
  if (options_.record) static_cast<void>(party.bound.call(&StageActor::record));
  Chaos* chaos = failures_ > 0 ? options_.chaos : nullptr;
  const Phase phase = chaos != nullptr ? chaos->for_newborn(at) : Phase::kNone;
  if (phase != Phase::kNone) {
    say("chaos: " + party.name + " is to die in phase: " + std::string(to_string(phase)));
    static_cast<void>(party.bound.call(&StageActor::doom, phase, chaos->kills_nodes()));
  }
  return party.bound.call(&StageActor::restore, incarnation_, committed_step_,
                          committed_[holder(at)].ref, committed_[at].ref);
}

}  // namespace rondo::actors
