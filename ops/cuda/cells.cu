// The pointwise part of a step, fused: a thread is one unit of one row. The formulas are those of
// cpu/lstm_kernel.h, gru_kernel.h and elman_kernel.h; tanh c is worked out again in backward.

#include <rondo/ops/cuda/recurrent.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {
namespace {

struct Unit {   // where a thread works
  Size row, unit;
  __device__ Unit(Size index, Size hidden)   // in 32 bits: a step has fewer units, see fits()
      : row(static_cast<unsigned>(index) / static_cast<unsigned>(hidden)),
        unit(static_cast<unsigned>(index) % static_cast<unsigned>(hidden)) {}
};

// Column `gate` of the input's weights; an id out of range makes the row NaN.
__device__ float looked_up(const CellStep& s, Size row, Size gate, Size gates, Size unit) {
  const std::int32_t id = s.ids[row];
  if (id < 0 || id >= s.words) return NAN;
  return s.table[(id * gates + gate) * s.hidden + unit];
}

template <int kCell>
__device__ float activated(float x) {
  if constexpr (kCell == kTanh) return tanhf(x);
  if constexpr (kCell == kSigmoid) return logistic(x);
  return x > 0 || isnan(x) ? x : 0.0F;
}

template <int kCell>
__device__ float slope(float y) {
  if constexpr (kCell == kTanh) return 1 - y * y;
  if constexpr (kCell == kSigmoid) return y * (1 - y);
  return y > 0 ? 1.0F : 0.0F;
}

__device__ void put_h(const CellStep& s, Size i, float h) {
  if (s.h != nullptr) s.h[i] = h;
  if (s.h_rounded != nullptr) s.h_rounded[i] = __float2bfloat16(h);
}

template <int kCell>
__global__ void elman_kernel(CellStep s) {
  const Size i = flat_index();
  if (i >= s.count * s.hidden) return;
  const Unit u(i, s.hidden);
  float sum = s.gates[i] + s.bias[u.unit];
  if (s.ids != nullptr) sum += looked_up(s, u.row, 0, 1, u.unit);
  const float y = activated<kCell>(sum);
  s.gates[i] = y;
  put_h(s, i, y);
}

__global__ void lstm_kernel(CellStep s) {
  const Size i = flat_index();
  if (i >= s.count * s.hidden) return;
  const Unit u(i, s.hidden);
  float* gates = s.gates + u.row * 4 * s.hidden + u.unit;
  float v[4];
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    v[q] = gates[q * s.hidden] + s.bias[q * s.hidden + u.unit];
    if (s.ids != nullptr) v[q] += looked_up(s, u.row, q, 4, u.unit);
    v[q] = q == 2 ? tanhf(v[q]) : logistic(v[q]);
    gates[q * s.hidden] = v[q];
  }
  const float c = fmaf(v[1], s.c_before[i], v[0] * v[2]);
  s.c[i] = c;
  put_h(s, i, v[3] * tanhf(c));
}

// Slots n r z m. With ids nothing has been put into n.
__global__ void gru_kernel(CellStep s) {
  const Size i = flat_index();
  if (i >= s.count * s.hidden) return;
  const Unit u(i, s.hidden);
  float* gates = s.gates + u.row * 4 * s.hidden + u.unit;
  float v[4];
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    v[q] = q == 0 && s.ids != nullptr ? 0.0F : gates[q * s.hidden];
    v[q] += s.bias[q * s.hidden + u.unit];
    if (s.ids != nullptr && q < 3) v[q] += looked_up(s, u.row, q == 0 ? 2 : q - 1, 3, u.unit);
  }
  const float r = logistic(v[1]), z = logistic(v[2]), n = tanhf(fmaf(r, v[3], v[0]));
  gates[0] = n;
  gates[s.hidden] = r;
  gates[2 * s.hidden] = z;
  gates[3 * s.hidden] = v[3];
  put_h(s, i, fmaf(z, s.h_before[i] - n, n));
}

// Gradient q of a row's unit goes into the gates or, in bf16, into the buffer beside them.
__device__ void put_gradient(const CellBack& s, Size at, float g) {
  if (s.rounded != nullptr) {
    s.rounded[at] = __float2bfloat16(g);
  } else {
    s.gates[at] = g;
  }
}

template <int kCell>
__global__ void elman_back_kernel(CellBack s) {
  const Size i = flat_index();
  if (i >= s.count * s.hidden) return;
  put_gradient(s, i, (s.dy[i] + s.dh[i]) * slope<kCell>(s.gates[i]));
}

