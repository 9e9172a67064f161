#pragma once

// A row of dropout. Sixteen Philox blocks of four numbers at a time, in plain arrays that the
// compiler turns into vectors: integer arithmetic, so all instruction sets agree by nature.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/vec.h>

namespace rondo::ops::RONDO_OPS_ISA {

// bits[j][l]: number j of block first + l (random.h's philox4x32).
inline void philox16(const DropoutKey& key, unsigned first, unsigned bits[4][kLanes]) {
  unsigned x0[kLanes], x1[kLanes], x2[kLanes], x3[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    x0[l] = first + static_cast<unsigned>(l);
    x1[l] = key.tensor;
    x2[l] = key.sample;
    x3[l] = key.step;
  }
  unsigned k0 = key.seed_low, k1 = key.seed_high;
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
    for (int l = 0; l < kLanes; ++l) {
      const unsigned long long p = 0xD2511F53ULL * x0[l], q = 0xCD9E8D57ULL * x2[l];
      const unsigned low = static_cast<unsigned>(p);
      x0[l] = static_cast<unsigned>(q >> 32) ^ x1[l] ^ k0;
      x1[l] = static_cast<unsigned>(q);
      x2[l] = static_cast<unsigned>(p >> 32) ^ x3[l] ^ k1;
      x3[l] = low;
    }
  }
  for (int l = 0; l < kLanes; ++l) {
    bits[0][l] = x0[l];
    bits[1][l] = x1[l];
    bits[2][l] = x2[l];
    bits[3][l] = x3[l];
  }
}

template <class V>
void dropout(const DropoutRun<typename V::T>& s) {
  using T = typename V::T;
  constexpr long kGroup = 4 * kLanes;
  for (long i = 0; i < s.count; i += kGroup) {
    unsigned bits[4][kLanes];
    philox16(s.key, s.first_block + static_cast<unsigned>(i / 4), bits);
    T factor[kGroup];
    for (int l = 0; l < kLanes; ++l)
      for (int j = 0; j < 4; ++j)
        factor[4 * l + j] = (bits[j][l] >> 8) >= s.threshold ? s.scale : T(0);
    const long n = s.count - i < kGroup ? s.count - i : kGroup;
    for (long e = 0; e < n; ++e) {
      const T value = s.x[i + e] * factor[e];
      s.y[i + e] = factor[e] != T(0) ? value : T(0);   // a dropped infinity is 0, not NaN
    }
  }
}

}  // namespace rondo::ops::RONDO_OPS_ISA
