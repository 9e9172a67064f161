// Layer norm, dropout, embedding: ops that work row by row.

#include <cmath>

#include <rondo/ops/cuda/device.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {
namespace {

template <int kWidth>
__global__ void layer_norm_kernel(LayerNorm p) {
  const Size row = row_index<kWidth>(), lane = row_lane<kWidth>();
  if (row >= p.rows) return;
  const float* x = p.x + row * p.features;
  float* y = p.y + row * p.features;
  const float count = static_cast<float>(p.features);
  float sum = 0, squares = 0;
  for (Size i = lane; i < p.features; i += kWidth) sum += x[i];
  const float mean = row_all<kWidth, Sum>(sum) / count;
  for (Size i = lane; i < p.features; i += kWidth)
    squares = fmaf(x[i] - mean, x[i] - mean, squares);
  const float inverse = 1 / sqrtf(row_all<kWidth, Sum>(squares) / count + p.epsilon);
  for (Size i = lane; i < p.features; i += kWidth)
    y[i] = fmaf((x[i] - mean) * inverse, p.weight[i], p.bias[i]);
  if (lane == 0) p.mean[row] = mean, p.inverse[row] = inverse;
}

// With g = dy·weight and n the normalised x: dx = inverse·(g − mean(g) − n·mean(g·n)).
template <int kWidth>
__global__ void norm_dx_kernel(LayerNormBackward p) {
  const Size row = row_index<kWidth>(), lane = row_lane<kWidth>();
  if (row >= p.rows) return;
  const Size at = row * p.features;
  const float mean = p.mean[row], inverse = p.inverse[row], count = static_cast<float>(p.features);
  float sum = 0, products = 0;
  for (Size i = lane; i < p.features; i += kWidth) {
    const float g = p.dy[at + i] * p.weight[i];
    sum += g;
    products = fmaf(g, (p.x[at + i] - mean) * inverse, products);
  }
  const float g_mean = row_all<kWidth, Sum>(sum) / count;
  const float down = row_all<kWidth, Sum>(products) / count;
  for (Size i = lane; i < p.features; i += kWidth) {
    const float g = p.dy[at + i] * p.weight[i], normal = (p.x[at + i] - mean) * inverse;
    p.dx[at + i] = inverse * (g - g_mean - normal * down);
  }
}

// Chunks of rows as in sum_columns; sums: [chunks][2][features].
__global__ void norm_chunk_kernel(LayerNormBackward p, Size tiles, Size chunk_rows, float* sums) {
  const Size chunk = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const Size column = tile * kThreads + threadIdx.x;
  if (column >= p.features) return;
  const Size from = chunk * chunk_rows;
  const Size to = from + chunk_rows < p.rows ? from + chunk_rows : p.rows;
  float weight = 0, bias = 0;
  for (Size row = from; row < to; ++row) {
    const float dy = p.dy[row * p.features + column];
    weight = fmaf(dy, (p.x[row * p.features + column] - p.mean[row]) * p.inverse[row], weight);
    bias += dy;
  }
  sums[2 * chunk * p.features + column] = weight;
  sums[(2 * chunk + 1) * p.features + column] = bias;
}

__global__ void norm_sums_kernel(LayerNormBackward p, Size chunks, const float* sums) {
  for (Size i = flat_index(); i < p.features; i += flat_step()) {
    float weight = 0, bias = 0;
    for (Size chunk = 0; chunk < chunks; ++chunk) {
      weight += sums[2 * chunk * p.features + i];
      bias += sums[(2 * chunk + 1) * p.features + i];
    }
    p.dweight[i] = p.add != 0 ? p.dweight[i] + weight : weight;
    p.dbias[i] = p.add != 0 ? p.dbias[i] + bias : bias;
  }
}

struct Four {
  std::uint32_t x[4];
};

// random.h's philox4x32.
__device__ Four philox(Four c, std::uint32_t k0, std::uint32_t k1) {
#pragma unroll
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
    const std::uint64_t p = std::uint64_t{0xD2511F53U} * c.x[0];
    const std::uint64_t q = std::uint64_t{0xCD9E8D57U} * c.x[2];
    c = {{static_cast<std::uint32_t>(q >> 32) ^ c.x[1] ^ k0, static_cast<std::uint32_t>(q),
          static_cast<std::uint32_t>(p >> 32) ^ c.x[3] ^ k1, static_cast<std::uint32_t>(p)}};
  }
  return c;
}

// A thread draws four numbers and uses them for four features of a row.
__global__ void dropout_kernel(Dropout p, Size blocks, std::uint32_t threshold, float scale) {
  for (Size at = flat_index(); at < p.steps * p.batch * blocks; at += flat_step()) {
    const Size row = at / blocks, block = at % blocks;
    const Size time = p.first_time + row / p.batch;
    const Four bits = philox({{static_cast<std::uint32_t>(time * blocks + block), p.tensor,
                               p.sample + static_cast<std::uint32_t>(row % p.batch), p.step}},
                             static_cast<std::uint32_t>(p.seed),
                             static_cast<std::uint32_t>(p.seed >> 32));
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const Size feature = 4 * block + j, i = row * p.features + feature;
      if (feature < p.features) p.y[i] = bits.x[j] >> 8 >= threshold ? p.x[i] * scale : 0.0F;
    }
  }
}

