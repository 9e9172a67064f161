#include <rondo/ops/loss.h>

#include <algorithm>
#include <vector>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/elementwise.h>

namespace rondo::ops {
namespace {

constexpr Dim kRowsAPart = 64;

template <class Body>
void for_rows(const Executor& executor, Dim rows, const Body& body) {
  executor.run(static_cast<int>((rows + kRowsAPart - 1) / kRowsAPart), [&](int part) {
    for (Dim row = part * kRowsAPart; row < std::min(rows, (part + 1) * kRowsAPart); ++row)
      body(row);
    kernels<float>().fence();
  });
}

template <class T>
double tree_sum_of(View<T> values) {
  const auto all = values.span();
  return tree_sum(std::vector<double>(all.begin(), all.end()));
}

}  // namespace

template <class T>
double softmax_cross_entropy(const Executor& executor, In<T> logits,
                             View<const std::int32_t> targets, double scale, View<T> row_loss,
                             View<T> dlogits) {
  const Dim rows = targets.count();
  OPS_CHECK(rows > 0 && logits.count() % rows == 0 && row_loss.count() == rows);
  OPS_CHECK(dlogits.empty() || dlogits.count() == logits.count());
  const Dim classes = logits.count() / rows;
  for (const std::int32_t target : targets.span()) OPS_CHECK(target >= 0 && target < classes);
  const bool stream = classes <= kStreamedRow && dlogits.data() != logits.data() &&
                      is_streamed(dlogits.data(), dlogits.count(), classes);
  for_rows(executor, rows, [&](Dim row) {
    T* d = dlogits.empty() ? nullptr : dlogits.data() + row * classes;
    row_loss[row] = kernels<T>().cross_entropy(logits.data() + row * classes, classes,
                                               targets[row], static_cast<T>(scale), d, stream);
  });
  return tree_sum_of(row_loss);
}

template <class T>
double squared_error(const Executor& executor, In<T> y, In<T> target, double scale, View<T> dy) {
  OPS_CHECK(y.count() == target.count() && (dy.empty() || dy.count() == y.count()));
  constexpr Dim kBlock = 1024;
  std::vector<double> sums(static_cast<std::size_t>((y.count() + kBlock - 1) / kBlock));
  const bool stream = y.data() != dy.data() && target.data() != dy.data() &&
                      is_streamed(dy.data(), dy.count());
  for_flat(executor, y.count(), [&](Dim from, Dim to) {
    for (Dim i = from; i < to; i += kBlock)
      sums[static_cast<std::size_t>(i / kBlock)] = static_cast<double>(kernels<T>().squared_error(
          y.data() + i, target.data() + i, std::min(kBlock, to - i), static_cast<T>(2 * scale),
          dy.empty() ? nullptr : dy.data() + i, stream));
    kernels<T>().fence();
  });
  return tree_sum(sums);
}

template <class T>
void softmax(const Executor& executor, In<T> logits, double temperature, View<T> probabilities) {
  const Dim classes = logits.dim(logits.shape().rank() - 1);
  OPS_CHECK(temperature > 0 && probabilities.count() == logits.count());
  for_rows(executor, logits.count() / classes, [&](Dim row) {
    kernels<T>().softmax(logits.data() + row * classes, classes, static_cast<T>(1 / temperature),
                         probabilities.data() + row * classes);
  });
}

#define RONDO_INSTANTIATE(T)                                                                    \
  template double softmax_cross_entropy(const Executor&, In<T>, View<const std::int32_t>,       \
                                        double, View<T>, View<T>);                              \
  template double squared_error(const Executor&, In<T>, In<T>, double, View<T>);                \
  template void softmax(const Executor&, In<T>, double, View<T>);
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
