#include <rondo/ops/gemm.h>

#include <cstdio>
#include <type_traits>

#include <rondo/ops/cpu/kernel_table.h>

#ifdef RONDO_OPS_LIBXSMM
#include <libxsmm.h>
#endif

namespace rondo::ops {
namespace {

// Without fused multiply-add in hardware the library would round twice.
bool library_is_canonical() {
#ifdef RONDO_OPS_LIBXSMM
  static const bool yes = [] {
    libxsmm_init();
    return libxsmm_get_target_archid() >= LIBXSMM_X86_AVX2;
  }();
  return yes;
#else
  return false;
#endif
}

#ifdef RONDO_OPS_LIBXSMM
using Single = libxsmm_smmfunction;
using Batch = libxsmm_smmfunction_reducebatch_offs;

void (*make_code(const GemmShape& s, Dim rows))() {
  const auto i = [](Dim x) { return static_cast<libxsmm_blasint>(x); };
  const libxsmm_blasint lda = i(s.lda), ldb = i(s.ldb), ldc = i(s.ldc);
  const float alpha = 1, beta = s.accumulate ? 1 : 0;
  const int flags = s.b_by_depth ? LIBXSMM_GEMM_FLAG_TRANS_B : LIBXSMM_GEMM_FLAG_NONE;
  const int prefetch = LIBXSMM_GEMM_PREFETCH_NONE;
  // The library is column-major: its A is ours transposed, its columns are our rows.
  if (s.batched)
    return reinterpret_cast<void (*)()>(libxsmm_smmdispatch_reducebatch_offs(
        i(s.columns), i(rows), i(s.depth), &lda, &ldb, &ldc, &alpha, &beta, &flags, &prefetch));
  return reinterpret_cast<void (*)()>(
      libxsmm_smmdispatch(i(s.columns), i(rows), i(s.depth), &lda, &ldb, &ldc, &alpha, &beta,
                          &flags, &prefetch));
}
#endif

}  // namespace

template <class T>
GemmKernel<T>::GemmKernel(const GemmShape& shape) {
  reset(shape);
}

template <class T>
void GemmKernel<T>::reset(const GemmShape& s) {
  OPS_CHECK(s.columns % 16 == 0 && s.columns >= 32 && s.columns <= 64 && s.depth > 0);
  OPS_CHECK(s.lda >= s.columns && s.ldc >= s.columns);
  shape_ = s;
  for (auto& code : codes_) code.store(nullptr, std::memory_order_relaxed);
}

template <class T>
typename GemmKernel<T>::Code GemmKernel<T>::code(Dim rows) const {
#ifdef RONDO_OPS_LIBXSMM
  if constexpr (std::is_same_v<T, float>) {
    if (!library_is_canonical()) return nullptr;
    auto& slot = codes_[static_cast<std::size_t>(rows)];
    Code found = slot.load(std::memory_order_acquire);
    if (found == nullptr) {
      found = make_code(shape_, rows);
      slot.store(found, std::memory_order_release);
    }
    return found;
  }
#endif
  (void)rows;
  return nullptr;
}

template <class T>
void GemmKernel<T>::run(Dim rows, const T* a, const T* b, T* c, Dim blocks,
                        const std::uint64_t* a_offsets, const std::uint64_t* b_offsets) const {
  const Dim b_step = shape_.b_by_depth ? 1 : shape_.ldb;
  const Dim cuts = (rows + kRowsMax - 1) / kRowsMax;   // alike: one row alone is slow
  for (Dim cut = 0; cut < cuts; ++cut) {
    const Dim row = rows * cut / cuts, n = rows * (cut + 1) / cuts - row;
    const T* b_rows = b + row * b_step;
    T* c_rows = c + row * shape_.ldc;
#ifdef RONDO_OPS_LIBXSMM
    if constexpr (std::is_same_v<T, float>) {
      if (const Code made = code(n); made != nullptr) {
        if (a_offsets == nullptr) {
          reinterpret_cast<Single>(made)(a, b_rows, c_rows);
        } else {
          const unsigned long long count = static_cast<unsigned long long>(blocks);
          static_assert(sizeof(unsigned long long) == sizeof(std::uint64_t));
          reinterpret_cast<Batch>(made)(a, b_rows, c_rows, &count,
                                        reinterpret_cast<const unsigned long long*>(a_offsets),
                                        reinterpret_cast<const unsigned long long*>(b_offsets));
        }
        continue;
      }
    }
#endif
    kernels<T>().product({.rows = n, .columns = shape_.columns, .depth = shape_.depth,
                          .lda = shape_.lda, .ldb = shape_.ldb, .ldc = shape_.ldc,
                          .b_by_depth = shape_.b_by_depth, .accumulate = shape_.accumulate,
                          .a = a, .b = b_rows, .c = c_rows, .blocks = blocks,
                          .a_offsets = a_offsets, .b_offsets = b_offsets});
  }
}

template <class T>
void GemmKernel<T>::operator()(Dim rows, const T* a, const T* b, T* c) const {
  run(rows, a, b, c, 1, nullptr, nullptr);
}

template <class T>
void GemmKernel<T>::batch(Dim rows, const T* a, const T* b, T* c, Dim blocks,
                          const std::uint64_t* a_offsets, const std::uint64_t* b_offsets) const {
  run(rows, a, b, c, blocks, a_offsets, b_offsets);
}

const char* gemm_library() {
  static char text[64];
  static const bool once = [] {
#ifdef RONDO_OPS_LIBXSMM
    if (library_is_canonical()) {
      std::snprintf(text, sizeof text, "libxsmm %s %s", LIBXSMM_CONFIG_VERSION,
                    libxsmm_get_target_arch());
      return true;
    }
#endif
    std::snprintf(text, sizeof text, "own %s", kernels<float>().name);
    return true;
  }();
  (void)once;
  return text;
}

template class GemmKernel<float>;
template class GemmKernel<double>;

}  // namespace rondo::ops
