#include <rondo/ops/cpu/panel_product.h>

#include <algorithm>

#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {

template <class T>
PanelProduct<T>::PanelProduct(Dim depth, Dim columns)
    : depth_(depth),
      columns_(columns),
      full_(columns / kTile),
      rest_(columns % kTile),
      rest_width_(rest_ > 32 ? 64 : 32) {
  OPS_CHECK(depth > 0 && columns > 0);
  panels_ = Tensor<T>(Shape{depth * (full_ * kTile + (rest_ > 0 ? rest_width_ : 0))});
  if (full_ > 0)
    full_kernel_.reset({.columns = kTile, .depth = depth, .lda = kTile, .ldb = depth,
                        .ldc = columns, .accumulate = true});
  if (rest_ > 0)
    rest_kernel_.reset({.columns = rest_width_, .depth = depth, .lda = rest_width_, .ldb = depth,
                        .ldc = rest_width_, .accumulate = true});
}

template <class T>
void PanelProduct<T>::pack(const Executor& executor, const T* from, Dim row_stride,
                           Dim column_stride) {
  OPS_CHECK(row_stride == 1 || column_stride == 1);
  const Dim panels = full_ + (rest_ > 0 ? 1 : 0);
  executor.run(static_cast<int>(panels), [&](int part) {
    const Dim first = part * kTile;
    const Dim width = part < full_ ? kTile : rest_width_;
    const Dim exist = std::min(width, columns_ - first);
    T* to = panels_.data() + first * depth_;
    if (row_stride == 1)
      return kernels<T>().transpose({.rows = exist, .columns = depth_,
                                     .from = from + first * column_stride,
                                     .from_stride = column_stride, .to = to,
                                     .to_stride = width});
    for (Dim k = 0; k < depth_; ++k)
      std::copy_n(from + k * row_stride + first, exist, to + k * width);
  });
}

template <class T>
void PanelProduct<T>::row_block(Dim rows, const T* x, const T* bias, T* y) const {
  const auto start = [&](Dim first, Dim columns, Dim stride, T* tile) {
    for (Dim i = 0; i < rows; ++i) {
      if (bias == nullptr) {
        std::fill_n(tile + i * stride, columns, T(0));
      } else {
        std::copy_n(bias + first, columns, tile + i * stride);
      }
    }
  };
  for (Dim q = 0; q < full_; ++q) {
    start(q * kTile, kTile, columns_, y + q * kTile);
    full_kernel_(rows, panels_.data() + q * kTile * depth_, x, y + q * kTile);
  }
  if (rest_ == 0) return;
  alignas(64) T tile[GemmKernel<T>::kRowsMax * kTile];
  const Dim first = full_ * kTile;
  std::fill_n(tile, rows * rest_width_, T(0));
  start(first, rest_, rest_width_, tile);
  rest_kernel_(rows, panels_.data() + first * depth_, x, tile);
  for (Dim i = 0; i < rows; ++i)
    std::copy_n(tile + i * rest_width_, rest_, y + i * columns_ + first);
}

template <class T>
void PanelProduct<T>::run(const Executor& executor, Dim rows, const T* x, const T* bias,
                          T* y) const {
  const Dim block = GemmKernel<T>::kRowsMax;
  executor.run(static_cast<int>((rows + block - 1) / block), [&](int part) {
    const Dim row = part * block;
    row_block(std::min(block, rows - row), x + row * depth_, bias, y + row * columns_);
  });
}

template <class T>
void PanelProduct<T>::run_here(Dim rows, const T* x, const T* bias, T* y) const {
  const Dim block = GemmKernel<T>::kRowsMax;
  for (Dim row = 0; row < rows; row += block)
    row_block(std::min(block, rows - row), x + row * depth_, bias, y + row * columns_);
}

template class PanelProduct<float>;
template class PanelProduct<double>;

}  // namespace rondo::ops
