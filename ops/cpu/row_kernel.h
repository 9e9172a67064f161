#pragma once

// Rows and flat buffers: softmax, losses, sums. Lane l takes elements l, l+16, …; a lane without an
// element adds nothing; lanes join in the fixed tree (vec.h).

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/math_kernel.h>

namespace rondo::ops::RONDO_OPS_ISA {

// Sixteen elements from i on; lanes past the end hold `rest`.
template <class V>
V load_or(const typename V::T* x, long i, long count, typename V::T rest) {
  return i + kLanes <= count ? V::load(x + i) : V::load_some(x + i, count - i, rest);
}

template <class V>
typename V::T row_max(const typename V::T* x, long count) {
  V m = load_or<V>(x, 0, count, x[0]);
  for (long i = kLanes; i < count; i += kLanes) m = max(m, load_or<V>(x, i, count, x[0]));
  return lane_max(m);
}

// p = exp((x − top)·factor); returns the sum over the lanes that exist.
template <class V>
typename V::T exp_row(const typename V::T* x, long count, typename V::T top,
                      typename V::T factor, typename V::T* p) {
  using T = typename V::T;
  V sum = V::all(0);
  for (long i = 0; i < count; i += kLanes) {
    const long n = count - i < kLanes ? count - i : kLanes;
    ask_for(x + count + i);   // most often the next row
    const V e = vexp((load_or<V>(x, i, count, top) - V::all(top)) * V::all(factor));
    if (p != nullptr) store_first(e, p + i, n);
    if (n == kLanes) {
      sum = sum + e;
    } else {
      T a[kLanes];
      e.store(a);
      sum = sum + load_first<V>(a, n);
    }
  }
  return lane_sum(sum);
}

template <class V, class F>
void each16(const typename V::T* a, long count, typename V::T* out, bool stream, F f) {
  long i = 0;
  if (stream)
    for (; i + kLanes <= count; i += kLanes) f(V::load(a + i), i).stream(out + i);
  for (; i < count; i += kLanes)
    store_first(f(load_first<V>(a + i, count - i), i), out + i, count - i);
}

template <class V>
void copy(const typename V::T* from, long count, typename V::T* to, bool stream) {
  each16<V>(from, count, to, stream, [](V x, long) { return x; });
}

template <class V>
void scale_line(typename V::T* line, typename V::T factor, long target, typename V::T less) {
  (V::load(line) * V::all(factor)).store(line);
  line[target] = line[target] - less;
}

// Σ of some rows for each column, from 0 or from what is there; the rows after them are asked for.
template <class V>
void sum_rows(const RowSum<typename V::T>& s) {
  constexpr long kTogether = 8;   // more would be more streams than a processor follows
  for (long first = 0; first == 0 || first < s.count; first += kTogether) {
    const long here = s.count - first < kTogether ? s.count - first : kTogether;
    const long soon = s.count + s.after - first - here;
    const bool last = first + kTogether >= s.count;
    for (long i = 0; i < s.columns; i += kLanes) {
      const long n = s.columns - i < kLanes ? s.columns - i : kLanes;
      V sum = first == 0 ? V::all(0) : load_first<V>(s.to + i, n);
      for (long r = first; r < first + here; ++r) {
        sum = sum + load_first<V>(s.from + s.rows[r] * s.width + i, n);
        if (r - first < soon) ask_for(s.from + s.rows[r + here] * s.width + i);
      }
      s.stream && last && n == kLanes ? sum.stream(s.to + i) : store_first(sum, s.to + i, n);
    }
  }
}

template <class V>
typename V::T cross_entropy(const typename V::T* x, long count, int target, typename V::T scale,
                            typename V::T* d, bool stream) {
  using T = typename V::T;
  alignas(64) T row[kStreamedRow];   // powers of a streamed row
  T* e = stream ? row : d;
  const T top = row_max<V>(x, count);
  const T wanted = x[target];
  const T sum = exp_row<V>(x, count, top, T(1), e);
  if (d == nullptr) return log1(sum) - (wanted - top);
  const T factor = scale / sum;
  const V all = V::all(factor);
  if (stream) {   // whole lines; the target's is written with its difference in place
    const long line = target - target % kLanes;
    each16<V>(e, line, d, true, [&](V v, long) { return v * all; });
    each16<V>(e + line + kLanes, count - line - kLanes, d + line + kLanes, true,
              [&](V v, long) { return v * all; });
    scale_line<V>(e + line, factor, target - line, scale);
    V::load(e + line).stream(d + line);
  } else {
    each16<V>(e, count, d, false, [&](V v, long) { return v * all; });
    d[target] = d[target] - scale;
  }
  return log1(sum) - (wanted - top);
}

template <class V>
void softmax(const typename V::T* x, long count, typename V::T inverse, typename V::T* p) {
  using T = typename V::T;
  const T sum = exp_row<V>(x, count, row_max<V>(x, count), inverse, p);
  const V factor = V::all(T(1) / sum);
  for (long i = 0; i < count; i += kLanes) {
    const long n = count - i < kLanes ? count - i : kLanes;
    store_first(load_first<V>(p + i, n) * factor, p + i, n);
  }
}

template <class V>
typename V::T block_squares(const typename V::T* x, long count) {
  V sum = V::all(0);
  for (long i = 0; i < count; i += kLanes) {
    const V v = load_or<V>(x, i, count, 0);
    sum = fma(v, v, sum);
  }
  return lane_sum(sum);
}

// Σ (y − target)²; d = (y − target)·factor.
template <class V>
typename V::T squared_error(const typename V::T* y, const typename V::T* target, long count,
                            typename V::T factor, typename V::T* d, bool stream) {
  V sum = V::all(0);
  long i = 0;
  if (stream) {
    for (; i + kLanes <= count; i += kLanes) {
      const V e = V::load(y + i) - V::load(target + i);
      sum = fma(e, e, sum);
      (e * V::all(factor)).stream(d + i);
    }
  }
  for (; i < count; i += kLanes) {
    const V e = load_or<V>(y, i, count, 0) - load_or<V>(target, i, count, 0);
    sum = fma(e, e, sum);
    if (d != nullptr) store_first(e * V::all(factor), d + i, count - i);
  }
  return lane_sum(sum);
}

// Zero times a finite number is 0, times anything else NaN, and a NaN stays in the sum.
template <class V>
bool finite(const typename V::T* x, long count) {
  V sum = V::all(0), second = sum;
  long i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    sum = fma(V::load(x + i), V::all(0), sum);
    second = fma(V::load(x + i + kLanes), V::all(0), second);
  }
  for (; i < count; i += kLanes) sum = fma(load_or<V>(x, i, count, 0), V::all(0), sum);
  return lane_sum(sum + second) == 0;
}

