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
  static constexpr int kSlots = 2, kFactorSlots = 1;   // that terms() and factor() read
  static Terms<V> terms(const ScanRun<T>& s, long at, long n) {
    return {load_first<V>(s.in[0] + at, n), load_first<V>(s.in[1] + at, n)};
  }
  static V factor(const ScanRun<T>& s, long at, long n) { return load_first<V>(s.in[0] + at, n); }
  template <bool kStream>
  static V gradient(const ScanRun<T>& s, long at, long n, V g, V before) {
    const V a = load_first<V>(s.in[0] + at, n);
    put<kStream>(g * before, s.out[0] + at, n);
    put<kStream>(g, s.out[1] + at, n);
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
  static constexpr int kSlots = 2, kFactorSlots = 2;
  static Terms<V> terms(const ScanRun<T>& s, long at, long n) {
    const V z = opened<V>(s, 0, at, n);
    return {V::all(1) - z, z * load_first<V>(s.in[1] + at, n)};
  }
  static V factor(const ScanRun<T>& s, long at, long n) {
    return V::all(1) - load_first<V>(s.in[0] + at, n);
  }
  template <bool kStream>
  static V gradient(const ScanRun<T>& s, long at, long n, V g, V before) {
    const V z = load_first<V>(s.in[0] + at, n), v = load_first<V>(s.in[1] + at, n);
    const V a = V::all(1) - z;
    put<kStream>(g * (v - before) * (z * a), s.out[0] + at, n);
    put<kStream>(g * z, s.out[1] + at, n);
    return a * g;
  }
};

template <class V>
struct MinLstmCell {
  using T = typename V::T;
  static constexpr int kSlots = 3, kFactorSlots = 3;
  static Terms<V> terms(const ScanRun<T>& s, long at, long n) {
    const V f = opened<V>(s, 0, at, n), i = opened<V>(s, 1, at, n), sum = f + i;
    return {f / sum, i / sum * load_first<V>(s.in[2] + at, n)};
  }
  static V factor(const ScanRun<T>& s, long at, long n) {
    const V f = load_first<V>(s.in[0] + at, n);
    return f / (f + load_first<V>(s.in[1] + at, n));
  }
  template <bool kStream>
  static V gradient(const ScanRun<T>& s, long at, long n, V g, V before) {
    const V f = load_first<V>(s.in[0] + at, n), i = load_first<V>(s.in[1] + at, n);
    const V v = load_first<V>(s.in[2] + at, n), sum = f + i, a = f / sum, w = i / sum;
    const V slope = g * (before - v) * (a * w);   // of log f − log i
    put<kStream>(slope * (V::all(1) - f), s.out[0] + at, n);
    put<kStream>(slope * (i - V::all(1)), s.out[1] + at, n);
    put<kStream>(g * w, s.out[2] + at, n);
    return a * g;
  }
};

// Steps that a place takes before the next place has its turn: its carry and summary stay in
// registers meanwhile.
inline constexpr long kAhead = 4;
inline constexpr long kAheadBack = 2;   // more arrays: with 4, rows a power of two apart crowd L1

// body(place in the slots, place in h, place in the carry, units left) for every sixteen units of
// a step.
template <class T, class Body>
void each_place(const ScanRun<T>& s, long t, const Body& body) {
  for (long row = 0; row < s.rows; ++row) {
    const long at = t * s.stride + row * s.row_stride, h = t * s.h_stride + row * s.h_row_stride;
    for (long u = 0; u < s.units; u += kLanes)
      body(at + u, h + u, row * s.units + u, s.units - u);
  }
}

// (product, local) of the block so far: what it makes of a carry c is product·c + local.
template <class V, bool kWanted>
struct Summary {
  Summary(const ScanRun<typename V::T>& s, long u, long n)
      : product(load_first<V>(s.product + u, n)), local(load_first<V>(s.local + u, n)) {}
  void then(V a, V b) {
    product = product * a;
    local = fma(a, local, b);
  }
  void store(const ScanRun<typename V::T>& s, long u, long n) const {
    store_first(product, s.product + u, n);
    store_first(local, s.local + u, n);
  }
  V product, local;
};

template <class V>
struct Summary<V, false> {
  Summary(const ScanRun<typename V::T>&, long, long) {}
  void then(V, V) {}
  void store(const ScanRun<typename V::T>&, long, long) const {}
};

template <class V, template <class> class Cell>
void scan_summary(const ScanRun<typename V::T>& s) {
  for (long t = 0; t < s.steps; t += kAhead) {
    const long ahead = s.steps - t < kAhead ? s.steps - t : kAhead;
    each_place(s, t, [&](long at, long, long u, long n) {
      Summary<V, true> summary(s, u, n);
      for (long k = 0; k < ahead; ++k) {
        const Terms<V> x = Cell<V>::terms(s, at + k * s.stride, n);
        summary.then(x.a, x.b);
      }
      summary.store(s, u, n);
    });
  }
}

