#pragma once

// Sixteen lanes on every machine: one AVX-512 register, two AVX2 registers, or an array.
//
// This file and the *_kernel.h beside it are compiled once for every instruction set
// (kernels_*.cc), each time in a namespace of its own, RONDO_OPS_ISA. Every operation rounds once
// and alike in all of them: that is what makes bits equal. max and min return the second operand
// when either is NaN, as x86 does, so NaN travels. These headers may include nothing with inline
// functions of the outside world: the linker would keep one copy, compiled for a processor that
// the machine may not have.

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#endif

namespace rondo::ops::RONDO_OPS_ISA {

inline constexpr int kLanes = 16;

inline float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double fma1(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float sqrt1(float a) { return __builtin_sqrtf(a); }
inline double sqrt1(double a) { return __builtin_sqrt(a); }
inline float bits_shifted(float t) {
  return __builtin_bit_cast(float, (__builtin_bit_cast(unsigned, t) << 23) + 0x3F800000U);
}

// The array version: the fallback for float, and all there is for double.
template <class Real>
struct ArrayVec {
  using T = Real;
  static constexpr bool kStreams = false;   // no way past the caches
  T a[kLanes];
  static ArrayVec all(T x) { return map([x](int) { return x; }); }
  static ArrayVec load(const T* p) { return map([p](int i) { return p[i]; }); }
  void store(T* p) const {
    for (int i = 0; i < kLanes; ++i) p[i] = a[i];
  }
  void stream(T* p) const { store(p); }
  static ArrayVec load_some(const T* p, long n, T rest) {
    return map([&](int i) { return i < n ? p[i] : rest; });
  }
  void store_some(T* p, long n) const {
    for (long i = 0; i < n; ++i) p[i] = a[i];
  }
  template <class F>
  static ArrayVec map(F f) {
    ArrayVec r;
    for (int i = 0; i < kLanes; ++i) r.a[i] = f(i);
    return r;
  }
  friend ArrayVec operator+(const ArrayVec& x, const ArrayVec& y) {
    return map([&](int i) { return x.a[i] + y.a[i]; });
  }
  friend ArrayVec operator-(const ArrayVec& x, const ArrayVec& y) {
    return map([&](int i) { return x.a[i] - y.a[i]; });
  }
  friend ArrayVec operator*(const ArrayVec& x, const ArrayVec& y) {
    return map([&](int i) { return x.a[i] * y.a[i]; });
  }
  friend ArrayVec operator/(const ArrayVec& x, const ArrayVec& y) {
    return map([&](int i) { return x.a[i] / y.a[i]; });
  }
  friend ArrayVec fma(const ArrayVec& x, const ArrayVec& y, const ArrayVec& z) {
    return map([&](int i) { return fma1(x.a[i], y.a[i], z.a[i]); });
  }
  friend ArrayVec max(const ArrayVec& x, const ArrayVec& y) {
    return map([&](int i) { return x.a[i] > y.a[i] ? x.a[i] : y.a[i]; });
  }
  friend ArrayVec min(const ArrayVec& x, const ArrayVec& y) {
    return map([&](int i) { return x.a[i] < y.a[i] ? x.a[i] : y.a[i]; });
  }
  friend ArrayVec sqrt(const ArrayVec& x) {
    return map([&](int i) { return sqrt1(x.a[i]); });
  }
  // x > 0 ? y : 0, lane by lane.
  friend ArrayVec where_positive(const ArrayVec& x, const ArrayVec& y) {
    return map([&](int i) { return x.a[i] > T(0) ? y.a[i] : T(0); });
  }
  // 2^n where t = 1.5·2^23 + n: float only.
  friend ArrayVec power_of_two(const ArrayVec& t) {
    return map([&](int i) { return bits_shifted(t.a[i]); });
  }
};

#if defined(__AVX512F__)
struct Float16 {
  using T = float;
  static constexpr bool kStreams = true;
  __m512 v;
  static Float16 all(float x) { return {_mm512_set1_ps(x)}; }
  static Float16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static __mmask16 lanes(long n) { return static_cast<__mmask16>((1U << n) - 1); }
  static Float16 load_some(const float* p, long n, float rest) {
    return {_mm512_mask_loadu_ps(_mm512_set1_ps(rest), lanes(n), p)};
  }
  void store_some(float* p, long n) const { _mm512_mask_storeu_ps(p, lanes(n), v); }
  [[nodiscard]] __m256 low() const { return _mm512_castps512_ps256(v); }
  [[nodiscard]] __m256 high() const { return _mm512_extractf32x8_ps(v, 1); }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void stream(float* p) const { _mm512_stream_ps(p, v); }
  friend Float16 operator+(Float16 x, Float16 y) { return {_mm512_add_ps(x.v, y.v)}; }
  friend Float16 operator-(Float16 x, Float16 y) { return {_mm512_sub_ps(x.v, y.v)}; }
  friend Float16 operator*(Float16 x, Float16 y) { return {_mm512_mul_ps(x.v, y.v)}; }
  friend Float16 operator/(Float16 x, Float16 y) { return {_mm512_div_ps(x.v, y.v)}; }
  friend Float16 fma(Float16 x, Float16 y, Float16 z) { return {_mm512_fmadd_ps(x.v, y.v, z.v)}; }
  friend Float16 max(Float16 x, Float16 y) { return {_mm512_max_ps(x.v, y.v)}; }
  friend Float16 min(Float16 x, Float16 y) { return {_mm512_min_ps(x.v, y.v)}; }
  friend Float16 sqrt(Float16 x) { return {_mm512_sqrt_ps(x.v)}; }
  friend Float16 where_positive(Float16 x, Float16 y) {
    const __mmask16 m = _mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_GT_OQ);
    return {_mm512_maskz_mov_ps(m, y.v)};
  }
  friend Float16 power_of_two(Float16 t) {
    const __m512i shifted = _mm512_slli_epi32(_mm512_castps_si512(t.v), 23);
    return {_mm512_castsi512_ps(_mm512_add_epi32(shifted, _mm512_set1_epi32(0x3F800000)))};
  }
};
#elif defined(__AVX2__) && defined(__FMA__)
struct Float16 {
  using T = float;
  static constexpr bool kStreams = true;
  __m256 lo, hi;
  static Float16 all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Float16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static __m256i lanes(long n) {   // n < 1: none
    const __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), numbers);
  }
  static __m256 half_some(const float* p, __m256i some, float rest) {
    return _mm256_blendv_ps(_mm256_set1_ps(rest), _mm256_maskload_ps(p, some),
                            _mm256_castsi256_ps(some));
  }
  static Float16 load_some(const float* p, long n, float rest) {
    return {half_some(p, lanes(n), rest), half_some(p + 8, lanes(n - 8), rest)};
  }
  void store_some(float* p, long n) const {
    _mm256_maskstore_ps(p, lanes(n), lo);
    _mm256_maskstore_ps(p + 8, lanes(n - 8), hi);
  }
  [[nodiscard]] __m256 low() const { return lo; }
  [[nodiscard]] __m256 high() const { return hi; }
  void store(float* p) const {
    _mm256_storeu_ps(p, lo);
    _mm256_storeu_ps(p + 8, hi);
  }
  void stream(float* p) const {
    _mm256_stream_ps(p, lo);
    _mm256_stream_ps(p + 8, hi);
  }
  friend Float16 operator+(Float16 x, Float16 y) {
    return {_mm256_add_ps(x.lo, y.lo), _mm256_add_ps(x.hi, y.hi)};
  }
  friend Float16 operator-(Float16 x, Float16 y) {
    return {_mm256_sub_ps(x.lo, y.lo), _mm256_sub_ps(x.hi, y.hi)};
  }
  friend Float16 operator*(Float16 x, Float16 y) {
    return {_mm256_mul_ps(x.lo, y.lo), _mm256_mul_ps(x.hi, y.hi)};
  }
  friend Float16 operator/(Float16 x, Float16 y) {
    return {_mm256_div_ps(x.lo, y.lo), _mm256_div_ps(x.hi, y.hi)};
  }
  friend Float16 fma(Float16 x, Float16 y, Float16 z) {
    return {_mm256_fmadd_ps(x.lo, y.lo, z.lo), _mm256_fmadd_ps(x.hi, y.hi, z.hi)};
  }
  friend Float16 max(Float16 x, Float16 y) {
    return {_mm256_max_ps(x.lo, y.lo), _mm256_max_ps(x.hi, y.hi)};
  }
  friend Float16 min(Float16 x, Float16 y) {
    return {_mm256_min_ps(x.lo, y.lo), _mm256_min_ps(x.hi, y.hi)};
  }
  friend Float16 sqrt(Float16 x) { return {_mm256_sqrt_ps(x.lo), _mm256_sqrt_ps(x.hi)}; }
  friend Float16 where_positive(Float16 x, Float16 y) {
    const __m256 zero = _mm256_setzero_ps();
    return {_mm256_and_ps(_mm256_cmp_ps(x.lo, zero, _CMP_GT_OQ), y.lo),
            _mm256_and_ps(_mm256_cmp_ps(x.hi, zero, _CMP_GT_OQ), y.hi)};
  }
  static __m256 half_power(__m256 t) {
    const __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(shifted, _mm256_set1_epi32(0x3F800000)));
  }
  friend Float16 power_of_two(Float16 t) { return {half_power(t.lo), half_power(t.hi)}; }
};
#else
using Float16 = ArrayVec<float>;
#endif

