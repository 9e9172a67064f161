#include <rondo/actors/chaos.h>

#include <rondo/base/prng.h>

namespace rondo::actors {

std::vector<Chaos::Strike> Chaos::before_step(std::int64_t step) {
  constexpr std::uint64_t kWays = 10;
  if (step % every_ != 0 || step <= last_ || round_ == kWays) return {};
  last_ = step;
  restore_ = birth_ = false;
  // the single phases, then the compound ones
  const Phase single[] = {Phase::kForward,   Phase::kBackward, Phase::kAggregation,
                          Phase::kOptimiser, Phase::kPrepare,  Phase::kSwap};
  constexpr std::uint64_t kSingles = std::size(single);
  Prng random(seed_ * 1'000'003 + round_);
  const std::size_t party = (seed_ + round_) % parties_;
  const std::size_t other = (party + 1 + random.below(parties_ > 1 ? parties_ - 1 : 1)) % parties_;
  const std::uint64_t kind = round_++;
  if (kind < kSingles) {
    const Phase phase = single[kind];
    if (phase == Phase::kAggregation && !has_tree_) return {{party, Phase::kOptimiser}};
    return {{party, phase}};
  }
  switch (kind - kSingles) {
    case 0: restore_ = true; return {{party, Phase::kForward}};
    case 1: birth_ = true; return {{party, Phase::kBackward}};
    case 2:
      if (other == party) return {{party, Phase::kPrepare}};
      return {{party, Phase::kPrepare}, {other, Phase::kPrepare}};
    default:
      if (other == party) return {{party, Phase::kForward}};
      return {{party, Phase::kForward}, {other, Phase::kRollback}};
  }
}

Phase Chaos::for_newborn() {
  const Phase phase = restore_ ? Phase::kRestore : Phase::kNone;
  restore_ = false;
  return phase;
}

bool Chaos::kills_at_birth() {
  const bool kill = birth_;
  birth_ = false;
  return kill;
}

}  // namespace rondo::actors
