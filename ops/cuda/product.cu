// Products through cuBLASLt. The first algorithm that its heuristic names for a shape is kept for
// the life of the context; sums that are cut along the depth are joined in the workspace in a fixed
// order, so that results are the same from run to run.

#include <rondo/ops/cuda/device.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {
namespace {

Fault check_lt(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return nullptr;
  return fail("the GPU's product failed: %s in %s", cublasLtGetStatusName(status), what);
}
#define RONDO_LT(call) RONDO_TRY(check_lt((call), #call))

// cuBLASLt counts columns first: our c = a·b is its cᵀ = bᵀ·aᵀ, and row-major transposed is
// column-major as it lies. So b is its first matrix and a its second.
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  Plan() = default;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    if (preference != nullptr) (void)cublasLtMatmulPreferenceDestroy(preference);
    for (cublasLtMatrixLayout_t layout : {first, second, result})
      if (layout != nullptr) (void)cublasLtMatrixLayoutDestroy(layout);
    if (operation != nullptr) (void)cublasLtMatmulDescDestroy(operation);
  }
};

std::uint32_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const std::uintptr_t lowest = address & (~address + 1);
  return static_cast<std::uint32_t>(std::min<std::uintptr_t>(lowest == 0 ? 256 : lowest, 256));
}

Fault layout(cublasLtMatrixLayout_t* out, cudaDataType_t type, Size rows, Size columns,
             Size stride) {
  RONDO_LT(cublasLtMatrixLayoutCreate(out, type, static_cast<std::uint64_t>(rows),
                                      static_cast<std::uint64_t>(columns), stride));
  return nullptr;
}

Fault describe(const Product& p, Plan& plan) {
  const cudaDataType_t in = p.precision == Precision::kBf16 ? CUDA_R_16BF : CUDA_R_32F;
  const cublasComputeType_t compute =
      p.precision == Precision::kTf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  RONDO_LT(cublasLtMatmulDescCreate(&plan.operation, compute, CUDA_R_32F));
  const cublasOperation_t first = p.b_transposed != 0 ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = p.a_transposed != 0 ? CUBLAS_OP_T : CUBLAS_OP_N;
  RONDO_LT(cublasLtMatmulDescSetAttribute(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, &first,
                                          sizeof first));
  RONDO_LT(cublasLtMatmulDescSetAttribute(plan.operation, CUBLASLT_MATMUL_DESC_TRANSB, &second,
                                          sizeof second));
  RONDO_TRY(layout(&plan.first, in, p.b_transposed != 0 ? p.depth : p.columns,
                   p.b_transposed != 0 ? p.columns : p.depth, p.b_stride));
  RONDO_TRY(layout(&plan.second, in, p.a_transposed != 0 ? p.rows : p.depth,
                   p.a_transposed != 0 ? p.depth : p.rows, p.a_stride));
  return layout(&plan.result, CUDA_R_32F, p.columns, p.rows, p.c_stride);
}

Fault prefer(const Product& p, Plan& plan) {
  RONDO_LT(cublasLtMatmulPreferenceCreate(&plan.preference));
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t what, auto value) {
    return check_lt(cublasLtMatmulPreferenceSetAttribute(plan.preference, what, &value,
                                                         sizeof value), "a preference");
  };
  RONDO_TRY(set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceBytes}));
  RONDO_TRY(set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)));
  RONDO_TRY(set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(p.b)));
  RONDO_TRY(set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(p.a)));
  RONDO_TRY(set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(p.c)));
  return set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(p.c));
}

Fault choose(Context& c, const Product& p, Plan& plan, cublasLtMatmulAlgo_t& algorithm) {
  RONDO_TRY(prefer(p, plan));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(c.lt, plan.operation, plan.first, plan.second, plan.result,
                                     plan.result, plan.preference, 1, &found, &count);
  const bool none = count == 0 || found.state != CUBLAS_STATUS_SUCCESS;
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && none))
    return fail("cuBLASLt has no algorithm for a product of %lld rows, %lld columns, depth %lld",
                static_cast<long long>(p.rows), static_cast<long long>(p.columns),
                static_cast<long long>(p.depth));
  RONDO_TRY(check_lt(status, "cublasLtMatmulAlgoGetHeuristic"));
  algorithm = found.algo;
  return nullptr;
}

PlanKey key_of(const Product& p) {
  return {{p.rows, p.columns, p.depth, p.a_stride, p.b_stride, p.c_stride, p.a_transposed,
           p.b_transposed, static_cast<Size>(p.precision), alignment(p.a), alignment(p.b),
           alignment(p.c)}};
}

}  // namespace

Fault multiply(Context& c, const Product& p) {
  RONDO_NEED(p.rows > 0 && p.columns > 0 && p.depth > 0 && p.c_stride >= p.columns);
  RONDO_NEED(p.a_stride >= (p.a_transposed != 0 ? p.rows : p.depth));
  RONDO_NEED(p.b_stride >= (p.b_transposed != 0 ? p.depth : p.columns));
  Plan plan;
  RONDO_TRY(describe(p, plan));
  const PlanKey key = key_of(p);
  auto found = c.plans.find(key);
  if (found == c.plans.end()) {
    cublasLtMatmulAlgo_t algorithm{};
    RONDO_TRY(choose(c, p, plan, algorithm));
    found = c.plans.emplace(key, algorithm).first;
  }
  const float alpha = 1, beta = p.add != 0 ? 1.0F : 0.0F;
  RONDO_LT(cublasLtMatmul(c.lt, plan.operation, &alpha, p.b, plan.first, p.a, plan.second, &beta,
                          p.c, plan.result, p.c, plan.result, &found->second, c.workspace,
                          kWorkspaceBytes, c.stream));
  return nullptr;
}

}  // namespace rondo::ops::cuda
