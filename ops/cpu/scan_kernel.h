#pragma once

// A block of time of a linear recurrence h = a·h' + b, for a strip of units: time outside, sixteen
// units inside, so that rows are read as they lie and the units' chains overlap. A cell says how a
// and b come from its slots:
//   plain     a, b
//   minGRU    z, v        a = 1 − z, b = z·v              (z logistic)
//   minLSTM   f, i, v     a = f/(f+i), b = i/(f+i)·v      (f, i logistic)

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/math_kernel.h>

namespace rondo::ops::RONDO_OPS_ISA {

template <class V>
struct Terms {
  V a, b;
};

// One place in the slots: `at` counts elements from the first unit of the first step.
template <class V>
struct PlainCell {
  using T = typename V::T;
  static Terms<V> terms(const ScanRun<T>& s, long at, long n) {
    return {load_first<V>(s.in[0] + at, n), load_first<V>(s.in[1] + at, n)};
  }
  static V factor(const ScanRun<T>& s, long at, long n) { return load_first<V>(s.in[0] + at, n); }
  static V gradient(const ScanRun<T>& s, long at, long n, V g, V before) {
    const V a = load_first<V>(s.in[0] + at, n);
    store_first(g * before, s.out[0] + at, n);
    store_first(g, s.out[1] + at, n);
    return a * g;
  }
};

template <class V>
V opened(const ScanRun<typename V::T>& s, int slot, long at, long n) {
  V v = load_first<V>(s.in[slot] + at, n);
  if (!s.raw) return v;
  v = vlogistic(v);
  store_first(v, s.out[slot] + at, n);
  return v;
}

template <class V>
struct MinGruCell {
  using T = typename V::T;
  static Terms<V> terms(const ScanRun<T>& s, long at, long n) {
    const V z = opened<V>(s, 0, at, n);
    return {V::all(1) - z, z * load_first<V>(s.in[1] + at, n)};
  }
  static V factor(const ScanRun<T>& s, long at, long n) {
    return V::all(1) - load_first<V>(s.in[0] + at, n);
  }
  static V gradient(const ScanRun<T>& s, long at, long n, V g, V before) {
    const V z = load_first<V>(s.in[0] + at, n), v = load_first<V>(s.in[1] + at, n);
    const V a = V::all(1) - z;
    store_first(g * (v - before) * (z * a), s.out[0] + at, n);
    store_first(g * z, s.out[1] + at, n);
    return a * g;
  }
};

template <class V>
struct MinLstmCell {
  using T = typename V::T;
  static Terms<V> terms(const ScanRun<T>& s, long at, long n) {
    const V f = opened<V>(s, 0, at, n), i = opened<V>(s, 1, at, n), sum = f + i;
    return {f / sum, i / sum * load_first<V>(s.in[2] + at, n)};
  }
  static V factor(const ScanRun<T>& s, long at, long n) {
    const V f = load_first<V>(s.in[0] + at, n);
    return f / (f + load_first<V>(s.in[1] + at, n));
  }
  static V gradient(const ScanRun<T>& s, long at, long n, V g, V before) {
    const V f = load_first<V>(s.in[0] + at, n), i = load_first<V>(s.in[1] + at, n);
    const V v = load_first<V>(s.in[2] + at, n), sum = f + i, a = f / sum, w = i / sum;
    const V slope = g * (before - v) * (a * w);   // of log f − log i
    store_first(slope * (V::all(1) - f), s.out[0] + at, n);
    store_first(slope * (i - V::all(1)), s.out[1] + at, n);
    store_first(g * w, s.out[2] + at, n);
    return a * g;
  }
};

// (product, local) of the block: what it makes of a carry c is product·c + local.
template <class V>
void combine(const ScanRun<typename V::T>& s, long u, long n, V a, V b) {
  const V product = load_first<V>(s.product + u, n), local = load_first<V>(s.local + u, n);
  store_first(product * a, s.product + u, n);
  store_first(fma(a, local, b), s.local + u, n);
}

template <class V, template <class> class Cell>
void scan_summary(const ScanRun<typename V::T>& s) {
  for (long t = 0; t < s.steps; ++t) {
    for (long u = 0; u < s.units; u += kLanes) {
      const Terms<V> x = Cell<V>::terms(s, t * s.stride + u, s.units - u);
      combine(s, u, s.units - u, x.a, x.b);
    }
  }
}

template <class V, template <class> class Cell>
void scan_forward(const ScanRun<typename V::T>& s) {
  for (long t = 0; t < s.steps; ++t) {
    for (long u = 0; u < s.units; u += kLanes) {
      const long n = s.units - u;
      const Terms<V> x = Cell<V>::terms(s, t * s.stride + u, n);
      const V h = fma(x.a, load_first<V>(s.carry + u, n), x.b);
      store_first(h, s.carry + u, n);
      store_first(h, s.h + t * s.h_stride + u, n);
      if (s.product != nullptr) combine(s, u, n, x.a, x.b);
    }
  }
}

// Backwards in time: the carry before step t is a·(dy + carry).
template <class V, template <class> class Cell>
void scan_back_summary(const ScanRun<typename V::T>& s) {
  for (long t = s.steps - 1; t >= 0; --t) {
    for (long u = 0; u < s.units; u += kLanes) {
      const long n = s.units - u;
      const V a = Cell<V>::factor(s, t * s.stride + u, n);
      combine(s, u, n, a, a * load_first<V>(s.dy + t * s.h_stride + u, n));
    }
  }
}

template <class V, template <class> class Cell>
void scan_backward(const ScanRun<typename V::T>& s) {
  for (long t = s.steps - 1; t >= 0; --t) {
    for (long u = 0; u < s.units; u += kLanes) {
      const long n = s.units - u, at = t * s.stride + u, row = t * s.h_stride + u;
      const V dy = load_first<V>(s.dy + row, n);
      if (s.product != nullptr) {
        const V a = Cell<V>::factor(s, at, n);
        combine(s, u, n, a, a * dy);
      }
      const V g = dy + load_first<V>(s.carry + u, n);
      store_first(Cell<V>::gradient(s, at, n, g, load_first<V>(s.h_before + row, n)), s.carry + u,
                  n);
    }
  }
}

template <class V, template <class> class Cell>
void fill_scan(ScanKernels<typename V::T>& k) {
  k.summary = scan_summary<V, Cell>;
  k.forward = scan_forward<V, Cell>;
  k.back_summary = scan_back_summary<V, Cell>;
  k.backward = scan_backward<V, Cell>;
}

}  // namespace rondo::ops::RONDO_OPS_ISA
