// The runtime's other calls and the products.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "cublasLt.h"
#include "cuda_bf16.h"
#include "cuda_runtime.h"
#include "streams.h"

struct EmulatedLt {};
struct EmulatedPreference {};
struct EmulatedOperation {
  cublasComputeType_t compute;
  cublasOperation_t transposed[2] = {CUBLAS_OP_N, CUBLAS_OP_N};
};
struct EmulatedLayout {
  cudaDataType_t type;
  std::int64_t rows, columns, stride;
};

namespace {
struct Operand {
  EmulatedLayout layout;
  const void* base;
  bool transposed, tf32;
};
// To 10 bits of the fraction, as the tensor cores' own conversion does.
float to_tf32(float x) {
  return std::isfinite(x) ? __uint_as_float((__float_as_uint(x) + 0x1000U) & 0xffffe000U) : x;
}
double value(const Operand& m, std::int64_t row, std::int64_t column) {
  if (m.transposed) std::swap(row, column);
  const std::int64_t at = row + column * m.layout.stride;
  if (m.layout.type != CUDA_R_32F)
    return static_cast<double>(__bfloat162float(static_cast<const __nv_bfloat16*>(m.base)[at]));
  const float x = static_cast<const float*>(m.base)[at];
  return static_cast<double>(m.tf32 ? to_tf32(x) : x);
}

thread_local int t_device = 0;

int devices() {
  const char* text = std::getenv("RONDO_EMULATED_GPUS");
  return text == nullptr ? 1 : std::max(1, std::atoi(text));
}
}  // namespace

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorNotSupported ? "operation not supported" : "emulated";
}
const char* cudaGetErrorName(cudaError_t) { return "emulated"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = emulated::told("none") ? 0 : devices();
  return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= devices()) return cudaErrorInvalidValue;
  t_device = device;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int bytes, int device) {
  const int written =
      std::snprintf(text, static_cast<std::size_t>(bytes), "0000:%02X:00.0", device);
  return written < bytes ? cudaSuccess : cudaErrorInvalidValue;
}
int rondo_emulated_device() { return t_device; }
// As on an H100: 227 KiB of a processor's shared memory, one block of a large kernel on each.
constexpr std::size_t kSharedBytes = 227 << 10;
using emulated::kProcessors;

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  *p = {"emulated GPU", emulated::told("old") ? 7 : 9, 0, kProcessors};
  if (emulated::told("other")) std::strcpy(p->name, "another emulated GPU");
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* out, cudaDeviceAttr which, int) {
  *out = which == cudaDevAttrCooperativeLaunch ? 1 : static_cast<int>(kSharedBytes);
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int bytes) {
  return static_cast<std::size_t>(bytes) > kSharedBytes ? cudaErrorInvalidValue : cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int,
                                                          std::size_t shared_bytes) {
  return *blocks = shared_bytes <= kSharedBytes ? 1 : 0, cudaSuccess;
}
bool emulated::admits(const Launch& launch) {
  if (launch.shared_bytes > kSharedBytes) return false;
  return !launch.cooperative || launch.blocks <= unsigned{kProcessors};
}
cudaError_t cudaDriverGetVersion(int* v) { return *v = 0, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* v) { return *v = 0, cudaSuccess; }
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t n, cudaMemcpyKind,
                            cudaStream_t stream) {
  emulated::submit(stream, [=] {
    emulated::touch(from);
    std::memcpy(to, from, n);
  });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t n, cudaStream_t stream) {
  emulated::submit(stream, [=] { std::memset(to, byte, n); });
  return cudaSuccess;
}
cudaError_t cudaMemset2DAsync(void* to, std::size_t pitch, int byte, std::size_t width,
                              std::size_t height, cudaStream_t stream) {
  if (width > pitch) return cudaErrorInvalidValue;
  emulated::submit(stream, [=] {
    for (std::size_t y = 0; y < height; ++y)
      std::memset(static_cast<char*>(to) + y * pitch, byte, width);
  });
  return cudaSuccess;
}
const char* cublasLtGetStatusName(cublasStatus_t) { return "emulated"; }
std::size_t cublasLtGetVersion() { return 0; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* h) {
  return *h = new EmulatedLt, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { return delete h, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* d, cublasComputeType_t compute,
                                        cudaDataType_t) {
  return *d = new EmulatedOperation{compute}, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
  return delete d, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                              cublasLtMatmulDescAttributes_t which,
                                              const void* from, std::size_t bytes) {
  if (bytes != sizeof(cublasOperation_t)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&d->transposed[which], from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* m, cudaDataType_t type,
                                          std::uint64_t rows, std::uint64_t columns,
                                          std::int64_t stride) {
  if (stride < static_cast<std::int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *m = new EmulatedLayout{type, static_cast<std::int64_t>(rows),
                          static_cast<std::int64_t>(columns), stride};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t m) {
  return delete m, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* p) {
  return *p = new EmulatedPreference, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
  return delete p, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t which,
                                                    const void*, std::size_t bytes) {
  const std::size_t wanted = which == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4;
  return bytes == wanted ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t* found, int* count) {
  found->state = emulated::told("no-product") ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
  return *count = 1, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void*,
                              cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t*, void*, std::size_t,
                              cudaStream_t stream) {
  const EmulatedLayout am = *a_layout, bm = *b_layout, dm = *d_layout;
  const bool at = operation->transposed[0] == CUBLAS_OP_T;
  const bool bt = operation->transposed[1] == CUBLAS_OP_T;
  const bool tf32 = operation->compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const Operand left{am, a, at, tf32}, right{bm, b, bt, tf32};
  const std::int64_t depth = at ? am.rows : am.columns;
  if ((at ? am.columns : am.rows) != dm.rows || (bt ? bm.rows : bm.columns) != dm.columns ||
      (bt ? bm.columns : bm.rows) != depth)
    return CUBLAS_STATUS_INVALID_VALUE;
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  emulated::submit(stream, [=] {
    for (std::int64_t j = 0; j < dm.columns; ++j) {
      for (std::int64_t i = 0; i < dm.rows; ++i) {
        double sum = 0;
        for (std::int64_t k = 0; k < depth; ++k) sum += value(left, i, k) * value(right, k, j);
        float& to = static_cast<float*>(d)[i + j * dm.stride];
        to = keep == 0 ? scale * static_cast<float>(sum) : scale * static_cast<float>(sum) +
                                                               keep * to;
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}
