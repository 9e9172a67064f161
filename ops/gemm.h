#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include <rondo/ops/tensor.h>

// The product seam: the only door to a matrix library.
//
//   C [rows × columns] = [C +] B [rows × depth] · A [depth × columns],  all row-major with strides
//
// Each output is one chain of fused multiply-adds over ascending depth, starting from 0 or from C.
// So a long depth may be cut into several calls that accumulate, and rows and columns may be cut
// in any way: the bits stay. `columns` is a multiple of 16 and at least 32, or the library splits
// the chain.
//
// A GemmKernel is one shape with any number of rows; code for a row count is made at its first use
// (libxsmm's JIT) and kept for the life of the process. Calls are thread-safe. Without libxsmm,
// and for double, a kernel of our own runs (cpu/product_kernel.h) with the same bits.

namespace rondo::ops {

struct GemmShape {
  Dim columns = 0;              // 32, 48 or 64: the width of a panel of A
  Dim depth = 0;
  Dim lda = 0, ldb = 0, ldc = 0;
  bool b_by_depth = false;      // B is stored depth × rows
  bool accumulate = false;
  bool batched = false;         // see batch()
};

template <class T>
class GemmKernel {
 public:
  static constexpr Dim kRowsMax = 64;   // more rows are cut into blocks of this many

  GemmKernel() = default;
  explicit GemmKernel(const GemmShape&);
  GemmKernel(const GemmKernel&) = delete;
  GemmKernel& operator=(const GemmKernel&) = delete;
  void reset(const GemmShape&);         // Not while others call.

  [[nodiscard]] const GemmShape& shape() const { return shape_; }
  void operator()(Dim rows, const T* a, const T* b, T* c) const;

  // The depth is `blocks` blocks of shape().depth each, block i at a + a_offsets[i] and b +
  // b_offsets[i] (in bytes). Requires: batched.
  void batch(Dim rows, const T* a, const T* b, T* c, Dim blocks, const std::uint64_t* a_offsets,
             const std::uint64_t* b_offsets) const;

 private:
  using Code = void (*)();
  Code code(Dim rows) const;
  void run(Dim rows, const T* a, const T* b, T* c, Dim blocks, const std::uint64_t* a_offsets,
           const std::uint64_t* b_offsets) const;

  GemmShape shape_;
  mutable std::array<std::atomic<Code>, kRowsMax + 1> codes_{};
};

// What the seam uses for float: "libxsmm 1.17 skx" or "own avx2".
[[nodiscard]] const char* gemm_library();

}  // namespace rondo::ops
