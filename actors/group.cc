#include <rondo/actors/group.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <deque>
#include <map>
#include <thread>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/ops/elementwise.h>

namespace rondo::actors {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kFailuresMax = 20;               // without a committed step between them
constexpr int kUnexplainedMax = 2;  // failures without a death, one after the other
constexpr DurationNs kBirthPatience = seconds(1);
constexpr std::size_t kSegmentsAhead = 4;      // of validation, submitted and not yet awaited

double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

// The end of the sentence: what befell the actor, without which call found it out.
std::string cause_of(const Error& error) {
  const std::string text = error.what();
  const std::size_t at = text.find(" is gone: ");
  return at == std::string::npos ? text : text.substr(at + 10);
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
  if (options.chaos) chaos_.emplace(*options.chaos, parties_.size(), layout.replicas > 1);
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
    if (party < static_cast<std::size_t>(spec_.layout.stages)) {
      Floats weights = first[party].parameters;
      weights.insert(weights.end(), first[party].moments.begin(), first[party].moments.end());
      committed_.weights.push_back(open(context_.put(weights)));
    }
    committed_.states.push_back(open(context_.put(first[party].states)));
  }
  for (std::size_t party = 0; party < parties_.size(); ++party)
    if (!bear_again(party)) return false;
  while (true) {
    try {
      restore_all();
      return true;
    } catch (const Error& error) {
      if (!recover(error)) return false;
    }
  }
}

Group::Sealed Group::open(const Ref<Floats>& ref) const {
  return {ref, detail::open_value(context_.session(), ref.cell(), std::nullopt).buffer};
}

Floats Group::decode(const Sealed& sealed) const {
  return detail::decode<Floats>(sealed.bytes, {}, &context_.session());
}

std::optional<double> Group::step(const Step& step) {
  const double tokens = static_cast<double>(step.segment.steps) * spec_.batch;
  plan_kills(step.number);
  while (true) {
    turn_ = {incarnation_, step.number, step.segment.steps, step.fresh, 1.0 / tokens};
    try {
      return await(submit_step(plan(), turn_, step.segment, step.lr));
    } catch (const Error& error) {
      if (!recover(error)) return std::nullopt;
    }
  }
}

// Prepared: every part of the next version is sealed and readable here.
double Group::await(const StepEnds& ends) {
  prepared_ = {};
  for (const Ref<Floats>& ref : ends.weights) prepared_.weights.push_back(open(ref));
  for (const Ref<Floats>& ref : ends.states) prepared_.states.push_back(open(ref));
  std::vector<double> losses;
  for (const Ref<double>& ref : ends.losses) losses.push_back(context_.get(ref));
  return ops::tree_sum(losses);
}

void Group::commit() {
  RONDO_CHECK_EQ(prepared_.states.size(), parties_.size());
  committed_ = std::exchange(prepared_, {});
  committed_step_ = turn_.step;
  failures_ = 0;
  unexplained_ = 0;
  submit_commit(plan(), turn_);
}

std::optional<double> Group::validate(const std::vector<Segment>& segments) {
  while (true) {
    try {
      std::vector<double> losses;
      std::deque<std::vector<Ref<double>>> ahead;
      const auto take = [&] {
        std::vector<double> slices;
        for (const Ref<double>& ref : ahead.front()) slices.push_back(context_.get(ref));
        losses.push_back(ops::tree_sum(slices));
        ahead.pop_front();
      };
      for (std::size_t at = 0; at < segments.size(); ++at) {
        if (is_stopped()) return std::nullopt;
        const Turn turn{incarnation_, 0, segments[at].steps, at == 0, 0};
        ahead.push_back(submit_validation(plan(), turn, segments[at]));
        if (ahead.size() > kSegmentsAhead) take();
      }
      while (!ahead.empty()) take();
      return ops::tree_sum(losses);
    } catch (const Error& error) {
      if (!recover(error)) return std::nullopt;
    }
  }
}

