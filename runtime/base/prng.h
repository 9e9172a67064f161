#pragma once

#include <cstdint>

// The control plane's random numbers: SplitMix64 (Steele, Lea, Flood 2014). Seeded, copyable, the
// same everywhere: a simulation is a function of its seed. Not for tensors (ops/random.h) and not
// for secrets.

namespace rondo {

class Prng {
 public:
  explicit Prng(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next();
  std::uint64_t below(std::uint64_t bound);  // uniform in [0, bound). Requires: bound > 0.
  std::int64_t between(std::int64_t low, std::int64_t high);  // inclusive. Requires: low <= high.
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  bool percent(std::uint64_t p) { return below(100) < p; }

 private:
  std::uint64_t state_;
};

// 64 bits from the operating system: for ids of processes and tokens, never inside a machine.
std::uint64_t entropy();

}  // namespace rondo
