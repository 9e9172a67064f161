#pragma once

// One row of a layer norm. Lanes past the last feature hold what adds nothing to a sum.

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

// Asks for the next row, or for the row to be written, while this one is worked on: memory would
// stand still meanwhile.
template <class T>
void ask_for(const T* row_after, long i) {
  __builtin_prefetch(row_after + i);
}
template <class T>
void ask_to_write(T* row, long i) {
  __builtin_prefetch(row + i, 1);
}

// Pointers are copied first: a vector store may alias anything, so they would be read again and
// again. Flattened: bodies that are called instead of inlined cost as much as the arithmetic.
template <class V>
[[gnu::flatten]] void layer_norm(const NormForward<typename V::T>& s) {
  using T = typename V::T;
  const T *x = s.x, *weight = s.weight, *bias = s.bias;
  T* y = s.y;
  const long elements = s.count;
  const T count = static_cast<T>(elements);
  Chains<V> sums, squares;
  each_chain(elements, [&](long i, long n, int j) {
    ask_to_write(y, i);
    sums.v[j] = sums.v[j] + load_first<V>(x + i, n);
  });
  const T mean = sums.sum() / count;
  const V m = V::all(mean);
  each_chain(elements, [&](long i, long, int j) {
    ask_for(x + elements, i);
    const V d = load_or<V>(x, i, elements, mean) - m;
    squares.v[j] = fma(d, d, squares.v[j]);
  });
  const T inverse = T(1) / sqrt1(squares.sum() / count + s.epsilon);
  const V scale = V::all(inverse);
  each_chain(elements, [&](long i, long n, int) {
    const V normal = (load_first<V>(x + i, n) - m) * scale;
    store_first(fma(normal, load_first<V>(weight + i, n), load_first<V>(bias + i, n)), y + i, n);
  });
  *s.mean = mean;
  *s.inverse = inverse;
}

// With g = dy·weight and n the normalised x: dx = inverse·(g − mean(g) − n·mean(g·n)).
template <class V>
[[gnu::flatten]] void layer_norm_backward(const NormBackward<typename V::T>& s) {
  using T = typename V::T;
  const T *x = s.x, *dy = s.dy, *weight = s.weight;
  T *dx = s.dx, *dweight = s.dweight, *dbias = s.dbias;
  const long elements = s.count;
  const V mean = V::all(s.mean), inverse = V::all(s.inverse);
  Chains<V> sums, products;
  each_chain(elements, [&](long i, long n, int j) {
    ask_to_write(dx, i);
    const V d = load_first<V>(dy + i, n);
    const V normal = (load_first<V>(x + i, n) - mean) * inverse;
    const V g = d * load_first<V>(weight + i, n);
    sums.v[j] = sums.v[j] + g;
    products.v[j] = fma(g, normal, products.v[j]);
    store_first(fma(d, normal, load_first<V>(dweight + i, n)), dweight + i, n);
    store_first(load_first<V>(dbias + i, n) + d, dbias + i, n);
  });
  const T count = static_cast<T>(elements);
  const V g_mean = V::all(sums.sum() / count), down = V::all(-(products.sum() / count));
  each_chain(elements, [&](long i, long n, int) {
    ask_for(x + elements, i);
    ask_for(dy + elements, i);
    const V normal = (load_first<V>(x + i, n) - mean) * inverse;
    const V g = load_first<V>(dy + i, n) * load_first<V>(weight + i, n);
    store_first(inverse * fma(normal, down, g - g_mean), dx + i, n);
  });
}

}  // namespace rondo::ops::RONDO_OPS_ISA
