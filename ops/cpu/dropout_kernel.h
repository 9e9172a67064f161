#pragma once

// A row of dropout, some Philox blocks of four numbers at a time. Integer arithmetic, so all
// instruction sets agree by nature.
//
// Every 64-bit lane runs one block: the low halves of four registers hold its four numbers, the
// high halves what is left of a product and counts for nothing, since a product reads low halves.
// Only the first number of a block's counter differs between the blocks of a row, so half of the
// first two rounds is the same for all and is done once a row.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/vec.h>

namespace rondo::ops::RONDO_OPS_ISA {

inline constexpr unsigned kPhiloxA = 0xD2511F53U, kPhiloxB = 0xCD9E8D57U;
inline constexpr unsigned kPhiloxKeyA = 0x9E3779B9U, kPhiloxKeyB = 0xBB67AE85U;

#if defined(__AVX512F__) || defined(__AVX2__)
#if defined(__AVX512F__)
struct Blocks {
  static constexpr int kCount = 8;
  __m512i v;
  static Blocks all(unsigned x) { return {_mm512_set1_epi64(x)}; }
  // Lane 2l holds block l, lane 2l + 1 block 4 + l: store() then finds them in order.
  static Blocks numbers() { return {_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7)}; }
  friend Blocks operator+(Blocks x, Blocks y) { return {_mm512_add_epi64(x.v, y.v)}; }
  friend Blocks product(Blocks x, unsigned by) { return {_mm512_mul_epu32(x.v, all(by).v)}; }
  friend Blocks high(Blocks x) { return {_mm512_srli_epi64(x.v, 32)}; }
  friend Blocks xor3(Blocks x, Blocks y, Blocks z) {
    return {_mm512_ternarylogic_epi64(x.v, y.v, z.v, 0x96)};
  }
};

// Sixteen numbers each, in the order of the elements.
struct Draws {
  static constexpr int kCount = 32;
  __m512i first, second;
  Draws() = default;
  Draws(Blocks x0, Blocks x1, Blocks x2, Blocks x3) {
    const __m512i a = _mm512_mask_blend_epi32(0xAAAA, x0.v, _mm512_slli_epi64(x1.v, 32));
    const __m512i b = _mm512_mask_blend_epi32(0xAAAA, x2.v, _mm512_slli_epi64(x3.v, 32));
    first = _mm512_unpacklo_epi64(a, b);
    second = _mm512_unpackhi_epi64(a, b);
  }
  static Float16 keep(__m512i bits, unsigned threshold, Float16 x) {
    const __m512i limit = _mm512_set1_epi32(static_cast<int>(threshold));
    const __mmask16 kept = _mm512_cmpge_epu32_mask(_mm512_srli_epi32(bits, 8), limit);
    return {_mm512_maskz_mov_ps(kept, x.v)};
  }
  template <bool kStream>
  void drop(const float* x, float* y, unsigned threshold, Float16 scale) const {
    put<kStream>(keep(first, threshold, Float16::load(x) * scale), y, kLanes);
    put<kStream>(keep(second, threshold, Float16::load(x + 16) * scale), y + 16, kLanes);
  }
};
#else
struct Blocks {
  static constexpr int kCount = 4;
  __m256i v;
  static Blocks all(unsigned x) { return {_mm256_set1_epi64x(x)}; }
  static Blocks numbers() { return {_mm256_setr_epi64x(0, 2, 1, 3)}; }
  friend Blocks operator+(Blocks x, Blocks y) { return {_mm256_add_epi64(x.v, y.v)}; }
  friend Blocks product(Blocks x, unsigned by) { return {_mm256_mul_epu32(x.v, all(by).v)}; }
  friend Blocks high(Blocks x) { return {_mm256_srli_epi64(x.v, 32)}; }
  friend Blocks xor3(Blocks x, Blocks y, Blocks z) {
    return {_mm256_xor_si256(_mm256_xor_si256(x.v, y.v), z.v)};
  }
};

struct Draws {
  static constexpr int kCount = 16;
  __m256i first, second;   // eight numbers each
  Draws() = default;
  Draws(Blocks x0, Blocks x1, Blocks x2, Blocks x3) {
    const __m256i a = _mm256_blend_epi32(x0.v, _mm256_slli_epi64(x1.v, 32), 0xAA);
    const __m256i b = _mm256_blend_epi32(x2.v, _mm256_slli_epi64(x3.v, 32), 0xAA);
    first = _mm256_unpacklo_epi64(a, b);
    second = _mm256_unpackhi_epi64(a, b);
  }
  static __m256 keep(__m256i bits, unsigned threshold, __m256 x) {
    const __m256i limit = _mm256_set1_epi32(static_cast<int>(threshold) - 1);
    const __m256i kept = _mm256_cmpgt_epi32(_mm256_srli_epi32(bits, 8), limit);
    return _mm256_and_ps(_mm256_castsi256_ps(kept), x);
  }
  template <bool kStream>
  void drop(const float* x, float* y, unsigned threshold, Float16 scale) const {
    const Float16 all = Float16::load(x) * scale;
    put<kStream>(Float16{keep(first, threshold, all.lo), keep(second, threshold, all.hi)}, y,
                 kLanes);
  }
};
#endif

