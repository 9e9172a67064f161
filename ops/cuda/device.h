#pragma once

// What every file of the module shares: the context, one way to report, one way to launch, and the
// reductions with a fixed order.

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>

#include <rondo/ops/cuda/entries.h>

namespace rondo::ops::cuda {

struct PlanKey {   // all that the choice of an algorithm depends on
  std::array<Size, 12> words{};
  auto operator<=>(const PlanKey&) const = default;
};

struct Context {
  int device = 0;
  Context* main = nullptr;     // of a context beside another; null: this is the main one
  int processors = 0;
  cudaStream_t stream = nullptr;
  cudaEvent_t marks[2] = {nullptr, nullptr};
  cudaEvent_t order = nullptr;
  cudaStream_t copies = nullptr;   // of copies beside the line; both made by the first one
  std::array<cudaEvent_t, 16> copied{};   // of the last ones, by number
  std::uint64_t copies_begun = 0;
  std::array<cudaEvent_t, 16> noted{};    // the last points in the line, by number
  std::uint64_t notes = 0;
  cublasLtHandle_t lt = nullptr;
  void* workspace = nullptr;   // of the products: one stream, so one is enough
  double* partials = nullptr;  // [kPartialsMax] of the reductions
  void* scratch = nullptr;
  std::size_t scratch_bytes = 0;
  std::map<PlanKey, cublasLtMatmulAlgo_t> plans;
  std::uint32_t* stalled = nullptr;    // host memory: a persistent kernel gave up waiting
  std::uint64_t patience_ns = 0;       // of its waits
  std::set<Context*> beside;           // of the main one: the other lines
  std::set<std::string> recurrences;   // how the layers go through time, for profile()
  Context& top() { return main == nullptr ? *this : *main; }   // has what is above, but the plans
};

inline constexpr std::size_t kWorkspaceBytes = std::size_t{64} << 20;
inline constexpr int kThreads = 256;        // of every block
inline constexpr Size kPartialsMax = 1024;
inline constexpr std::uint64_t kNsOfASecond = 1'000'000'000;
inline constexpr Size kBlocksMax = 4096;    // of kernels that stride over a flat buffer

Fault fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
Fault check(cudaError_t, const char* what);
Fault use(Context&);                                            // the calling thread's device
// Device memory that any line of the context may still work on: waits for all of them.
Fault free_memory(Context&, void*);
Fault scratch(Context&, std::size_t bytes, void** out);         // until the next call of scratch
Fault sum_partials(Context&, Size count, double* sum, int add);   // ascending, in double

// x [rows] rows of `stride`, the first `columns` of each.
struct Columns {
  const void* x;
  Size rows, columns, stride;
  bool bf16;
};
Fault sum_columns(Context&, const Columns&, float* sums, int add);
struct Scatter {   // rows of dy with their ids, as sum_columns' x
  Columns dy;
  const std::int32_t* ids;
  Size words;
  float* to;   // [words, columns]
  int add;
};
Fault scatter_add(Context&, const Scatter&);
Fault multiply(Context&, const Product&);

#define RONDO_TRY(expression)                                                       \
  do {                                                                              \
    if (const ::rondo::ops::cuda::Fault try_fault_ = (expression); try_fault_ != nullptr) \
      return try_fault_;                                                            \
  } while (false)
#define RONDO_CUDA(call) RONDO_TRY(::rondo::ops::cuda::check((call), #call))
#define RONDO_NEED(condition)                                                             \
  do {                                                                                    \
    if (!(condition))                                                                     \
      return ::rondo::ops::cuda::fail("wrong arguments of a GPU op: not %s", #condition); \
  } while (false)

// One way to start a kernel: blocks of kThreads threads. Nothing to do is nothing started.
template <class... P, class... A>
Fault launch(Context& c, void (*kernel)(P...), Size blocks, A... arguments) {
  if (blocks == 0) return nullptr;
  if (blocks < 0 || blocks > 0x7fffffff) return fail("a GPU kernel's grid is too large");
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(kThreads));
  config.stream = c.stream;
  return check(cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...),
               "a kernel's start");
}

inline Size ceil_div(Size a, Size b) { return (a + b - 1) / b; }
inline Size flat_blocks(Size count) { return std::min(ceil_div(count, 4 * kThreads), kBlocksMax); }

inline bool aligned16() { return true; }
template <class P, class... Rest>
bool aligned16(P* pointer, Rest... rest) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0 && aligned16(rest...);
}

// Four elements from i on (i a multiple of 4); what lies past the end reads as 0.
template <bool kWide>
__device__ inline void load4(const float* p, Size i, Size count, float (&v)[4]) {
  if (kWide && i + 4 <= count) {
    const float4 q = *reinterpret_cast<const float4*>(p + i);
    v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) v[j] = i + j < count ? p[i + j] : 0.0F;
}

template <bool kWide>
__device__ inline void store4(const float (&v)[4], float* p, Size i, Size count) {
  if (kWide && i + 4 <= count) {
    *reinterpret_cast<float4*>(p + i) = make_float4(v[0], v[1], v[2], v[3]);
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j)
    if (i + j < count) p[i + j] = v[j];
}

__device__ inline Size flat_index() {
  return static_cast<Size>(blockIdx.x) * kThreads + static_cast<Size>(threadIdx.x);
}
__device__ inline Size flat_step() { return static_cast<Size>(gridDim.x) * kThreads; }

__device__ inline float as_float(float x) { return x; }
__device__ inline float as_float(__nv_bfloat16 x) { return __bfloat162float(x); }

__device__ inline float logistic(float x) { return 1.0F / (1.0F + expf(-x)); }

struct Sum {
  template <class T>
  static __device__ T join(T a, T b) { return a + b; }
};
struct Max {
  template <class T>
  static __device__ T join(T a, T b) { return a > b ? a : b; }
};

// All threads of a warp get the same value, joined in a fixed tree.
template <class Op, class T>
__device__ inline T warp_all(T v) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) v = Op::join(v, __shfl_xor_sync(0xffffffffU, v, d));
  return v;
}

// All threads of the block take part and get the same value.
template <class Op, class T>
__device__ inline T block_all(T v) {
  __shared__ T warps[kThreads / 32];
  v = warp_all<Op>(v);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  v = warps[0];
#pragma unroll
  for (int w = 1; w < kThreads / 32; ++w) v = Op::join(v, warps[w]);
  __syncthreads();   // so that `warps` may be used again
  return v;
}

// A row is worked on by a warp (kWidth 32) or by a block (kWidth kThreads).
template <int kWidth, class Op, class T>
__device__ inline T row_all(T v) {
  if constexpr (kWidth == 32) return warp_all<Op>(v);
  return block_all<Op>(v);
}
template <int kWidth>
__device__ inline Size row_index() {
  return flat_index() / kWidth;
}
template <int kWidth>
__device__ inline Size row_lane() {
  return static_cast<Size>(threadIdx.x) % kWidth;
}

inline constexpr Size kWarpRowMax = 1024;   // longer rows get a block each
inline Size warp_row_blocks(Size rows) { return ceil_div(rows, kThreads / 32); }

}  // namespace rondo::ops::cuda
