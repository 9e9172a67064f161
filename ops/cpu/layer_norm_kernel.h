#pragma once

// One row of a layer norm. Lanes past the last feature hold what adds nothing to a sum.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/row_kernel.h>

namespace rondo::ops::RONDO_OPS_ISA {

template <class V>
void layer_norm(const NormForward<typename V::T>& s) {
  using T = typename V::T;
  const T count = static_cast<T>(s.count);
  V sum = V::all(0);
  for (long i = 0; i < s.count; i += kLanes) sum = sum + load_first<V>(s.x + i, s.count - i);
  const T mean = lane_sum(sum) / count;
  const V m = V::all(mean);
  V squares = V::all(0);
  for (long i = 0; i < s.count; i += kLanes) {
    const V d = load_or<V>(s.x, i, s.count, mean) - m;
    squares = fma(d, d, squares);
  }
  const T inverse = T(1) / sqrt1(lane_sum(squares) / count + s.epsilon);
  const V scale = V::all(inverse);
  for (long i = 0; i < s.count; i += kLanes) {
    const long n = s.count - i;
    const V normal = (load_first<V>(s.x + i, n) - m) * scale;
    store_first(fma(normal, load_first<V>(s.weight + i, n), load_first<V>(s.bias + i, n)), s.y + i,
                n);
  }
  *s.mean = mean;
  *s.inverse = inverse;
}

// With g = dy·weight and n the normalised x: dx = inverse·(g − mean(g) − n·mean(g·n)).
template <class V>
void layer_norm_backward(const NormBackward<typename V::T>& s) {
  using T = typename V::T;
  const V mean = V::all(s.mean), inverse = V::all(s.inverse);
  V sum = V::all(0), products = V::all(0);
  for (long i = 0; i < s.count; i += kLanes) {
    const long n = s.count - i;
    const V dy = load_first<V>(s.dy + i, n);
    const V normal = (load_first<V>(s.x + i, n) - mean) * inverse;
    const V g = dy * load_first<V>(s.weight + i, n);
    sum = sum + g;
    products = fma(g, normal, products);
    store_first(fma(dy, normal, load_first<V>(s.dweight + i, n)), s.dweight + i, n);
    store_first(load_first<V>(s.dbias + i, n) + dy, s.dbias + i, n);
  }
  const T count = static_cast<T>(s.count);
  const V g_mean = V::all(lane_sum(sum) / count), down = V::all(-(lane_sum(products) / count));
  for (long i = 0; i < s.count; i += kLanes) {
    const long n = s.count - i;
    const V normal = (load_first<V>(s.x + i, n) - mean) * inverse;
    const V g = load_first<V>(s.dy + i, n) * load_first<V>(s.weight + i, n);
    store_first(inverse * fma(normal, down, g - g_mean), s.dx + i, n);
  }
}

}  // namespace rondo::ops::RONDO_OPS_ISA
