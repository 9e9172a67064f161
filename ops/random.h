#pragma once

#include <array>
#include <cstdint>

#include <rondo/ops/tensor.h>

// Random numbers without a counter to lose: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011).
//
// A value is a function of (seed, step, sample, tensor, index): a restarted worker, another number
// of threads or another placement draws the same numbers. Uniform floats take 24 bits: u = k /
// 2^24 in [0, 1). Any thread. Not for secrets.

namespace rondo::ops {

struct RandomKey {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::uint32_t sample = 0;
  std::uint32_t tensor = 0;
};

// The ten rounds themselves: 128 bits of counter and 64 of key to 128 bits.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

std::uint32_t random_bits(const RandomKey&, std::uint64_t index);   // Requires: index < 2^34.
double random_uniform(const RandomKey&, std::uint64_t index);       // in [0, 1)
double random_normal(const RandomKey&, std::uint64_t index);   // Box-Muller; tests and noise only

// Writes out[i] = low + (high - low) · u(i), rounded once to T.
template <class T>
void fill_uniform(const RandomKey&, double low, double high, View<T> out);

}  // namespace rondo::ops