std::vector<StageSnapshot> Group::committed() const {
  std::vector<StageSnapshot> all;
  const auto depth = static_cast<std::size_t>(spec_.layout.stages);
  for (std::size_t party = 0; party < parties_.size(); ++party) {
    StageSnapshot snapshot;
    const std::size_t stage = party % depth;
    const auto count = static_cast<std::ptrdiff_t>(parameter_count(
        spec_.model, layers_of(spec_.layout, spec_.model.layers, static_cast<int>(stage))));
    const Floats weights = decode(committed_.weights[stage]);
    snapshot.parameters.assign(weights.begin(), weights.begin() + count);
    snapshot.moments.assign(weights.begin() + count, weights.end());
    snapshot.states = decode(committed_.states[party]);
    all.push_back(std::move(snapshot));
  }
  return all;
}

// ---- failures
// ------------------------------------------------------------------------------------

void Group::plan_kills(std::int64_t step) {
  if (!chaos_) return;
  for (const Chaos::Strike& strike : chaos_->before_step(step)) {
    const Party& party = parties_[strike.party];
    say("chaos: " + party.name + " is to die in phase: " + std::string(to_string(strike.phase)));
    static_cast<void>(party.bound.call(&StageActor::doom, strike.phase));
  }
}

bool Group::recover(const Error& error) {
  if (error.code() == ErrorCode::kUnavailable) throw error;  // this process has no cluster any more
  Error cause = error;
  std::map<std::size_t, Clock::time_point> died;  // when it was noticed
  while (true) {
    if (++failures_ > kFailuresMax)
      throw Error(cause.code(), "given up after " + std::to_string(kFailuresMax) +
                                    " failures without a step between them: " + cause.what());
    prepared_ = {};
    incarnation_ += 1;
    const std::vector<std::size_t> dead = find_dead();
    for (std::size_t party : dead) died.emplace(party, Clock::now());
    // A failed method may be the echo of a loss elsewhere; one that fails again is a failure.
    if (died.empty() && cause.code() != ErrorCode::kObjectLost &&
        cause.code() != ErrorCode::kActorDied && cause.code() != ErrorCode::kCancelled &&
        ++unexplained_ > kUnexplainedMax)
      throw cause;
    try {
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
      static_cast<void>(context_.get(pings[at]));
    } catch (const Error& error) {
      reporter_.failure(parties_[at].name, cause_of(error), committed_step_);
      parties_[at].restored = false;
      dead.push_back(at);
    }
  }
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
      if (chaos_ && failures_ > 0 && chaos_->kills_at_birth()) {
        const int pid = context_.get(one.bound.call(&StageActor::pid));
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
    try {
      context_.get(done[at]);
      parties_[at].restored = true;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kObjectLost) reseal(at);
      throw;
    }
  }
}

Ref<void> Group::restore(std::size_t at) {
  const Party& party = parties_[at];
  const Phase phase = chaos_ && failures_ > 0 ? chaos_->for_newborn() : Phase::kNone;
  if (phase != Phase::kNone) {
    say("chaos: " + party.name + " is to die in phase: " + std::string(to_string(phase)));
    static_cast<void>(party.bound.call(&StageActor::doom, phase));
  }
  const std::size_t stage = at % static_cast<std::size_t>(spec_.layout.stages);
  return party.bound.call(&StageActor::restore, incarnation_, committed_step_,
                          committed_.weights[stage].ref, committed_.states[at].ref);
}

// The copy that the store had is gone; this process still reads its own.
void Group::reseal(std::size_t party) {
  const std::size_t stage = party % static_cast<std::size_t>(spec_.layout.stages);
  committed_.weights[stage] = open(context_.put(decode(committed_.weights[stage])));
  committed_.states[party] = open(context_.put(decode(committed_.states[party])));
}

}  // namespace rondo::actors
