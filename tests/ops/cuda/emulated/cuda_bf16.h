#pragma once

// bf16 as the device rounds it: to the nearest, ties to even; NaN stays NaN.

#include <cmath>
#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
  std::uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 x) {
  const std::uint32_t wide = std::uint32_t{x.bits} << 16;
  float f = 0;
  std::memcpy(&f, &wide, sizeof f);
  return f;
}

inline __nv_bfloat16 __float2bfloat16(float f) {
  if (std::isnan(f)) return {0x7fff};
  std::uint32_t wide = 0;
  std::memcpy(&wide, &f, sizeof f);
  wide += 0x7fff + (wide >> 16 & 1);
  return {static_cast<std::uint16_t>(wide >> 16)};
}
