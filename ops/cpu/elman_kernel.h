#pragma once

// Elman cell: h = act(sum). Its derivative is a function of h, which stays in the tile.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/math_kernel.h>

namespace rondo::ops::RONDO_OPS_ISA {

template <class V>
struct Tanh {
  static V value(V x) { return vtanh(x); }
  static V slope(V y) { return V::all(1) - y * y; }
};
template <class V>
struct Logistic {
  static V value(V x) { return vlogistic(x); }
  static V slope(V y) { return y * (V::all(1) - y); }
};
template <class V>
struct Relu {
  static V value(V x) { return max(V::all(0), x); }
  static V slope(V y) { return where_positive(y, V::all(1)); }
};

template <class V, template <class> class Act>
void elman_forward(const CellForward<typename V::T>& run) {
  const CellForward<typename V::T> s = run;   // stores cannot change a copy
  for (long row = 0; row < s.rows; ++row) {
    for (long u = 0; u < s.units; u += kLanes) {
      auto* tile = s.gates + row * kTile + u;
      const V y = Act<V>::value(V::load(tile));
      y.store(tile);
      store_first(y, s.h + row * s.h_stride + u, s.units - u);
    }
  }
}

template <class V, template <class> class Act>
void elman_backward(const CellBackward<typename V::T>& run) {
  const CellBackward<typename V::T> s = run;
  for (long row = 0; row < s.rows; ++row) {
    ask_for_tile(s.gates + (row - s.back) * kTile);
    ask_for_tile(s.dy + (row - s.back) * s.h_stride);
    for (long u = 0; u < kTile; u += kLanes) {
      auto* tile = s.gates + row * kTile + u;
      if (u >= s.units) {
        V::all(0).store(tile);
        continue;
      }
      const V dy = load_first<V>(s.dy + row * s.h_stride + u, s.units - u);
      const V dh = dy + V::load(s.dh + row * kTile + u);
      (dh * Act<V>::slope(V::load(tile))).store(tile);
    }
  }
}

}  // namespace rondo::ops::RONDO_OPS_ISA
