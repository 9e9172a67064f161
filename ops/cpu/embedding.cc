#include <rondo/ops/embedding.h>

#include <algorithm>
#include <vector>

#include <rondo/ops/cpu/flat.h>

namespace rondo::ops {

template <class T>
void embedding_forward(const Executor& executor, In<T> table, View<const std::int32_t> ids,
                       View<T> y) {
  const Dim width = table.dim(1);
  OPS_CHECK(y.count() == ids.count() * width);
  for_flat(executor, ids.count(), [&](Dim from, Dim to) {
    for (Dim r = from; r < to; ++r) {
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
  constexpr Dim kColumns = 64;
  executor.run(static_cast<int>((width + kColumns - 1) / kColumns), [&](int part) {
    const Dim first = part * kColumns, n = std::min(kColumns, width - first);
    std::vector<T> sums(static_cast<std::size_t>(words * n), T(0));
    for (Dim r = 0; r < ids.count(); ++r) {
      OPS_CHECK(ids[r] >= 0 && ids[r] < words);
      T* to = sums.data() + ids[r] * n;
      const T* from = dy.data() + r * width + first;
      for (Dim c = 0; c < n; ++c) to[c] = to[c] + from[c];
    }
    for (Dim word = 0; word < words; ++word) {
      T* to = dtable.data() + word * width + first;
      const T* from = sums.data() + word * n;
      for (Dim c = 0; c < n; ++c) to[c] = mode == GradientMode::kAdd ? to[c] + from[c] : from[c];
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
