#pragma once

// Transposition, eight by eight elements in registers where there are any.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/vec.h>

namespace rondo::ops::RONDO_OPS_ISA {

template <class T>
void transpose_some(const TransposeRun<T>& s, long row, long rows, long column, long columns) {
  for (long c = column; c < column + columns; ++c) {
    for (long r = row; r < row + rows; ++r) {
      T& to = s.to[c * s.to_stride + r];
      const T value = s.from[r * s.from_stride + c];
      to = s.add ? to + value : value;
    }
  }
}

#if defined(__AVX2__)
// Pairs of rows, then fours, then the halves of registers.
inline void transpose_eight(const float* from, long stride, __m256 (&x)[8]) {
  __m256 pairs[8];
  for (int i = 0; i < 8; ++i) x[i] = _mm256_loadu_ps(from + i * stride);
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    x[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    x[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
    x[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    x[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    const __m256 low = _mm256_permute2f128_ps(x[i], x[i + 4], 0x20);
    x[i + 4] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x31);
    x[i] = low;
  }
}

inline void transpose_block(const TransposeRun<float>& s, long row, long column) {
  __m256 x[8];
  transpose_eight(s.from + row * s.from_stride + column, s.from_stride, x);
  float* to = s.to + column * s.to_stride + row;
  for (int i = 0; i < 8; ++i, to += s.to_stride)
    _mm256_storeu_ps(to, s.add ? _mm256_add_ps(_mm256_loadu_ps(to), x[i]) : x[i]);
}
#else
template <class T>
void transpose_block(const TransposeRun<T>& s, long row, long column) {
  transpose_some(s, row, 8, column, 8);
}
#endif

template <class V>
void transpose(const TransposeRun<typename V::T>& s) {
  const long rows = s.rows / 8 * 8, columns = s.columns / 8 * 8;
  for (long row = 0; row < rows; row += 8)
    for (long column = 0; column < columns; column += 8) transpose_block(s, row, column);
  transpose_some(s, 0, s.rows, columns, s.columns - columns);
  transpose_some(s, rows, s.rows - rows, 0, columns);
}

}  // namespace rondo::ops::RONDO_OPS_ISA
