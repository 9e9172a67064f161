#pragma once

// Rows of a layer norm. Lanes past the last feature hold what adds nothing to a sum.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/row_kernel.h>

namespace rondo::ops::RONDO_OPS_ISA {

// Four chains side by side, so that additions need not wait for one another; chain j takes vectors
// j, j+4, …
template <class V>
struct Chains {
  V v[4] = {V::all(0), V::all(0), V::all(0), V::all(0)};
  [[nodiscard]] typename V::T sum() const { return lane_sum((v[0] + v[1]) + (v[2] + v[3])); }
};

// body(first element, elements left, chain) over a row.
template <class Body>
void each_chain(long count, const Body& body) {
  constexpr long kFour = 4 * kLanes;
  long i = 0;
  for (; i + kFour <= count; i += kFour) {
    body(i, long{kLanes}, 0);
    body(i + kLanes, long{kLanes}, 1);
    body(i + 2 * kLanes, long{kLanes}, 2);
    body(i + 3 * kLanes, long{kLanes}, 3);
  }
  for (int j = 0; i < count; i += kLanes, ++j) body(i, count - i, j);
}

// The row to be written is asked for early, the next row while this one is worked on, a part in
// every pass.
template <class T>
void ask_to_write(T* row, long i) {
  __builtin_prefetch(row + i, 1);
}

// Pointers are copied first: a vector store may alias anything, so they would be read again and
// again. Flattened: bodies that are called instead of inlined cost as much as the arithmetic.
template <class V, bool kStream>
[[gnu::flatten]] void layer_norm_row(const NormForward<typename V::T>& s, long row) {
  using T = typename V::T;
  const long elements = s.count;
  const T *x = s.x + row * elements, *weight = s.weight, *bias = s.bias;
  T* y = s.y + row * elements;
  const T count = static_cast<T>(elements);
  Chains<V> sums, squares;
  each_chain(elements, [&](long i, long n, int j) {
    if (!kStream) ask_to_write(y, i);
    if (j < 2) ask_for(x + elements + i);
    sums.v[j] = sums.v[j] + load_first<V>(x + i, n);
  });
  const T mean = sums.sum() / count;
  const V m = V::all(mean);
  each_chain(elements, [&](long i, long, int j) {
    if (j == 2) ask_for(x + elements + i);
    const V d = load_or<V>(x, i, elements, mean) - m;
    squares.v[j] = fma(d, d, squares.v[j]);
  });
  const T inverse = T(1) / sqrt1(squares.sum() / count + s.epsilon);
  const V scale = V::all(inverse);
  each_chain(elements, [&](long i, long n, int j) {
    if (j == 3) ask_for(x + elements + i);
    const V normal = (load_first<V>(x + i, n) - m) * scale;
    put<kStream>(fma(normal, load_first<V>(weight + i, n), load_first<V>(bias + i, n)), y + i, n);
  });
  s.mean[row] = mean;
  s.inverse[row] = inverse;
}

template <class V>
void layer_norm(const NormForward<typename V::T>& s) {
  for (long row = 0; row < s.rows; ++row)
    s.stream ? layer_norm_row<V, V::kStreams>(s, row) : layer_norm_row<V, false>(s, row);
}

// With g = dy·weight and n the normalised x: dx = inverse·(g − mean(g) − n·mean(g·n)). Two rows at
// a time where there are two: the sums over rows are then read and written half as often.
template <class V, int kRows, bool kStream>
[[gnu::flatten]] void layer_norm_back_rows(const NormBackward<typename V::T>& s, long row) {
  using T = typename V::T;
  const long elements = s.count;
  const T *x = s.x + row * elements, *dy = s.dy + row * elements, *weight = s.weight;
  T *dx = s.dx + row * elements, *dweight = s.dweight, *dbias = s.dbias;
  V mean[kRows], inverse[kRows];
  Chains<V> sums[kRows], products[kRows];
  for (int r = 0; r < kRows; ++r)
    mean[r] = V::all(s.mean[row + r]), inverse[r] = V::all(s.inverse[row + r]);
  each_chain(elements, [&](long i, long n, int j) {
    const V w = load_first<V>(weight + i, n);
    V of_weight = load_first<V>(dweight + i, n), of_bias = load_first<V>(dbias + i, n);
    for (int r = 0; r < kRows; ++r) {
      if (!kStream) ask_to_write(dx, r * elements + i);
      ask_for(x + (kRows + r) * elements + i);
      const V d = load_first<V>(dy + r * elements + i, n);
      const V normal = (load_first<V>(x + r * elements + i, n) - mean[r]) * inverse[r];
      const V g = d * w;
      sums[r].v[j] = sums[r].v[j] + g;
      products[r].v[j] = fma(g, normal, products[r].v[j]);
      of_weight = fma(d, normal, of_weight);
      of_bias = of_bias + d;
    }
    store_first(of_weight, dweight + i, n);
    store_first(of_bias, dbias + i, n);
  });
  const T count = static_cast<T>(elements);
  for (int r = 0; r < kRows; ++r, x += elements, dy += elements, dx += elements) {
    const V g_mean = V::all(sums[r].sum() / count), down = V::all(-(products[r].sum() / count));
    each_chain(elements, [&](long i, long n, int) {
      ask_for(dy + kRows * elements + i);
      const V normal = (load_first<V>(x + i, n) - mean[r]) * inverse[r];
      const V g = load_first<V>(dy + i, n) * load_first<V>(weight + i, n);
      put<kStream>(inverse[r] * fma(normal, down, g - g_mean), dx + i, n);
    });
  }
}

template <class V, bool kStream>
void layer_norm_back_all(const NormBackward<typename V::T>& s) {
  long row = 0;
  for (; row + 2 <= s.rows; row += 2) layer_norm_back_rows<V, 2, kStream>(s, row);
  if (row < s.rows) layer_norm_back_rows<V, 1, kStream>(s, row);
}

template <class V>
void layer_norm_backward(const NormBackward<typename V::T>& s) {
  s.stream ? layer_norm_back_all<V, V::kStreams>(s) : layer_norm_back_all<V, false>(s);
}

}  // namespace rondo::ops::RONDO_OPS_ISA