template <class V, template <class> class Cell, bool kSummary, bool kStream>
[[gnu::flatten]] void scan_forward_of(const ScanRun<typename V::T>& run) {
  const ScanRun<typename V::T> s = run;   // stores cannot change a copy
  for (long t = 0; t < s.steps; t += kAhead) {
    const long ahead = s.steps - t < kAhead ? s.steps - t : kAhead;
    each_place(s, t, [&](long at, long row, long u, long n) {
      V h = load_first<V>(s.carry + u, n);
      Summary<V, kSummary> summary(s, u, n);
      for (long k = 0; k < ahead; ++k) {
        for (int slot = 0; slot < Cell<V>::kSlots; ++slot)
          ask_for(s.in[slot] + at + (k + kAhead) * s.stride);
        const Terms<V> x = Cell<V>::terms(s, at + k * s.stride, n);
        h = fma(x.a, h, x.b);
        put<kStream>(h, s.h + row + k * s.h_stride, n);
        summary.then(x.a, x.b);
      }
      store_first(h, s.carry + u, n);
      summary.store(s, u, n);
    });
  }
}

template <class V, template <class> class Cell, bool kSummary>
void scan_forward_by(const ScanRun<typename V::T>& s) {
  s.stream ? scan_forward_of<V, Cell, kSummary, V::kStreams>(s)
           : scan_forward_of<V, Cell, kSummary, false>(s);
}

template <class V, template <class> class Cell>
void scan_forward(const ScanRun<typename V::T>& s) {
  s.product != nullptr ? scan_forward_by<V, Cell, true>(s) : scan_forward_by<V, Cell, false>(s);
}

// Backwards in time, from the last step to the first: the carry before step t is a·(dy + carry).
template <class V, template <class> class Cell>
void scan_back_summary(const ScanRun<typename V::T>& s) {
  for (long end = s.steps; end > 0; end -= kAheadBack) {
    const long ahead = end < kAheadBack ? end : kAheadBack;
    each_place(s, end - ahead, [&](long at, long row, long u, long n) {
      Summary<V, true> summary(s, u, n);
      for (long k = ahead - 1; k >= 0; --k) {
        const V a = Cell<V>::factor(s, at + k * s.stride, n);
        summary.then(a, a * load_first<V>(s.dy + row + k * s.h_stride, n));
      }
      summary.store(s, u, n);
    });
  }
}

template <class V, template <class> class Cell, bool kSummary, bool kStream>
[[gnu::flatten]] void scan_backward_of(const ScanRun<typename V::T>& run) {
  const ScanRun<typename V::T> s = run;
  for (long end = s.steps; end > 0; end -= kAheadBack) {
    const long ahead = end < kAheadBack ? end : kAheadBack;
    each_place(s, end - ahead, [&](long at, long row, long u, long n) {
      V carry = load_first<V>(s.carry + u, n);
      Summary<V, kSummary> summary(s, u, n);
      for (long k = ahead - 1; k >= 0; --k) {
        const long place = at + k * s.stride, of_h = row + k * s.h_stride;
        for (int slot = 0; slot < Cell<V>::kFactorSlots; ++slot)
          ask_for(s.in[slot] + place - kAheadBack * s.stride);
        ask_for(s.dy + of_h - kAheadBack * s.h_stride);
        ask_for(s.h_before + of_h - kAheadBack * s.h_stride);
        const V dy = load_first<V>(s.dy + of_h, n);
        if constexpr (kSummary) {
          const V a = Cell<V>::factor(s, place, n);
          summary.then(a, a * dy);
        }
        const V before = load_first<V>(s.h_before + of_h, n);
        carry = Cell<V>::template gradient<kStream>(s, place, n, dy + carry, before);
      }
      store_first(carry, s.carry + u, n);
      summary.store(s, u, n);
    });
  }
}

template <class V, template <class> class Cell, bool kSummary>
void scan_backward_by(const ScanRun<typename V::T>& s) {
  s.stream ? scan_backward_of<V, Cell, kSummary, V::kStreams>(s)
           : scan_backward_of<V, Cell, kSummary, false>(s);
}

template <class V, template <class> class Cell>
void scan_backward(const ScanRun<typename V::T>& s) {
  s.product != nullptr ? scan_backward_by<V, Cell, true>(s) : scan_backward_by<V, Cell, false>(s);
}

template <class V, template <class> class Cell>
void fill_scan(ScanKernels<typename V::T>& k) {
  k.summary = scan_summary<V, Cell>;
  k.forward = scan_forward<V, Cell>;
  k.back_summary = scan_back_summary<V, Cell>;
  k.backward = scan_backward<V, Cell>;
}

}  // namespace rondo::ops::RONDO_OPS_ISA