__global__ void lstm_back_kernel(CellBack s) {
  const Size i = flat_index();
  if (i >= s.count * s.hidden) return;
  const Unit u(i, s.hidden);
  const Size at = u.row * 4 * s.hidden + u.unit;
  const float in = s.gates[at], f = s.gates[at + s.hidden], g = s.gates[at + 2 * s.hidden];
  const float o = s.gates[at + 3 * s.hidden], c = tanhf(s.c[i]);
  const float dh = s.dh == nullptr ? s.dy[i] : s.dy[i] + s.dh[i];
  const float dc = fmaf(dh * o, 1 - c * c, s.dc[i]);
  put_gradient(s, at, dc * g * (in * (1 - in)));
  put_gradient(s, at + s.hidden, dc * s.c_before[i] * (f * (1 - f)));
  put_gradient(s, at + 2 * s.hidden, dc * in * (1 - g * g));
  put_gradient(s, at + 3 * s.hidden, dh * c * (o * (1 - o)));
  s.dc[i] = dc * f;
}

__global__ void gru_back_kernel(CellBack s) {
  const Size i = flat_index();
  if (i >= s.count * s.hidden) return;
  const Unit u(i, s.hidden);
  const Size at = u.row * 4 * s.hidden + u.unit;
  const float n = s.gates[at], r = s.gates[at + s.hidden], z = s.gates[at + 2 * s.hidden];
  const float m = s.gates[at + 3 * s.hidden], dh = s.dy[i] + s.dh[i];
  const float dn = dh * (1 - z) * (1 - n * n);
  put_gradient(s, at, dn);
  put_gradient(s, at + s.hidden, dn * m * (r * (1 - r)));
  put_gradient(s, at + 2 * s.hidden, dh * (s.h_before[i] - n) * (z * (1 - z)));
  put_gradient(s, at + 3 * s.hidden, dn * r);
  s.dh[i] = dh * z;
}

__global__ void join_biases_kernel(std::int32_t cell, Size hidden, const float* b_ih,
                                   const float* b_hh, float* bias) {
  const Size i = flat_index();
  if (i >= hidden * (cell == kLstm || cell == kGru ? 4 : 1)) return;
  if (cell != kGru) {
    bias[i] = b_ih[i] + b_hh[i];
  } else if (i < hidden) {
    bias[i] = b_ih[i + 2 * hidden];
  } else if (i < 3 * hidden) {
    bias[i] = b_ih[i - hidden] + b_hh[i - hidden];
  } else {
    bias[i] = b_hh[i - hidden];
  }
}

__global__ void split_biases_kernel(std::int32_t cell, Size hidden, const float* sums, float* b_ih,
                                    float* b_hh, int add) {
  const Size i = flat_index();
  const Size count = hidden * (cell == kLstm ? 4 : cell == kGru ? 3 : 1);
  if (i >= count) return;
  float in = sums[i], state = in;
  if (cell == kGru) {
    in = i < 2 * hidden ? sums[i + hidden] : sums[i - 2 * hidden];
    state = sums[i + hidden];
  }
  b_ih[i] = add != 0 ? b_ih[i] + in : in;
  b_hh[i] = add != 0 ? b_hh[i] + state : state;
}

__global__ void move_ids_kernel(const std::int32_t* from, const std::int32_t* index, Size rows,
                                std::int32_t* to) {
  for (Size i = flat_index(); i < rows; i += flat_step()) to[i] = from[index[i]];
}

__global__ void move_rows_kernel(Moved m) {
  for (Size i = flat_index(); i < m.rows * m.width; i += flat_step()) {
    const Size row = i / m.width, column = i % m.width;
    const Size other = m.index == nullptr ? row : m.index[row];
    const Size from = (m.scatter ? row : other) * m.width + column;
    const Size to = (m.scatter ? other : row) * m.width + column;
    const float v = m.from == nullptr ? 0.0F : m.from[from];
    if (m.to != nullptr) m.to[to] = v;
    if (m.rounded != nullptr) m.rounded[to] = __float2bfloat16(v);
  }
}

