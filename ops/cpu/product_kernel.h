#pragma once

// The product without a library: each output is one chain of fused multiply-adds over ascending
// depth, so it equals libxsmm's kernels bit for bit. For double, for other processors, and for
// tests.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/vec.h>

namespace rondo::ops::RONDO_OPS_ISA {

// As many accumulators as the registers hold: 6 rows × 64 columns in 32 wide ones, 6 × 16 in 16.
#if defined(__AVX512F__)
inline constexpr int kWideVecs = 4;
#else
inline constexpr int kWideVecs = 1;
#endif

template <class V, int Rows, int Vecs>
void product_tile(const ProductRun<typename V::T>& p, long row, long column) {
  using T = typename V::T;
  V acc[Rows][Vecs];
  T* c = p.c + row * p.ldc + column;
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vecs; ++v)
      acc[r][v] = p.accumulate ? V::load(c + r * p.ldc + v * kLanes) : V::all(0);
  for (long block = 0; block < p.blocks; ++block) {
    const T* a = p.a + (p.a_offsets != nullptr ? p.a_offsets[block] / sizeof(T) : 0) + column;
    const T* b = p.b + (p.b_offsets != nullptr ? p.b_offsets[block] / sizeof(T) : 0);
    const long row_step = p.b_by_depth ? 1 : p.ldb;
    const long depth_step = p.b_by_depth ? p.ldb : 1;
    b += row * row_step;
    for (long k = 0; k < p.depth; ++k) {
      for (int v = 0; v < Vecs; ++v) {
        const V w = V::load(a + k * p.lda + v * kLanes);
        for (int r = 0; r < Rows; ++r)
          acc[r][v] = fma(w, V::all(b[r * row_step + k * depth_step]), acc[r][v]);
      }
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vecs; ++v) acc[r][v].store(c + r * p.ldc + v * kLanes);
}

template <class V, int Vecs>
void product_columns(const ProductRun<typename V::T>& p, long column) {
  long row = 0;
  for (; row + 6 <= p.rows; row += 6) product_tile<V, 6, Vecs>(p, row, column);
  for (; row + 2 <= p.rows; row += 2) product_tile<V, 2, Vecs>(p, row, column);
  if (row < p.rows) product_tile<V, 1, Vecs>(p, row, column);
}

// Requires: columns is a multiple of 16.
template <class V>
void product(const ProductRun<typename V::T>& p) {
  long column = 0;
  for (; column + kWideVecs * kLanes <= p.columns; column += kWideVecs * kLanes)
    product_columns<V, kWideVecs>(p, column);
  for (; column < p.columns; column += kLanes) product_columns<V, 1>(p, column);
}

}  // namespace rondo::ops::RONDO_OPS_ISA
