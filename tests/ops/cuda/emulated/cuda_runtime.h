#pragma once

// As much of the CUDA runtime as ops/cuda uses, carried out by this processor, so that the kernels'
// indices, barriers and formulas are tested on machines without a GPU. Nothing is said about speed.
//
// Device memory is host memory (so AddressSanitizer watches every access of a kernel). A block's
// threads are fibers that take turns at barriers and shuffles; a barrier that not all of a block's
// threads reach ends the program. Blocks run one after another, but those of a cooperative launch
// and of one with dynamic shared memory are alive together (fibers.cc). Streams: see streams.h.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>

#define CUDART_VERSION 13000
#define __global__
#define __device__
#define __host__
#define __shared__ static   // blocks run one after another; those alive together: dynamic_shared()
#define __grid_constant__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  explicit dim3(unsigned size) : x(size) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
struct uint2 {
  unsigned x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulated {
void barrier();
std::uint64_t exchange(std::uint64_t mine, int from_lane);   // all of a warp at once
unsigned ballot(bool vote);
using Kernel = void (*)();   // only to tell kernels apart
struct Launch {
  Kernel kernel;
  unsigned blocks, threads;
  std::size_t shared_bytes;
  bool cooperative;
  // Its blocks may wait for one another.
  [[nodiscard]] bool together() const { return cooperative || shared_bytes > 0; }
};
void run_grid(const Launch&, const std::function<void()>& body);
void look();   // a thread lets other blocks go on that are alive together with its own
unsigned char* dynamic_shared();
using Together = void (*)(void** of_lanes);
void together(Together, void* mine);   // all of a warp at once
}  // namespace emulated

extern dim3 gridDim, threadIdx, blockIdx;   // of the fiber that runs
inline void __syncthreads() { emulated::barrier(); }

template <class T>
T __shfl_xor_sync(unsigned, T v, int d) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  bits = emulated::exchange(bits, static_cast<int>(threadIdx.x % 32) ^ d);
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
unsigned __ballot_sync(unsigned, bool vote);
inline bool __any_sync(unsigned mask, bool vote) { return __ballot_sync(mask, vote) != 0; }
inline bool __all_sync(unsigned mask, bool vote) { return __ballot_sync(mask, !vote) == 0; }
inline unsigned __float_as_uint(float x) {
  unsigned bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline void __syncwarp() { (void)__ballot_sync(0xffffffffU, false); }
inline float __uint_as_float(unsigned bits) {
  float x = 0;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned long long atomicMin(unsigned long long* at, unsigned long long v) {
  const unsigned long long old = *at;
  if (v < old) *at = v;
  return old;
}
using std::isfinite;
using std::isnan;
using std::max;
using std::min;

enum cudaError_t {
  cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35, cudaErrorNoDevice = 100, cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700, cudaErrorCooperativeLaunchTooLarge = 720,
  cudaErrorNotSupported = 801
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
using cudaStream_t = struct EmulatedStream*;
using cudaEvent_t = struct EmulatedEvent*;
using cudaGraph_t = struct EmulatedGraph*;
using cudaGraphExec_t = struct EmulatedGraph*;
struct cudaIpcMemHandle_t {
  char reserved[64];
};
enum { cudaIpcMemLazyEnablePeerAccess = 1 };
struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
};
enum cudaLaunchAttributeID { cudaLaunchAttributeCooperative };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int cooperative;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  const cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrCooperativeLaunch };

const char* cudaGetErrorString(cudaError_t);
const char* cudaGetErrorName(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaDeviceGetPCIBusId(char* text, int bytes, int device);
cudaError_t cudaDeviceGetAttribute(int*, cudaDeviceAttr, int device);
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int);
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int*, const void* kernel, int threads,
                                                          std::size_t shared_bytes);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
cudaError_t cudaDriverGetVersion(int*);
cudaError_t cudaRuntimeGetVersion(int*);
cudaError_t cudaMalloc(void**, std::size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaMallocHost(void**, std::size_t);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t*, void*);
cudaError_t cudaIpcOpenMemHandle(void**, cudaIpcMemHandle_t, unsigned);
cudaError_t cudaIpcCloseMemHandle(void*);
cudaError_t cudaMemGetInfo(std::size_t*, std::size_t*);
cudaError_t cudaMemcpyAsync(void*, const void*, std::size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void*, int, std::size_t, cudaStream_t);
cudaError_t cudaMemset2DAsync(void*, std::size_t pitch, int, std::size_t width, std::size_t height,
                              cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamQuery(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned);
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);
cudaError_t cudaEventCreate(cudaEvent_t*);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float*, cudaEvent_t, cudaEvent_t);

namespace emulated {
void submit(cudaStream_t, std::function<void()> work);   // or into the graph being captured
// RONDO_EMULATED_GPU names what is odd about the device: none, old, full, small, other, no-ipc,
// no-ipc-open, stuck (a block of those alive together never runs), deaf (streams do not wait for
// one another), no-product (cuBLASLt finds no algorithm).
// RONDO_EMULATED_GPUS: how many.
bool told(const char* what);
void touch(const void* device_memory);
bool admits(const Launch&);   // all blocks of a cooperative launch fit at once
// Of other blocks that wait for one another: those of all streams fit at once, or the program ends.
void share(cudaStream_t, unsigned blocks);
inline constexpr int kProcessors = 48;
cudaError_t broken();   // an error that stays, or none
}  // namespace emulated

// The arguments are copied at the launch, as on a device.
template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...),
                               A... arguments) {
  const emulated::Launch launch{reinterpret_cast<emulated::Kernel>(kernel), config->gridDim.x,
                                config->blockDim.x, config->dynamicSmemBytes,
                                config->numAttrs == 1 && config->attrs->val.cooperative != 0};
  if (!emulated::admits(launch)) return cudaErrorCooperativeLaunchTooLarge;
  if (launch.together() && !launch.cooperative) emulated::share(config->stream, launch.blocks);
  emulated::submit(config->stream, [=, all = std::tuple<P...>(arguments...)] {
    emulated::run_grid(launch, [&] { std::apply(kernel, all); });
  });
  return cudaSuccess;
}
