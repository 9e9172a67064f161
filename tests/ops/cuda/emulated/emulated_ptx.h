#pragma once

// ops/cuda/ptx.h on the emulated device.

#include "cuda_runtime.h"

namespace rondo::ops::cuda {

unsigned char* dynamic_shared();
std::uint32_t load_acquire(const std::uint32_t* from);   // other blocks go on
inline void store_release(std::uint32_t* to, std::uint32_t v) { *to = v; }
inline uint4 load_shared_by_blocks(const uint4* from) { return *from; }
inline std::uint32_t load_system(const std::uint32_t* from) { return *from; }
inline void store_system(std::uint32_t* to, std::uint32_t v) { *to = v; }
std::uint64_t nanoseconds();
inline void rest() {}
std::uint32_t to_tf32(float x);
inline std::uint32_t cut_to_tf32(std::uint32_t x) { return x & 0xffffe000U; }
void mma_bf16(float (&d)[4], const uint4& a, std::uint32_t b0, std::uint32_t b1);
void mma_tf32(float (&d)[4], const uint4& a, std::uint32_t b0, std::uint32_t b1);

}  // namespace rondo::ops::cuda
