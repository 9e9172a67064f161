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
  executor.run(static_cast<int>((rows + kRows - 1) / kRows), [&](int part) {
    for (Dim row = part * kRows; row < std::min(rows, (part + 1) * kRows); ++row)
      kernels<T>().layer_norm({.count = features, .x = x.data() + row * features,
                               .weight = params.weight.data(), .bias = params.bias.data(),
                               .epsilon = static_cast<T>(epsilon), .y = y.data() + row * features,
                               .mean = saved.mean.data() + row,
                               .inverse = saved.inverse.data() + row});
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
  executor.run(static_cast<int>(blocks), [&](int part) {
    T* mine = sums + part * 2 * features;
    std::fill_n(mine, 2 * features, T(0));
    for (Dim row = part * kRows; row < std::min(rows, (part + 1) * kRows); ++row)
      kernels<T>().layer_norm_backward(
          {.count = features, .x = b.x.data() + row * features, .dy = b.dy.data() + row * features,
           .weight = b.params.weight.data(), .mean = b.rows.mean[row],
           .inverse = b.rows.inverse[row], .dx = b.dx.data() + row * features, .dweight = mine,
           .dbias = mine + features});
  });
  for (Dim block = 1; block < blocks; ++block)
    kernels<T>().add(sums, sums + block * 2 * features, 2 * features, sums);
  const auto put = [&](const T* from, View<T> to) {
    if (b.mode == GradientMode::kAdd) {
      kernels<T>().add(to.data(), from, features, to.data());
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
