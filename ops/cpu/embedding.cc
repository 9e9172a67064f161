#include <rondo/ops/embedding.h>

#include <algorithm>
#include <vector>

#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {

template <class T>
void embedding_forward(const Executor& executor, In<T> table, View<const std::int32_t> ids,
                       View<T> y) {
  const Dim width = table.dim(1), rows = ids.count();
  OPS_CHECK(y.count() == rows * width);
  const Dim block = std::max<Dim>(1, 32768 / std::max<Dim>(1, width));
  executor.run(static_cast<int>((rows + block - 1) / block), [&](int part) {
    for (Dim r = part * block; r < std::min(rows, (part + 1) * block); ++r) {
      OPS_CHECK(ids[r] >= 0 && ids[r] < table.dim(0));
      std::copy_n(table.data() + ids[r] * width, width, y.data() + r * width);
    }
  });
}

// Columns are cut among threads, never rows: every sum runs over ascending r.
template <class T>
void embedding_backward(const Executor& executor, In<T> dy, View<const std::int32_t> ids,
                        View<T> dtable, GradientMode mode) {
  const Dim width = dtable.dim(1), words = dtable.dim(0);
  OPS_CHECK(dy.count() == ids.count() * width);
  const Dim parts = std::clamp<Dim>(width / kTile, 1, executor.threads());
  executor.run(static_cast<int>(parts), [&](int part) {
    const Dim first = width * part / parts, n = width * (part + 1) / parts - first;
    std::vector<T> sums(mode == GradientMode::kAdd ? static_cast<std::size_t>(words * n) : 0, T(0));
    T* to = sums.data();   // kWrite sums where the result belongs
    Dim stride = n;
    if (mode == GradientMode::kWrite) {
      to = dtable.data() + first, stride = width;
      for (Dim word = 0; word < words; ++word) std::fill_n(to + word * stride, n, T(0));
    }
    for (Dim r = 0; r < ids.count(); ++r) {
      OPS_CHECK(ids[r] >= 0 && ids[r] < words);
      T* sum = to + ids[r] * stride;
      kernels<T>().add(sum, dy.data() + r * width + first, n, sum);
    }
    if (mode == GradientMode::kWrite) return;
    for (Dim word = 0; word < words; ++word) {
      T* out = dtable.data() + word * width + first;
      kernels<T>().add(out, to + word * n, n, out);
    }
  });
}

#define RONDO_INSTANTIATE(T)                                                                  \
  template void embedding_forward(const Executor&, In<T>, View<const std::int32_t>, View<T>); \
  template void embedding_backward(const Executor&, In<T>, View<const std::int32_t>, View<T>, \
                                   GradientMode);
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
