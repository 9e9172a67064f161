#pragma once

// exp, tanh, the logistic function and log, of our own, so that every machine rounds alike.
//
// exp: x = n·ln 2 + r with |r| <= ln 2 / 2 (n by adding 1.5·2^23, ln 2 in two parts), then the
// Taylor-like polynomial of degree 7 in r (its truncation is below 1e-8), times 2^n. tanh x = E /
// (E + 2) with E = e^(2x) − 1 = 2^n·(e^r − 1) + (2^n − 1), which keeps full relative precision
// near 0. Errors against the exact value, measured over the range by tests/ops: exp 1.1 ulp, tanh
// 2.6 ulp, logistic 2.5 ulp, log 2 ulp. exp saturates at e^-87.3 and e^87.3, so it never makes
// infinity or a denormal. double takes libm's: it is for checks.

#include <rondo/ops/cpu/vec.h>

namespace rondo::ops::RONDO_OPS_ISA {

// 2^n and e^r − 1 for x clamped to the range.
struct ExpParts {
  Float16 power, fraction;
};

inline ExpParts exp_parts(Float16 x) {
  x = min(Float16::all(87.3F), max(Float16::all(-87.3F), x));
  const Float16 magic = Float16::all(12582912.0F);
  const Float16 t = fma(x, Float16::all(0x1.715476p+0F), magic);
  const Float16 n = t - magic;
  Float16 r = fma(n, Float16::all(-0x1.62e4p-1F), x);     // ln 2, 15 bits: n times it is exact
  r = fma(n, Float16::all(-0x1.7f7d1cp-20F), r);          // and the rest
  Float16 p = Float16::all(1.0F / 5040.0F);
  p = fma(p, r, Float16::all(1.0F / 720.0F));
  p = fma(p, r, Float16::all(1.0F / 120.0F));
  p = fma(p, r, Float16::all(1.0F / 24.0F));
  p = fma(p, r, Float16::all(1.0F / 6.0F));
  p = fma(p, r, Float16::all(0.5F));
  return {power_of_two(t), fma(p, r * r, r)};
}

inline Float16 vexp(Float16 x) {
  const ExpParts e = exp_parts(x);
  return fma(e.power, e.fraction, e.power);
}

inline Float16 vtanh(Float16 x) {
  const Float16 limit = Float16::all(9.1F);
  x = min(limit, max(Float16::all(-9.1F), x));
  const ExpParts e = exp_parts(x + x);
  const Float16 minus1 = fma(e.power, e.fraction, e.power - Float16::all(1.0F));
  return minus1 / (minus1 + Float16::all(2.0F));
}

inline Float16 vlogistic(Float16 x) {
  const Float16 one = Float16::all(1.0F);
  return one / (one + vexp(Float16::all(0.0F) - x));
}

// For x normal and positive: x = m·2^e, m in [√½, √2), log m = 2·atanh((m−1)/(m+1)).
inline float log1(float x) {
  const unsigned bits = __builtin_bit_cast(unsigned, x);
  const int e = static_cast<int>(bits - 0x3F3504F3U) >> 23;
  const float m = __builtin_bit_cast(float, bits - (static_cast<unsigned>(e) << 23));
  const float s = (m - 1.0F) / (m + 1.0F);
  const float z = s * s;
  float p = fma1(z, 2.0F / 9.0F, 2.0F / 7.0F);
  p = fma1(p, z, 2.0F / 5.0F);
  p = fma1(p, z, 2.0F / 3.0F);
  p = fma1(p * z, s, s + s);
  const float n = static_cast<float>(e);
  return fma1(n, 0x1.62e4p-1F, fma1(n, 0x1.7f7d1cp-20F, p));
}
inline double log1(double x) { return __builtin_log(x); }

#if !defined(__AVX512F__) && !(defined(__AVX2__) && defined(__FMA__))
inline Double16 vexp(const Double16& x) {
  return Double16::map([&](int i) { return __builtin_exp(x.a[i]); });
}
inline Double16 vtanh(const Double16& x) {
  return Double16::map([&](int i) { return __builtin_tanh(x.a[i]); });
}
inline Double16 vlogistic(const Double16& x) {
  return Double16::map([&](int i) { return 1.0 / (1.0 + __builtin_exp(-x.a[i])); });
}
#endif

}  // namespace rondo::ops::RONDO_OPS_ISA
