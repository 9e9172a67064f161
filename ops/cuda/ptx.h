#pragma once

// The few instructions that CUDA C++ has no words for: matrix products of a warp, memory accesses
// with an order between blocks, the device's clock. The emulated device has its own file for them.

#include <cuda_runtime.h>

#include <cstdint>

#ifndef __CUDACC__
#include <emulated_ptx.h>
#else

namespace rondo::ops::cuda {

__device__ inline unsigned char* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];
  return dynamic_shared_memory;
}

__device__ inline std::uint32_t load_acquire(const std::uint32_t* from) {
  std::uint32_t v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(from) : "memory");
  return v;
}
// Everything the block wrote before its last barrier is seen by who acquires the word: a release
// covers what a barrier has ordered before it (PTX, "Causality order").
__device__ inline void store_release(std::uint32_t* to, std::uint32_t v) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(v) : "memory");
}
// From L2: what other blocks wrote is never looked for in this processor's own cache.
__device__ inline uint4 load_shared_by_blocks(const uint4* from) {
  uint4 v;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from) : "memory");
  return v;
}

// A word in host memory.
__device__ inline std::uint32_t load_system(const std::uint32_t* from) {
  std::uint32_t v;
  asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(v) : "l"(from) : "memory");
  return v;
}
__device__ inline void store_system(std::uint32_t* to, std::uint32_t v) {
  asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(to), "r"(v) : "memory");
  __threadfence_system();
}

__device__ inline std::uint64_t nanoseconds() {
  std::uint64_t v;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(v)::"memory");
  return v;
}
__device__ inline void rest() { __nanosleep(40); }

// Rounded to TF32, half away from zero.
__device__ inline std::uint32_t to_tf32(float x) {
  std::uint32_t v;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(v) : "f"(x));
  return v;
}

// Cut to TF32. Volatile: else weights are cut once, before the loop over time, and two copies of
// them do not fit into registers.
__device__ inline std::uint32_t cut_to_tf32(std::uint32_t x) {
  std::uint32_t v;
  asm volatile("and.b32 %0, %1, 0xffffe000;" : "=r"(v) : "r"(x));
  return v;
}

// d [16,8] += a [16,16]·b [16,8], a and b bf16. Lane 4g+t holds of d rows g, g, g+8, g+8 and
// columns 2t, 2t+1, 2t, 2t+1; of a rows g, g+8, g, g+8, depths 2t.. (twice), 2t+8.. (twice), two a
// word; of b column g, depths 2t.., 2t+8...
__device__ inline void mma_bf16(float (&d)[4], const uint4& a, std::uint32_t b0,
                                std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

// d [16,8] += a [16,8]·b [8,8] in TF32: the lowest 13 bits of a word do not count. Depths t (twice)
// and t+4 (twice) of a, t and t+4 of b; else as above.
__device__ inline void mma_tf32(float (&d)[4], const uint4& a, std::uint32_t b0,
                                std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

}  // namespace rondo::ops::cuda

#endif
