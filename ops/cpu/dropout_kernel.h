#pragma once

// A row of dropout, sixteen Philox blocks of four numbers at a time. Integer arithmetic, so all
// instruction sets agree by nature. Blocks are dealt to lanes so that four unpackings put the
// numbers in the order of the elements: in registers of Q groups of four lanes, lane 4q + k holds
// block Q·k + q.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/vec.h>

namespace rondo::ops::RONDO_OPS_ISA {

#if defined(__AVX512F__) || defined(__AVX2__)
#if defined(__AVX512F__)
struct Words {
  static constexpr int kCount = 16;
  __m512i v;
  static Words all(unsigned x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
  static Words blocks() {
    return {_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)};
  }
  void store(unsigned* p) const { _mm512_storeu_si512(p, v); }
  friend Words operator+(Words x, Words y) { return {_mm512_add_epi32(x.v, y.v)}; }
  friend Words operator^(Words x, Words y) { return {_mm512_xor_si512(x.v, y.v)}; }
  friend Words low_pairs(Words x, Words y) { return {_mm512_unpacklo_epi32(x.v, y.v)}; }
  friend Words high_pairs(Words x, Words y) { return {_mm512_unpackhi_epi32(x.v, y.v)}; }
  friend Words low_fours(Words x, Words y) { return {_mm512_unpacklo_epi64(x.v, y.v)}; }
  friend Words high_fours(Words x, Words y) { return {_mm512_unpackhi_epi64(x.v, y.v)}; }
  void multiply(unsigned by, Words& high, Words& low) const {
    const __m512i m = _mm512_set1_epi32(static_cast<int>(by));
    const __m512i even = _mm512_mul_epu32(v, m);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(v, 32), m);
    low.v = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
    high.v = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
  }
};
#else
struct Words {
  static constexpr int kCount = 8;
  __m256i v;
  static Words all(unsigned x) { return {_mm256_set1_epi32(static_cast<int>(x))}; }
  static Words blocks() { return {_mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7)}; }
  void store(unsigned* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  friend Words operator+(Words x, Words y) { return {_mm256_add_epi32(x.v, y.v)}; }
  friend Words operator^(Words x, Words y) { return {_mm256_xor_si256(x.v, y.v)}; }
  friend Words low_pairs(Words x, Words y) { return {_mm256_unpacklo_epi32(x.v, y.v)}; }
  friend Words high_pairs(Words x, Words y) { return {_mm256_unpackhi_epi32(x.v, y.v)}; }
  friend Words low_fours(Words x, Words y) { return {_mm256_unpacklo_epi64(x.v, y.v)}; }
  friend Words high_fours(Words x, Words y) { return {_mm256_unpackhi_epi64(x.v, y.v)}; }
  void multiply(unsigned by, Words& high, Words& low) const {
    const __m256i m = _mm256_set1_epi32(static_cast<int>(by));
    const __m256i even = _mm256_mul_epu32(v, m);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(v, 32), m);
    low.v = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
    high.v = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  }
};
#endif

// Writes 4·Words::kCount numbers, from block `first` on, in the order of the elements.
inline void philox_words(const DropoutKey& key, unsigned first, unsigned* to) {
  Words x0 = Words::all(first) + Words::blocks(), x1 = Words::all(key.tensor);
  Words x2 = Words::all(key.sample), x3 = Words::all(key.step);
  unsigned k0 = key.seed_low, k1 = key.seed_high;
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
    Words p_high, p_low, q_high, q_low;
    x0.multiply(0xD2511F53U, p_high, p_low);
    x2.multiply(0xCD9E8D57U, q_high, q_low);
    x0 = q_high ^ x1 ^ Words::all(k0);
    x1 = q_low;
    x2 = p_high ^ x3 ^ Words::all(k1);
    x3 = p_low;
  }
  const Words a = low_pairs(x0, x1), b = low_pairs(x2, x3);
  const Words c = high_pairs(x0, x1), d = high_pairs(x2, x3);
  low_fours(a, b).store(to);
  high_fours(a, b).store(to + Words::kCount);
  low_fours(c, d).store(to + 2 * Words::kCount);
  high_fours(c, d).store(to + 3 * Words::kCount);
}
inline constexpr int kPhiloxWords = 4 * Words::kCount;
#else
inline constexpr int kPhiloxWords = 4;
inline void philox_words(const DropoutKey& key, unsigned first, unsigned* x) {
  x[0] = first, x[1] = key.tensor, x[2] = key.sample, x[3] = key.step;
  unsigned k0 = key.seed_low, k1 = key.seed_high;
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
    const unsigned long long p = 0xD2511F53ULL * x[0], q = 0xCD9E8D57ULL * x[2];
    x[0] = static_cast<unsigned>(q >> 32) ^ x[1] ^ k0;
    x[1] = static_cast<unsigned>(q);
    x[2] = static_cast<unsigned>(p >> 32) ^ x[3] ^ k1;
    x[3] = static_cast<unsigned>(p);
  }
}
#endif

template <class V>
void dropout(const DropoutRun<typename V::T>& s) {
  using T = typename V::T;
  constexpr long kGroup = 64;
  for (long i = 0; i < s.count; i += kGroup) {
    unsigned bits[kGroup];
    for (int w = 0; w < kGroup; w += kPhiloxWords)
      philox_words(s.key, s.first_block + static_cast<unsigned>((i + w) / 4), bits + w);
    T x[kGroup], y[kGroup];
    const long n = s.count - i < kGroup ? s.count - i : kGroup;
    const T* from = s.x + i;
    if (n < kGroup) {
      for (long e = 0; e < kGroup; ++e) x[e] = e < n ? from[e] : T(0);
      from = x;
    }
    T* to = n < kGroup ? y : s.y + i;
    for (long e = 0; e < kGroup; ++e) {   // a dropped infinity is 0, not NaN
      const T value = from[e] * s.scale;
      to[e] = (bits[e] >> 8) >= s.threshold ? value : T(0);
    }
    if (n < kGroup)
      for (long e = 0; e < n; ++e) s.y[i + e] = y[e];
  }
}

}  // namespace rondo::ops::RONDO_OPS_ISA
