#include <rondo/ops/embedding.h>

#include <algorithm>
#include <vector>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {

template <class T>
void embedding_forward(const Executor& executor, In<T> table, View<const std::int32_t> ids,
                       View<T> y) {
  const Dim width = table.dim(1), rows = ids.count();
  OPS_CHECK(y.count() == rows * width);
  const Dim block = std::max<Dim>(1, 32768 / std::max<Dim>(1, width));
  const bool stream = is_streamed(y.data(), y.count(), width);
  executor.run(static_cast<int>((rows + block - 1) / block), [&](int part) {
    for (Dim r = part * block; r < std::min(rows, (part + 1) * block); ++r) {
      OPS_CHECK(ids[r] >= 0 && ids[r] < table.dim(0));
      kernels<T>().copy(table.data() + ids[r] * width, width, y.data() + r * width, stream);
    }
    kernels<T>().fence();
  });
}

namespace {

// The rows of each word, ascending: those of `word` are rows[first[word]] to rows[first[word + 1]].
struct RowsOfWords {
  // This thread's, with the memory of the last time.
  static const RowsOfWords& of(View<const std::int32_t> ids, Dim words) {
    static thread_local RowsOfWords kept;
    kept.sort(ids, words);
    return kept;
  }

  void sort(View<const std::int32_t> ids, Dim words) {
    first.assign(static_cast<std::size_t>(words) + 1, 0);
    rows.resize(static_cast<std::size_t>(ids.count()));
    most = 0;
    for (const std::int32_t id : ids.span()) {
      OPS_CHECK(id >= 0 && id < words);
      ++first[static_cast<std::size_t>(id) + 1];
    }
    for (std::size_t word = 0; word + 1 < first.size(); ++word) {
      most = std::max(most, first[word + 1]);
      first[word + 1] += first[word];
    }
    next = first;
    for (Dim r = 0; r < ids.count(); ++r)
      rows[static_cast<std::size_t>(next[static_cast<std::size_t>(ids[r])]++)] = r;
  }
  std::vector<Dim> first, rows, next;
  Dim most = 0;   // rows of one word
};

}  // namespace

// Words are cut among threads, and columns where one word has most of the rows; never the rows of
// a word.
template <class T>
void embedding_backward(const Executor& executor, In<T> dy, View<const std::int32_t> ids,
                        View<T> dtable, GradientMode mode) {
  const Dim width = dtable.dim(1), words = dtable.dim(0);
  OPS_CHECK(dy.count() == ids.count() * width);
  const RowsOfWords& of = RowsOfWords::of(ids, words);
  const Dim threads = executor.threads();
  const Dim groups = threads == 1 ? 1 : std::min<Dim>(words, 16 * threads);
  const Dim cuts = of.most * threads > ids.count() ? std::clamp<Dim>(width / kTile, 1, threads) : 1;
  const bool stream = mode == GradientMode::kWrite && width % (cuts * kTile) == 0 &&
                      is_streamed(dtable.data(), dtable.count(), width);
  executor.run(static_cast<int>(groups * cuts), [&](int part) {
    const Dim group = part / cuts, cut = part % cuts;
    const Dim column = width * cut / cuts, n = width * (cut + 1) / cuts - column;
    static thread_local std::vector<T> sum;
    sum.resize(mode == GradientMode::kAdd ? static_cast<std::size_t>(n) : 0);
    RowSum<T> run{.from = dy.data() + column, .width = width, .columns = n, .stream = stream};
    const Dim end = words * (group + 1) / groups;
    for (Dim word = words * group / groups; word < end; ++word) {
      T* out = dtable.data() + word * width + column;
      const Dim first = of.first[static_cast<std::size_t>(word)];
      run.rows = of.rows.data() + first;
      run.count = of.first[static_cast<std::size_t>(word) + 1] - first;
      run.after = of.first[static_cast<std::size_t>(end)] - first - run.count;
      run.to = sum.empty() ? out : sum.data();
      kernels<T>().sum_rows(run);
      if (mode == GradientMode::kAdd) kernels<T>().add(out, sum.data(), n, out, false);
    }
    kernels<T>().fence();
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