template <class V>
void add(const typename V::T* a, const typename V::T* b, long count, typename V::T* out,
         bool stream) {
  each16<V>(a, count, out, stream,
            [&](V x, long i) { return x + load_first<V>(b + i, count - i); });
}

template <class V>
void scale(const typename V::T* a, typename V::T factor, long count, typename V::T* out,
           bool stream) {
  each16<V>(a, count, out, stream, [&](V x, long) { return x * V::all(factor); });
}

template <class V>
void clip(const typename V::T* a, typename V::T limit, long count, typename V::T* out,
          bool stream) {
  each16<V>(a, count, out, stream,
            [&](V x, long) { return min(V::all(limit), max(V::all(-limit), x)); });
}

template <class V>
void column_sums(const typename V::T* x, long rows, long stride, typename V::T* sums) {
  V s0 = V::all(0), s1 = s0, s2 = s0, s3 = s0;
  for (long row = 0; row < rows; ++row) {
    const auto* p = x + row * stride;
    s0 = s0 + V::load(p);
    s1 = s1 + V::load(p + 16);
    s2 = s2 + V::load(p + 32);
    s3 = s3 + V::load(p + 48);
  }
  s0.store(sums);
  s1.store(sums + 16);
  s2.store(sums + 32);
  s3.store(sums + 48);
}

template <class V>
void map(int function, const typename V::T* x, long count, typename V::T* out) {
  each16<V>(x, count, out, false, [&](V v, long) {
    if (function == 0) return vexp(v);
    return function == 1 ? vtanh(v) : vlogistic(v);
  });
  if (function == 3)
    for (long i = 0; i < count; ++i) out[i] = log1(x[i]);
}

}  // namespace rondo::ops::RONDO_OPS_ISA