__global__ void embedding_kernel(Embedding e) {
  for (Size i = flat_index(); i < e.count * e.width; i += flat_step()) {
    const std::int32_t id = e.ids[i / e.width];
    const bool good = id >= 0 && id < e.words;
    e.to[i] = good ? e.from[id * e.width + i % e.width] : NAN;
  }
}

// A block sums all rows of one word for a tile of columns, in ascending order: it reads the ids a
// block's width at a time and lists the places where its word stands.
template <class T>
__global__ void scatter_kernel(Scatter s, Size tiles) {
  __shared__ Size places[kThreads];
  __shared__ int counts[kThreads / 32];
  const Size word = blockIdx.x / tiles;
  const Size column = blockIdx.x % tiles * kThreads + threadIdx.x;
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float sum = 0;
  for (Size from = 0; from < s.dy.rows; from += kThreads) {
    const Size row = from + threadIdx.x;
    const bool mine = row < s.dy.rows && s.ids[row] == word;
    const unsigned votes = __ballot_sync(0xffffffffU, mine);
    if (lane == 0) counts[warp] = __popc(votes);
    __syncthreads();
    int before = 0, all = 0;
    for (unsigned w = 0; w < kThreads / 32; ++w) {
      if (w < warp) before += counts[w];
      all += counts[w];
    }
    // Who writes here has passed the barrier above, so all have read what stood here before.
    if (mine) places[before + __popc(votes & ((1U << lane) - 1))] = row;
    __syncthreads();
    if (column < s.dy.columns)
      for (int i = 0; i < all; ++i)
        sum += as_float(static_cast<const T*>(s.dy.x)[places[i] * s.dy.stride + column]);
  }
  if (column >= s.dy.columns) return;
  float& to = s.to[word * s.dy.columns + column];
  to = s.add != 0 ? to + sum : sum;
}

}  // namespace

Fault layer_norm(Context* c, const LayerNorm* p) {
  RONDO_NEED(p->rows >= 0 && p->features > 0 && p->epsilon > 0);
  RONDO_TRY(use(*c));
  if (p->features <= kWarpRowMax)
    return launch(*c, layer_norm_kernel<32>, warp_row_blocks(p->rows), *p);
  return launch(*c, layer_norm_kernel<kThreads>, p->rows, *p);
}

namespace {

Fault norm_sums(Context& c, const LayerNormBackward& p) {
  const Size chunks = std::max<Size>(1, std::min<Size>(64, p.rows / 32));
  const Size chunk_rows = ceil_div(p.rows, chunks), tiles = ceil_div(p.features, kThreads);
  void* memory = nullptr;
  RONDO_TRY(scratch(c, static_cast<std::size_t>(2 * chunks * p.features) * sizeof(float),
                    &memory));
  auto* sums = static_cast<float*>(memory);
  RONDO_TRY(launch(c, norm_chunk_kernel, chunks * tiles, p, tiles, chunk_rows, sums));
  return launch(c, norm_sums_kernel, flat_blocks(p.features), p, chunks, sums);
}

}  // namespace

// The columns first: dx may be dy.
Fault layer_norm_backward(Context* c, const LayerNormBackward* p) {
  RONDO_NEED(p->rows > 0 && p->features > 0);
  RONDO_NEED((p->dweight == nullptr) == (p->dbias == nullptr));
  RONDO_TRY(use(*c));
  if (p->dweight != nullptr) RONDO_TRY(norm_sums(*c, *p));
  if (p->dx == nullptr) return nullptr;
  if (p->features <= kWarpRowMax)
    return launch(*c, norm_dx_kernel<32>, warp_row_blocks(p->rows), *p);
  return launch(*c, norm_dx_kernel<kThreads>, p->rows, *p);
}

Fault dropout(Context* c, const Dropout* p) {
  RONDO_NEED(p->steps >= 0 && p->batch > 0 && p->features > 0 && p->first_time >= 0);
  RONDO_NEED(p->probability >= 0 && p->probability < 1);
  const Size blocks = ceil_div(p->features, 4);
  RONDO_NEED((p->first_time + p->steps) * blocks < Size{1} << 32);
  RONDO_TRY(use(*c));
  const auto threshold = static_cast<std::uint32_t>(std::ceil(p->probability * 0x1p24));
  return launch(*c, dropout_kernel, flat_blocks(4 * p->steps * p->batch * blocks), *p, blocks,
                threshold, static_cast<float>(1 / (1 - p->probability)));
}

Fault embedding(Context* c, const Embedding* e) {
  RONDO_NEED(e->words > 0 && e->width > 0 && e->count >= 0);
  RONDO_TRY(use(*c));
  return launch(*c, embedding_kernel, flat_blocks(e->count * e->width), *e);
}

Fault scatter_add(Context& c, const Scatter& s) {
  const Size tiles = ceil_div(s.dy.columns, kThreads);
  return launch(c, s.dy.bf16 ? scatter_kernel<__nv_bfloat16> : scatter_kernel<float>,
                s.words * tiles, s, tiles);
}

}  // namespace rondo::ops::cuda
