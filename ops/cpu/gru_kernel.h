#pragma once

// GRU cell (PyTorch): n = tanh(sum_n + r·recurrent_n), h = n + z·(h' − n).
// A tile row is [n | r | z | recurrent_n]: the input product fills the first three, the recurrent
// product adds to the last three.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/math_kernel.h>

namespace rondo::ops::RONDO_OPS_ISA {

template <class V>
void gru_forward(const CellForward<typename V::T>& run) {
  const CellForward<typename V::T> s = run;   // stores cannot change a copy
  for (long row = 0; row < s.rows; ++row) {
    auto* tile = s.gates + row * kTile;
    const V r = vlogistic(V::load(tile + 16));
    const V z = vlogistic(V::load(tile + 32));
    const V n = vtanh(fma(r, V::load(tile + 48), V::load(tile)));
    const V h = load_first<V>(s.h_before + row * s.h_stride, s.units);
    n.store(tile);
    r.store(tile + 16);
    z.store(tile + 32);
    store_first(fma(z, h - n, n), s.h + row * s.h_stride, s.units);
  }
}

template <class V>
void gru_backward(const CellBackward<typename V::T>& run) {
  const CellBackward<typename V::T> s = run;
  const V one = V::all(1);
  for (long row = 0; row < s.rows; ++row) {
    auto* tile = s.gates + row * kTile;
    ask_for_tile(tile - s.back * kTile);
    ask_for(s.h_before + (row - s.back) * s.h_stride);
    ask_for(s.dy + (row - s.back) * s.h_stride);
    const V n = V::load(tile);
    const V r = V::load(tile + 16);
    const V z = V::load(tile + 32);
    const V recurrent = V::load(tile + 48);
    const V h = load_first<V>(s.h_before + row * s.h_stride, s.units);
    const V dy = load_first<V>(s.dy + row * s.h_stride, s.units);
    const V dh = dy + V::load(s.dh + row * kTile);
    const V dn = dh * (one - z) * (one - n * n);
    dn.store(tile);
    (dn * recurrent * (r * (one - r))).store(tile + 16);
    (dh * (h - n) * (z * (one - z))).store(tile + 32);
    (dn * r).store(tile + 48);
    (dh * z).store(s.dh + row * kTile);
  }
}

}  // namespace rondo::ops::RONDO_OPS_ISA
