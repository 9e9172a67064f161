#pragma once

// LSTM cell (PyTorch): i f o = logistic, g = tanh, c = f·c' + i·g, h = o·tanh c.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/math_kernel.h>

namespace rondo::ops::RONDO_OPS_ISA {

template <class V>
void lstm_forward(const CellForward<typename V::T>& run) {
  const CellForward<typename V::T> s = run;   // stores cannot change a copy
  for (long row = 0; row < s.rows; ++row) {
    auto* tile = s.gates + row * kTile;
    const V i = vlogistic(V::load(tile));
    const V f = vlogistic(V::load(tile + 16));
    const V g = vtanh(V::load(tile + 32));
    const V o = vlogistic(V::load(tile + 48));
    const V c = fma(f, V::load(s.c_before + row * kLanes), i * g);
    const V c_tanh = vtanh(c);
    i.store(tile);
    f.store(tile + 16);
    g.store(tile + 32);
    o.store(tile + 48);
    c.store(s.c + row * kLanes);
    c_tanh.store(s.c_tanh + row * kLanes);
    store_first(o * c_tanh, s.h + row * s.h_stride, s.units);
  }
}

template <class V>
void lstm_backward(const CellBackward<typename V::T>& run) {
  const CellBackward<typename V::T> s = run;
  const V one = V::all(1);
  for (long row = 0; row < s.rows; ++row) {
    auto* tile = s.gates + row * kTile;
    ask_for_tile(tile - s.back * kTile);
    ask_for(s.c_before + (row - s.back) * kLanes);
    ask_for(s.c_tanh + (row - s.back) * kLanes);
    ask_for(s.dy + (row - s.back) * s.h_stride);
    const V i = V::load(tile);
    const V f = V::load(tile + 16);
    const V g = V::load(tile + 32);
    const V o = V::load(tile + 48);
    const V c_tanh = V::load(s.c_tanh + row * kLanes);
    const V dy = load_first<V>(s.dy + row * s.h_stride, s.units);
    const V dh = dy + V::load(s.dh + row * kTile);
    const V dc = fma(dh * o, one - c_tanh * c_tanh, V::load(s.dc + row * kLanes));
    (dc * g * (i * (one - i))).store(tile);
    (dc * V::load(s.c_before + row * kLanes) * (f * (one - f))).store(tile + 16);
    (dc * i * (one - g * g)).store(tile + 32);
    (dh * c_tanh * (o * (one - o))).store(tile + 48);
    (dc * f).store(s.dc + row * kLanes);
  }
}

}  // namespace rondo::ops::RONDO_OPS_ISA