using Double16 = ArrayVec<double>;

// The first n lanes; the others are 0 and are not read. Requires: 0 < n <= 16.
template <class V>
V load_first(const typename V::T* p, long n) {
  return n >= kLanes ? V::load(p) : V::load_some(p, n, 0);
}

template <class V>
void store_first(V v, typename V::T* p, long n) {
  n >= kLanes ? v.store(p) : v.store_some(p, n);
}

// Past the caches: for results that would not stay there anyway, since a line that is written whole
// need not be read before. Requires: p lies on a cache line. Whoever streams calls fence() before
// others are told of the result.
template <bool kStream, class V>
void put(V v, typename V::T* p, long n) {
  if (kStream && n >= kLanes) return v.stream(p);
  store_first(v, p, n);
}

// Asks for a line that is wanted in a while: memory would stand still meanwhile. Any address.
template <class T>
void ask_for(const T* p) {
  __builtin_prefetch(p, 0, 2);   // into the second cache: the first has no room
}

template <class T>
void ask_for_tile(const T* p) {   // four lines
  for (int line = 0; line < 4; ++line) ask_for(p + line * kLanes);
}

inline void fence() {
#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
  _mm_sfence();
#endif
}

// The fixed tree: lanes l and l+8, then +4, +2, +1.
template <class V>
typename V::T lane_sum(V v) {
  typename V::T a[kLanes];
  v.store(a);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a[i] = a[i] + a[i + half];
  return a[0];
}

template <class V>
typename V::T lane_max(V v) {
  typename V::T a[kLanes];
  v.store(a);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a[i] = a[i] > a[i + half] ? a[i] : a[i + half];
  return a[0];
}

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
// The same trees in registers.
inline float lane_sum(Float16 v) {
  const __m256 eight = _mm256_add_ps(v.low(), v.high());
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

inline float lane_max(Float16 v) {
  const __m256 eight = _mm256_max_ps(v.low(), v.high());
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
#endif

}  // namespace rondo::ops::RONDO_OPS_ISA
