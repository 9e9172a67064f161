// Products of a warp, done by its last lane for all, from the lanes' registers as PTX deals them
// out ("Matrix Fragments for mma.m16n8k16" and ".m16n8k8").

#include "emulated_ptx.h"

namespace rondo::ops::cuda {

unsigned char* dynamic_shared() { return emulated::dynamic_shared(); }

std::uint32_t load_acquire(const std::uint32_t* from) {
  emulated::look();
  return *from;
}

// Each look at the clock is a second: what waits for long, waits for what never comes.
std::uint64_t nanoseconds() {
  static std::uint64_t now = 0;
  return now += 1'000'000'000;
}
std::uint32_t to_tf32(float x) {
  return (__float_as_uint(x) + 0x1000U) & 0xffffe000U;
}

namespace {

struct MmaLane {
  float* d;
  uint4 a;
  std::uint32_t b[2];
};

std::uint32_t mma_word(const uint4& a, int i) {
  const std::uint32_t words[4] = {a.x, a.y, a.z, a.w};
  return words[i];
}

// kTf32: one number a word, depth 8; else two bf16, depth 16.
template <bool kTf32>
void mma_of_warp(void** given) {
  constexpr int kDepth = kTf32 ? 8 : 16;
  MmaLane* const* lanes = reinterpret_cast<MmaLane* const*>(given);
  const auto number = [](std::uint32_t word, int which) {
    return static_cast<double>(__uint_as_float(
        kTf32 ? word & 0xffffe000U : which == 0 ? word << 16 : word & 0xffff0000U));
  };
  double a[16][kDepth], b[kDepth][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < 4; ++r)
      for (int k = 0; k < (kTf32 ? 1 : 2); ++k) {
        const int depth = kTf32 ? t + r / 2 * 4 : 2 * t + r / 2 * 8 + k;
        a[g + r % 2 * 8][depth] = number(mma_word(lanes[lane]->a, r), k);
      }
    for (int r = 0; r < 2; ++r)
      for (int k = 0; k < (kTf32 ? 1 : 2); ++k)
        b[kTf32 ? t + r * 4 : 2 * t + r * 8 + k][g] = number(lanes[lane]->b[r], k);
  }
  for (int lane = 0; lane < 32; ++lane)
    for (int r = 0; r < 4; ++r) {
      const int row = lane / 4 + r / 2 * 8, column = lane % 4 * 2 + r % 2;
      double sum = static_cast<double>(lanes[lane]->d[r]);   // products are exact in it
      for (int k = 0; k < kDepth; ++k) sum += a[row][k] * b[k][column];
      lanes[lane]->d[r] = static_cast<float>(sum);
    }
}

}  // namespace

void mma_bf16(float (&d)[4], const uint4& a, std::uint32_t b0, std::uint32_t b1) {
  MmaLane mine{d, a, {b0, b1}};
  emulated::together(mma_of_warp<false>, &mine);
}
void mma_tf32(float (&d)[4], const uint4& a, std::uint32_t b0, std::uint32_t b1) {
  MmaLane mine{d, a, {b0, b1}};
  emulated::together(mma_of_warp<true>, &mine);
}

}  // namespace rondo::ops::cuda
