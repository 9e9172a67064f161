#include <rondo/ops/layer_norm.h>

#include <algorithm>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {
namespace {

constexpr Dim kRows = 64;   // a block: part of the definition of the gradients' bits

}  // namespace

template <class T>
void layer_norm_forward(const Executor& executor, const LayerNormParams<const T>& params,
                        double epsilon, In<T> x, View<T> y, const LayerNormRows<T>& saved) {
  const Dim features = params.weight.count(), rows = features > 0 ? x.count() / features : 0;
  OPS_CHECK(epsilon > 0 && features > 0 && params.bias.count() == features);
  OPS_CHECK(x.count() == rows * features && y.count() == x.count());
  OPS_CHECK(saved.mean.count() == rows && saved.inverse.count() == rows);
  const bool stream = x.data() != y.data() && is_streamed(y.data(), y.count(), features);
  executor.run(static_cast<int>((rows + kRows - 1) / kRows), [&](int part) {
    const Dim row = part * kRows;
    kernels<T>().layer_norm({.rows = std::min(rows - row, kRows), .count = features,
                             .x = x.data() + row * features, .weight = params.weight.data(),
                             .bias = params.bias.data(), .epsilon = static_cast<T>(epsilon),
                             .y = y.data() + row * features, .mean = saved.mean.data() + row,
                             .inverse = saved.inverse.data() + row, .stream = stream});
    kernels<T>().fence();
  });
}

template <class T>
void layer_norm_backward(const Executor& executor, const LayerNormBackward<T>& b,
                         Tensor<T>& scratch) {
  const Dim features = b.params.weight.count(), rows = features > 0 ? b.x.count() / features : 0;
  OPS_CHECK(features > 0 && rows > 0 && b.x.count() == rows * features);
  OPS_CHECK(b.dy.count() == b.x.count() && b.dx.count() == b.x.count());
  OPS_CHECK(b.rows.mean.count() == rows && b.rows.inverse.count() == rows);
  OPS_CHECK(b.grads.weight.count() == features && b.grads.bias.count() == features);
  const Dim blocks = (rows + kRows - 1) / kRows;
  ensure(scratch, blocks * 2 * features);
  T* sums = scratch.data();
  const bool stream = b.dx.data() != b.dy.data() && b.dx.data() != b.x.data() &&
                      is_streamed(b.dx.data(), b.dx.count(), features);
  executor.run(static_cast<int>(blocks), [&](int part) {
    T* mine = sums + part * 2 * features;
    std::fill_n(mine, 2 * features, T(0));
    const Dim row = part * kRows;
    kernels<T>().layer_norm_backward(
        {.rows = std::min(rows - row, kRows), .count = features, .x = b.x.data() + row * features,
         .dy = b.dy.data() + row * features, .weight = b.params.weight.data(),
         .mean = b.rows.mean.data() + row, .inverse = b.rows.inverse.data() + row,
         .dx = b.dx.data() + row * features, .stream = stream, .dweight = mine,
         .dbias = mine + features});
    kernels<T>().fence();
  });
  for (Dim block = 1; block < blocks; ++block)
    kernels<T>().add(sums, sums + block * 2 * features, 2 * features, sums, false);
  const auto put = [&](const T* from, View<T> to) {
    if (b.mode == GradientMode::kAdd) {
      kernels<T>().add(to.data(), from, features, to.data(), false);
    } else {
      std::copy_n(from, features, to.data());
    }
  };
  put(sums, b.grads.weight);
  put(sums + features, b.grads.bias);
}

#define RONDO_INSTANTIATE(T)                                                                     \
  template void layer_norm_forward(const Executor&, const LayerNormParams<const T>&, double,     \
                                   In<T>, View<T>, const LayerNormRows<T>&);                     \
  template void layer_norm_backward(const Executor&, const LayerNormBackward<T>&, Tensor<T>&);
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
