#pragma once

#include <rondo/ops/executor.h>
#include <rondo/ops/gemm.h>

// y [R,M] = [bias +] x [R,K] · A [K,M] for a matrix A that is packed once and used for many rows.
// A lies in panels of 64 columns; the last is 32 or 64 wide and padded with zeros.

namespace rondo::ops {

// The stride of a copy of rows of this width, for a product that reads them by columns
// (GemmShape::b_by_depth). Rows that lie 1 or 2 KiB apart fall into few sets of the caches: such
// products take a sixth longer (measured) than over a copy whose rows lie apart. Other widths are
// read as they lie.
template <class T>
[[nodiscard]] constexpr Dim stride_apart(Dim width) {
  constexpr Dim kLine = 64 / sizeof(T);
  return width == 16 * kLine || width == 32 * kLine ? width + kLine : width;
}

template <class T>
class PanelProduct {
 public:
  PanelProduct(Dim depth, Dim columns);
  // A[k][m] = from[k·row_stride + m·column_stride]. Requires: one of the strides is 1.
  void pack(const Executor&, const T* from, Dim row_stride, Dim column_stride);
  void run(const Executor&, Dim rows, const T* x, const T* bias, T* y) const;   // bias may be null
  void run_here(Dim rows, const T* x, const T* bias, T* y) const;   // in the calling thread

 private:
  void row_block(Dim rows, const T* x, const T* bias, T* y) const;
  Dim depth_, columns_, full_, rest_, rest_width_;
  Tensor<T> panels_;
  GemmKernel<T> full_kernel_, rest_kernel_;
};

}  // namespace rondo::ops