struct PhiloxRow {
  explicit PhiloxRow(const DropoutKey& k) : seed_low(k.seed_low), seed_high(k.seed_high) {
    const unsigned long long q = static_cast<unsigned long long>(kPhiloxB) * k.sample;
    const unsigned x0 = static_cast<unsigned>(q >> 32) ^ k.tensor ^ seed_low;
    const unsigned long long p = static_cast<unsigned long long>(kPhiloxA) * x0;
    first_high = k.step ^ seed_high;
    second_low = static_cast<unsigned>(q) ^ (seed_low + kPhiloxKeyA);
    second_high = static_cast<unsigned>(p >> 32) ^ (seed_high + kPhiloxKeyB);
    second_rest = static_cast<unsigned>(p);
  }
  // kTogether registers side by side, as many as there is room for: a block is one long chain of
  // products.
#if defined(__AVX512F__)
  static constexpr int kTogether = 4;
#else
  static constexpr int kTogether = 2;
#endif
  void draw(unsigned first, Draws (&to)[kTogether]) const {
    Blocks x0[kTogether], x1[kTogether], x2[kTogether], x3[kTogether];
    const Blocks none = Blocks::all(0);
    for (int g = 0; g < kTogether; ++g) {
      const Blocks number = Blocks::all(first + static_cast<unsigned>(g * Blocks::kCount));
      const Blocks p = product(number + Blocks::numbers(), kPhiloxA);
      const Blocks q = product(xor3(high(p), Blocks::all(first_high), none), kPhiloxB);
      x0[g] = xor3(high(q), Blocks::all(second_low), none);
      x1[g] = q;
      x2[g] = xor3(p, Blocks::all(second_high), none);
      x3[g] = Blocks::all(second_rest);
    }
    unsigned k0 = seed_low + 2 * kPhiloxKeyA, k1 = seed_high + 2 * kPhiloxKeyB;
    for (int round = 2; round < 10; ++round, k0 += kPhiloxKeyA, k1 += kPhiloxKeyB) {
      for (int g = 0; g < kTogether; ++g) {
        const Blocks p = product(x0[g], kPhiloxA), q = product(x2[g], kPhiloxB);
        x0[g] = xor3(high(q), x1[g], Blocks::all(k0));
        x1[g] = q;
        x2[g] = xor3(high(p), x3[g], Blocks::all(k1));
        x3[g] = p;
      }
    }
    for (int g = 0; g < kTogether; ++g) to[g] = Draws(x0[g], x1[g], x2[g], x3[g]);
  }
  unsigned seed_low, seed_high, first_high, second_low, second_high, second_rest;
};

template <class V, bool kStream>
[[gnu::flatten]] void dropout_row(const DropoutRun<float>& run) {
  const DropoutRun<float> s = run;
  const PhiloxRow row(s.key);
  const V scale = V::all(s.scale);
  constexpr long kGroup = Draws::kCount, kStep = kGroup * PhiloxRow::kTogether;
  for (long i = 0; i < s.count; i += kStep) {
    Draws draws[PhiloxRow::kTogether];
    row.draw(s.first_block + static_cast<unsigned>(i / 4), draws);
    if (s.count - i >= kStep) {
      for (long g = 0; g < kStep; g += kGroup)
        draws[g / kGroup].template drop<kStream>(s.x + i + g, s.y + i + g, s.threshold, scale);
      continue;
    }
    float x[kStep] = {}, y[kStep];
    for (long e = i; e < s.count; ++e) x[e - i] = s.x[e];
    for (long g = 0; g < kStep; g += kGroup)
      draws[g / kGroup].template drop<false>(x + g, y + g, s.threshold, scale);
    for (long e = i; e < s.count; ++e) s.y[e] = y[e - i];
  }
}
#else
inline void philox_block(const DropoutKey& key, unsigned first, unsigned* x) {
  x[0] = first, x[1] = key.tensor, x[2] = key.sample, x[3] = key.step;
  unsigned k0 = key.seed_low, k1 = key.seed_high;
  for (int round = 0; round < 10; ++round, k0 += kPhiloxKeyA, k1 += kPhiloxKeyB) {
    const unsigned long long p = static_cast<unsigned long long>(kPhiloxA) * x[0];
    const unsigned long long q = static_cast<unsigned long long>(kPhiloxB) * x[2];
    x[0] = static_cast<unsigned>(q >> 32) ^ x[1] ^ k0;
    x[1] = static_cast<unsigned>(q);
    x[2] = static_cast<unsigned>(p >> 32) ^ x[3] ^ k1;
    x[3] = static_cast<unsigned>(p);
  }
}

template <class V, bool kStream>
void dropout_row(const DropoutRun<typename V::T>& s) {
  using T = typename V::T;
  for (long i = 0; i < s.count; i += 4) {
    unsigned bits[4];
    philox_block(s.key, s.first_block + static_cast<unsigned>(i / 4), bits);
    for (long e = i; e < s.count && e < i + 4; ++e) {   // a dropped infinity is 0, not NaN
      const T value = s.x[e] * s.scale;
      s.y[e] = (bits[e - i] >> 8) >= s.threshold ? value : T(0);
    }
  }
}
#endif

template <class V>
void dropout(const DropoutRun<typename V::T>& s) {
  s.stream ? dropout_row<V, V::kStreams>(s) : dropout_row<V, false>(s);
}

}  // namespace rondo::ops::RONDO_OPS_ISA
