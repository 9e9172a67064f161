#include <rondo/ops/elementwise.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {

// The largest power of two below the count goes left: a block of 2^k leaves is then always a
// subtree.
double tree_sum(std::span<const double> values) {
  if (values.empty()) return 0;
  if (values.size() == 1) return values[0];
  const std::size_t left = std::bit_floor(values.size() - 1);
  return tree_sum(values.first(left)) + tree_sum(values.subspan(left));
}

template <class T>
double squared_norm(const Executor& executor, View<const T> x) {
  constexpr Dim kBlock = 1024;
  std::vector<double> sums(static_cast<std::size_t>((x.count() + kBlock - 1) / kBlock));
  for_flat(executor, x.count(), [&](Dim from, Dim to) {   // ranges start at multiples of the block
    for (Dim i = from; i < to; i += kBlock)
      sums[static_cast<std::size_t>(i / kBlock)] = static_cast<double>(
          kernels<T>().block_squares(x.data() + i, std::min(kBlock, to - i)));
  });
  return tree_sum(sums);
}

template <class T>
void add(const Executor& executor, In<T> a, In<T> b, View<T> out) {
  OPS_CHECK(a.count() == out.count() && b.count() == out.count());
  const bool stream =
      a.data() != out.data() && b.data() != out.data() && is_streamed(out.data(), out.count());
  for_flat(executor, out.count(), [&](Dim from, Dim to) {
    kernels<T>().add(a.data() + from, b.data() + from, to - from, out.data() + from, stream);
    kernels<T>().fence();
  });
}

template <class T>
void scale(const Executor& executor, In<T> a, double factor, View<T> out) {
  OPS_CHECK(a.count() == out.count());
  const bool stream = a.data() != out.data() && is_streamed(out.data(), out.count());
  for_flat(executor, out.count(), [&](Dim from, Dim to) {
    kernels<T>().scale(a.data() + from, static_cast<T>(factor), to - from, out.data() + from,
                       stream);
    kernels<T>().fence();
  });
}

template <class T>
void clip_value(const Executor& executor, In<T> a, double limit, View<T> out) {
  OPS_CHECK(a.count() == out.count() && limit >= 0);
  const bool stream = a.data() != out.data() && is_streamed(out.data(), out.count());
  for_flat(executor, out.count(), [&](Dim from, Dim to) {
    kernels<T>().clip(a.data() + from, static_cast<T>(limit), to - from, out.data() + from,
                      stream);
    kernels<T>().fence();
  });
}

double clip_norm_factor(double squared, double limit) {
  OPS_CHECK(limit > 0);
  const double norm = std::sqrt(squared);
  return norm > limit ? limit / norm : 1.0;
}

#define RONDO_INSTANTIATE(T)                                             \
  template double squared_norm(const Executor&, View<const T>);          \
  template void add(const Executor&, In<T>, In<T>, View<T>);             \
  template void scale(const Executor&, In<T>, double, View<T>);          \
  template void clip_value(const Executor&, In<T>, double, View<T>);
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
