#include <rondo/actors/chaos.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <utility>

#include <rondo/base/prng.h>

namespace rondo::actors {

namespace {

struct Name {
  Way way;
  std::string_view word;
  std::string_view text;
};
constexpr Name kNames[] = {
    {Way::kForward, "forward", "forward"},
    {Way::kBackward, "backward", "backward"},
    {Way::kAggregation, "aggregation", "aggregation"},
    {Way::kOptimiser, "optimiser", "optimiser"},
    {Way::kPrepare, "prepare", "prepare"},
    {Way::kSwap, "swap", "between commit and swap"},
    {Way::kRestore, "restore", "restore"},
    {Way::kBirth, "birth", "birth of an actor"},
    {Way::kTwo, "two", "two holders in one step"},
    {Way::kOther, "other", "restart of another"},
    {Way::kSave, "save", "checkpoint write"},
};

bool is_possible(Way way, const Layout& layout) {
  if (way == Way::kAggregation) return layout.replicas > 1;
  if (way == Way::kTwo || way == Way::kOther) return layout.replicas * layout.stages > 1;
  return true;
}

// The phase at which a way begins.
Phase first_phase(Way way) {
  switch (way) {
    case Way::kForward: case Way::kRestore: case Way::kOther: return Phase::kForward;
    case Way::kBackward: case Way::kBirth: return Phase::kBackward;
    case Way::kAggregation: return Phase::kAggregation;
    case Way::kOptimiser: return Phase::kOptimiser;
    case Way::kPrepare: case Way::kTwo: return Phase::kPrepare;
    case Way::kSwap: return Phase::kSwap;
    case Way::kSave: break;
  }
  return Phase::kNone;
}

}  // namespace

void tell_hit(std::optional<Way> way) {
  if (way) std::fprintf(stderr, "chaos: hit: %s\n", std::string(to_string(*way)).c_str());
}

std::string_view to_string(Way way) { return kNames[static_cast<std::size_t>(way)].text; }

std::optional<Way> way_of(std::string_view word) {
  for (const Name& name : kNames)
    if (name.word == word) return name.way;
  return std::nullopt;
}

std::vector<Way> every_way_of_workers() {
  std::vector<Way> all;
  for (const Name& name : kNames)
    if (name.way != Way::kSave) all.push_back(name.way);
  return all;
}

Chaos::Chaos(const Options& options, const Layout& layout)
    : options_(options), parties_(static_cast<std::size_t>(layout.replicas * layout.stages)) {
  std::erase_if(options_.ways, [&](Way way) { return !is_possible(way, layout); });
}

std::vector<Chaos::Strike> Chaos::before_step(std::int64_t step) {
  if (step % options_.every != 0 || step <= last_ || way_ == Way::kSave) return {};
  const bool again = way_ && tries_ < kTriesMax;
  if (!again && next_ == options_.ways.size()) return {};
  last_ = step;
  tries_ = again ? tries_ + 1 : 1;
  if (!again) way_ = options_.ways[next_++];
  doomed_.clear();
  decisive_.clear();
  restore_ = way_ == Way::kRestore;
  birth_ = way_ == Way::kBirth;
  if (way_ == Way::kSave) return {};
  return aim();
}

std::vector<Chaos::Strike> Chaos::aim() {
  const std::uint64_t round = next_ * kTriesMax + tries_;
  Prng random(options_.seed * 1'000'003 + round);
  const std::size_t party = (options_.seed + round) % parties_;
  const std::size_t other =
      (party + 1 + random.below(parties_ > 1 ? parties_ - 1 : 1)) % parties_;
  std::vector<Strike> strikes{{party, first_phase(*way_)}};
  if (way_ == Way::kTwo) strikes.push_back({other, Phase::kPrepare});
  if (way_ == Way::kOther) strikes.push_back({other, Phase::kRollback});
  for (const Strike& strike : strikes) doomed_[strike.party] = strike.phase;
  decisive_ = strikes;
  if (way_ == Way::kOther) decisive_ = {strikes.back()};
  if (way_ == Way::kRestore) decisive_ = {{party, Phase::kRestore}};
  if (way_ == Way::kBirth) decisive_.clear();
  for (Strike& strike : strikes) {
    strike.node = options_.nodes && std::any_of(decisive_.begin(), decisive_.end(), [&](auto& one) {
      return one.party == strike.party && one.phase == strike.phase;
    });
  }
  return strikes;
}

Phase Chaos::for_newborn(std::size_t party) {
  if (!restore_) return Phase::kNone;
  restore_ = false;
  decisive_ = {{party, Phase::kRestore}};  // with a node others die too: one of them comes first
  doomed_[party] = Phase::kRestore;
  return Phase::kRestore;
}

bool Chaos::kills_at_birth() { return std::exchange(birth_, false); }

std::optional<WritePoint> Chaos::in_save() {
  if (way_ != Way::kSave) return std::nullopt;
  constexpr WritePoint kPoints[] = {WritePoint::kHalf, WritePoint::kWhole, WritePoint::kRenamed};
  return kPoints[options_.seed % std::size(kPoints)];
}

std::optional<Way> Chaos::died(const std::vector<std::size_t>& parties) {
  if (!way_) return std::nullopt;
  if (way_ == Way::kBirth) return birth_ ? std::nullopt : complete();
  const std::size_t before = decisive_.size();
  std::erase_if(decisive_, [&](const Strike& strike) {
    const auto doomed = doomed_.find(strike.party);
    return std::count(parties.begin(), parties.end(), strike.party) > 0 &&
           doomed != doomed_.end() && doomed->second == strike.phase;
  });
  for (const std::size_t party : parties) doomed_.erase(party);
  if (!decisive_.empty() || before == 0) return std::nullopt;
  if (way_ == Way::kTwo && before != 2) return std::nullopt;  // not both at once
  return complete();
}

// The doomed alone kill nodes. Of two holders, either took along what this node held for both.
std::optional<Way> Chaos::lost_own_node() {
  if (!way_ || !options_.nodes) return std::nullopt;
  const auto doomed = std::exchange(doomed_, {});
  if (way_ == Way::kBirth) return birth_ ? std::nullopt : complete();
  const bool there = std::all_of(decisive_.begin(), decisive_.end(), [&](const Strike& strike) {
    const auto found = doomed.find(strike.party);
    return found != doomed.end() && found->second == strike.phase;
  });
  return there && doomed.size() == decisive_.size() ? complete() : std::nullopt;
}

std::optional<Way> Chaos::complete() { return std::exchange(way_, std::nullopt); }

}  // namespace rondo::actors
