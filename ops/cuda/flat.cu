// Flat buffers: sums, clipping, norms, column sums. One pass at memory speed; 16 bytes a thread
// and access where all pointers allow it.

#include <rondo/ops/cuda/device.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {
namespace {

struct Add {
  const float *a, *b;
  template <bool kWide>
  __device__ void at(Size i, Size count, float (&v)[4]) const {
    float w[4];
    load4<kWide>(a, i, count, v);
    load4<kWide>(b, i, count, w);
    for (int j = 0; j < 4; ++j) v[j] += w[j];
  }
};

struct Scale {
  const float* a;
  float factor;
  template <bool kWide>
  __device__ void at(Size i, Size count, float (&v)[4]) const {
    load4<kWide>(a, i, count, v);
    for (float& x : v) x *= factor;
  }
};

struct Clip {   // a NaN stays one
  const float* a;
  float limit;
  template <bool kWide>
  __device__ void at(Size i, Size count, float (&v)[4]) const {
    load4<kWide>(a, i, count, v);
    for (float& x : v) x = x > limit ? limit : x < -limit ? -limit : x;
  }
};

struct ClipNorm {
  const float* a;
  const double* squared;
  double limit;
  template <bool kWide>
  __device__ void at(Size i, Size count, float (&v)[4]) const {
    const double norm = sqrt(*squared);
    const float factor = static_cast<float>(norm > limit ? limit / norm : 1.0);
    load4<kWide>(a, i, count, v);
    for (float& x : v) x *= factor;
  }
};

template <bool kWide, class Op>
__global__ void flat_kernel(Op op, Size count, float* out) {
  for (Size i = 4 * flat_index(); i < count; i += 4 * flat_step()) {
    float v[4];
    op.template at<kWide>(i, count, v);
    store4<kWide>(v, out, i, count);
  }
}

template <class Op>
Fault flat(Context* c, const Op& op, bool wide, Size count, float* out) {
  RONDO_NEED(count >= 0);
  RONDO_TRY(use(*c));
  return launch(*c, wide ? flat_kernel<true, Op> : flat_kernel<false, Op>, flat_blocks(count), op,
                count, out);
}

template <bool kWide>
__global__ void squares_kernel(const float* x, Size count, double* partials) {
  double sum = 0;
  for (Size i = 4 * flat_index(); i < count; i += 4 * flat_step()) {
    float v[4];
    load4<kWide>(x, i, count, v);
    for (const float f : v) sum += static_cast<double>(f) * static_cast<double>(f);
  }
  sum = block_all<Sum>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void sum_kernel(const double* partials, Size count, double* sum, int add) {
  double mine = 0;
  for (Size i = threadIdx.x; i < count; i += kThreads) mine += partials[i];
  mine = block_all<Sum>(mine);
  if (threadIdx.x == 0) *sum = add != 0 ? *sum + mine : mine;
}

// The smallest index of all: the order of the minima does not matter.
__global__ void not_finite_kernel(const float* x, Size count, unsigned long long* first) {
  for (Size i = flat_index(); i < count; i += flat_step())
    if (!isfinite(x[i])) atomicMin(first, static_cast<unsigned long long>(i));
}

__global__ void to_bf16_kernel(const float* x, Size count, __nv_bfloat16* out) {
  for (Size i = flat_index(); i < count; i += flat_step()) out[i] = __float2bfloat16(x[i]);
}

template <class T>
__global__ void combine_kernel(Combine c) {
  const T *left = static_cast<const T*>(c.left), *right = static_cast<const T*>(c.right);
  T* out = static_cast<T*>(c.out);
  for (Size i = flat_index(); i < c.count; i += flat_step()) {
    const T a = left[i], b = right[i];
    out[i] = c.how == Joined::kSum ? a + b : a > b || isnan(a) ? a : b;
  }
}

__global__ void copy_columns_kernel(CopyColumns c) {
  for (Size i = flat_index(); i < c.rows * c.columns; i += flat_step()) {
    const Size row = i / c.columns, column = i % c.columns;
    c.to[row * c.to_stride + column] = c.from[row * c.from_stride + column];
  }
}

__global__ void add_bias_kernel(float* x, const float* bias, Size count, Size columns) {
  for (Size i = flat_index(); i < count; i += flat_step()) x[i] += bias[i % columns];
}

// A chunk of rows a block, a column a thread; the chunks' sums are then added in turn.
template <class T>
__global__ void column_chunk_kernel(Columns c, Size tiles, Size chunk_rows, float* sums) {
  const Size chunk = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const Size column = tile * kThreads + threadIdx.x;
  if (column >= c.columns) return;
  const Size from = chunk * chunk_rows;
  const Size to = from + chunk_rows < c.rows ? from + chunk_rows : c.rows;
  float sum = 0;
  for (Size row = from; row < to; ++row)
    sum += as_float(static_cast<const T*>(c.x)[row * c.stride + column]);
  sums[chunk * c.columns + column] = sum;
}

__global__ void add_chunks_kernel(const float* sums, Size chunks, Size columns, float* out,
                                  int add) {
  for (Size i = flat_index(); i < columns; i += flat_step()) {
    float sum = 0;
    for (Size chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk * columns + i];
    out[i] = add != 0 ? out[i] + sum : sum;
  }
}

}  // namespace

Fault add(Context* c, const float* a, const float* b, Size count, float* out) {
  return flat(c, Add{a, b}, aligned16(a, b, out), count, out);
}

Fault scale(Context* c, const float* a, float factor, Size count, float* out) {
  return flat(c, Scale{a, factor}, aligned16(a, out), count, out);
}

Fault clip_value(Context* c, const float* a, float limit, Size count, float* out) {
  RONDO_NEED(limit >= 0);
  return flat(c, Clip{a, limit}, aligned16(a, out), count, out);
}

Fault clip_norm(Context* c, const float* a, const double* squared, double limit, Size count,
                float* out) {
  RONDO_NEED(limit > 0);
  return flat(c, ClipNorm{a, squared, limit}, aligned16(a, out), count, out);
}

Fault sum_partials(Context& c, Size count, double* sum, int add) {
  RONDO_NEED(count >= 0 && count <= kPartialsMax);
  return launch(c, sum_kernel, 1, c.partials, count, sum, add);
}

Fault squared_norm(Context* c, const float* x, Size count, double* sum, int add) {
  RONDO_NEED(count >= 0);
  RONDO_TRY(use(*c));
  const Size blocks = std::min(flat_blocks(count), kPartialsMax);
  RONDO_TRY(launch(*c, aligned16(x) ? squares_kernel<true> : squares_kernel<false>, blocks, x,
                   count, c->partials));
  return sum_partials(*c, blocks, sum, add);
}

Fault not_finite(Context* c, const float* x, Size count, Size* first) {
  RONDO_NEED(count >= 0);
  RONDO_TRY(use(*c));
  auto* found = reinterpret_cast<unsigned long long*>(c->partials);
  RONDO_CUDA(cudaMemsetAsync(found, 0xff, sizeof *found, c->stream));
  RONDO_TRY(launch(*c, not_finite_kernel, flat_blocks(count), x, count, found));
  RONDO_CUDA(cudaMemcpyAsync(first, found, sizeof *first, cudaMemcpyDeviceToHost, c->stream));
  RONDO_CUDA(cudaStreamSynchronize(c->stream));   // all ones read as −1
  return nullptr;
}

Fault to_bf16(Context* c, const float* x, Size count, void* out) {
  RONDO_NEED(count >= 0);
  RONDO_TRY(use(*c));
  return launch(*c, to_bf16_kernel, flat_blocks(count), x, count,
                static_cast<__nv_bfloat16*>(out));
}

Fault combine(Context* c, const Combine* s) {
  RONDO_NEED(s->count >= 0);
  RONDO_TRY(use(*c));
  return launch(*c, s->number == Number::kFloat32 ? combine_kernel<float> : combine_kernel<double>,
                flat_blocks(s->count), *s);
}

Fault copy_columns(Context* c, const CopyColumns* s) {
  RONDO_NEED(s->rows >= 0 && s->columns > 0);
  RONDO_NEED(s->from_stride >= s->columns && s->to_stride >= s->columns);
  RONDO_TRY(use(*c));
  return launch(*c, copy_columns_kernel, flat_blocks(s->rows * s->columns), *s);
}

Fault add_bias(Context* c, float* x, const float* bias, Size rows, Size columns) {
  RONDO_NEED(rows >= 0 && columns > 0);
  RONDO_TRY(use(*c));
  return launch(*c, add_bias_kernel, flat_blocks(rows * columns), x, bias, rows * columns, columns);
}

Fault sum_columns(Context& c, const Columns& x, float* sums, int add) {
  const Size chunks = std::max<Size>(1, std::min<Size>(64, x.rows / 32));
  const Size chunk_rows = ceil_div(x.rows, chunks), tiles = ceil_div(x.columns, kThreads);
  void* memory = nullptr;
  RONDO_TRY(scratch(c, static_cast<std::size_t>(chunks * x.columns) * sizeof(float), &memory));
  auto* parts = static_cast<float*>(memory);
  RONDO_TRY(launch(c, x.bf16 ? column_chunk_kernel<__nv_bfloat16> : column_chunk_kernel<float>,
                   chunks * tiles, x, tiles, chunk_rows, parts));
  return launch(c, add_chunks_kernel, flat_blocks(x.columns), parts, chunks, x.columns, sums, add);
}

}  // namespace rondo::ops::cuda