// Tiles of 32 × 32 through shared memory, so that both sides are read and written in line.
__global__ void transpose_kernel(const float* from, Size rows, Size columns, float* to) {
  __shared__ float tile[32][33];
  const Size tiles = (columns + 31) / 32;
  const Size row = blockIdx.x / tiles * 32, column = blockIdx.x % tiles * 32;
  const Size x = threadIdx.x % 32;
  for (Size y = threadIdx.x / 32; y < 32; y += kThreads / 32)
    if (row + y < rows && column + x < columns)
      tile[y][x] = from[(row + y) * columns + column + x];
  __syncthreads();
  for (Size y = threadIdx.x / 32; y < 32; y += kThreads / 32)
    if (column + y < columns && row + x < rows) to[(column + y) * rows + row + x] = tile[x][y];
}

__global__ void table_gradient_kernel(std::int32_t cell, Size hidden, Size words, Size slots,
                                      const float* sums, float* dw, int add) {
  const Size gates = cell == kGru ? 3 : slots;
  for (Size i = flat_index(); i < gates * hidden * words; i += flat_step()) {
    const Size line = i / words, word = i % words;
    Size slot = line / hidden;
    if (cell == kGru) slot = slot == 2 ? 0 : slot + 1;
    const float v = sums[(word * slots + slot) * hidden + line % hidden];
    dw[i] = add != 0 ? dw[i] + v : v;
  }
}

bool fits(Size count, Size hidden) { return count * hidden < Size{1} << 31; }

}  // namespace

Fault cell_forward(Context& c, std::int32_t cell, const CellStep& s) {
  RONDO_NEED(fits(s.count, s.hidden));
  const Size blocks = ceil_div(s.count * s.hidden, kThreads);
  switch (cell) {
    case kTanh: return launch(c, elman_kernel<kTanh>, blocks, s);
    case kSigmoid: return launch(c, elman_kernel<kSigmoid>, blocks, s);
    case kRelu: return launch(c, elman_kernel<kRelu>, blocks, s);
    case kLstm: return launch(c, lstm_kernel, blocks, s);
    default: return launch(c, gru_kernel, blocks, s);
  }
}

Fault cell_backward(Context& c, std::int32_t cell, const CellBack& s) {
  RONDO_NEED(fits(s.count, s.hidden));
  const Size blocks = ceil_div(s.count * s.hidden, kThreads);
  switch (cell) {
    case kTanh: return launch(c, elman_back_kernel<kTanh>, blocks, s);
    case kSigmoid: return launch(c, elman_back_kernel<kSigmoid>, blocks, s);
    case kRelu: return launch(c, elman_back_kernel<kRelu>, blocks, s);
    case kLstm: return launch(c, lstm_back_kernel, blocks, s);
    default: return launch(c, gru_back_kernel, blocks, s);
  }
}

Fault join_biases(Context& c, std::int32_t cell, Size hidden, const float* b_ih, const float* b_hh,
                  float* bias) {
  return launch(c, join_biases_kernel, ceil_div(hidden * slots_of(cell), kThreads), cell, hidden,
                b_ih, b_hh, bias);
}

Fault split_biases(Context& c, std::int32_t cell, Size hidden, const float* sums, float* b_ih,
                   float* b_hh, int add) {
  return launch(c, split_biases_kernel, ceil_div(hidden * gates_of(cell), kThreads), cell, hidden,
                sums, b_ih, b_hh, add);
}

Fault move_rows(Context& c, const Moved& m) {
  return launch(c, move_rows_kernel, flat_blocks(m.rows * m.width), m);
}

Fault move_ids(Context& c, const std::int32_t* from, const std::int32_t* index, Size rows,
               std::int32_t* to) {
  return launch(c, move_ids_kernel, flat_blocks(rows), from, index, rows, to);
}

Fault transpose(Context& c, const float* from, Size rows, Size columns, float* to) {
  return launch(c, transpose_kernel, ceil_div(rows, 32) * ceil_div(columns, 32), from, rows,
                columns, to);
}

Fault transpose_rows(Context* c, const float* from, Size rows, Size columns, float* to) {
  RONDO_NEED(rows > 0 && columns > 0);
  RONDO_TRY(use(*c));
  return transpose(*c, from, rows, columns, to);
}

Fault table_gradient(Context& c, std::int32_t cell, Size hidden, Size words, const float* sums,
                     float* dw, int add) {
  return launch(c, table_gradient_kernel, flat_blocks(gates_of(cell) * hidden * words), cell,
                hidden, words, static_cast<Size>(slots_of(cell)), sums, dw, add);
}

}  // namespace rondo::ops::cuda
