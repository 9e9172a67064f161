// Losses. A row belongs to a warp or, when it is long, to a block.

#include <rondo/ops/cuda/device.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {
namespace {

template <int kWidth>
__device__ float row_top(const float* x, Size columns) {
  float top = -INFINITY;
  for (Size i = row_lane<kWidth>(); i < columns; i += kWidth) top = Max::join(x[i], top);
  return row_all<kWidth, Max>(top);
}

// A NaN is lost in the maximum but not in the sum.
template <int kWidth>
__device__ float row_exp_sum(const float* x, Size columns, float top, float factor) {
  float sum = 0;
  for (Size i = row_lane<kWidth>(); i < columns; i += kWidth) sum += expf((x[i] - top) * factor);
  return row_all<kWidth, Sum>(sum);
}

template <int kWidth>
__global__ void cross_entropy_kernel(CrossEntropy p) {
  const Size row = row_index<kWidth>();
  if (row >= p.rows) return;   // all of a row's threads alike
  const float* x = p.logits + row * p.classes;
  const std::int32_t target = p.targets[row];
  const bool good = target >= 0 && target < p.classes;
  const float wanted = good ? x[target] : NAN;
  const float top = row_top<kWidth>(x, p.classes);
  const float sum = row_exp_sum<kWidth>(x, p.classes, top, 1);
  if (row_lane<kWidth>() == 0) p.row_loss[row] = logf(sum) - (wanted - top);
  if (p.dlogits == nullptr) return;
  float* d = p.dlogits + row * p.classes;
  const float factor = p.scale / sum;
  for (Size i = row_lane<kWidth>(); i < p.classes; i += kWidth) {
    const float share = expf(x[i] - top) * factor;
    d[i] = i == target ? share - p.scale : share;
  }
}

template <int kWidth>
__global__ void softmax_kernel(const float* x, Size rows, Size columns, float inverse, float* y) {
  const Size row = row_index<kWidth>();
  if (row >= rows) return;
  x += row * columns, y += row * columns;
  const float top = row_top<kWidth>(x, columns);
  const float factor = 1 / row_exp_sum<kWidth>(x, columns, top, inverse);
  for (Size i = row_lane<kWidth>(); i < columns; i += kWidth)
    y[i] = expf((x[i] - top) * inverse) * factor;
}

__global__ void sum_floats_kernel(const float* x, Size count, double* partials) {
  double sum = 0;
  for (Size i = flat_index(); i < count; i += flat_step()) sum += static_cast<double>(x[i]);
  sum = block_all<Sum>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void squared_error_kernel(const float* y, const float* target, Size count, float factor,
                                     float* dy, double* partials) {
  double sum = 0;
  for (Size i = flat_index(); i < count; i += flat_step()) {
    const float e = y[i] - target[i];
    sum += static_cast<double>(e) * static_cast<double>(e);
    if (dy != nullptr) dy[i] = e * factor;
  }
  sum = block_all<Sum>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

}  // namespace

Fault cross_entropy(Context* c, const CrossEntropy* p) {
  RONDO_NEED(p->rows > 0 && p->classes > 0);
  RONDO_TRY(use(*c));
  if (p->classes <= kWarpRowMax) {
    RONDO_TRY(launch(*c, cross_entropy_kernel<32>, warp_row_blocks(p->rows), *p));
  } else {
    RONDO_TRY(launch(*c, cross_entropy_kernel<kThreads>, p->rows, *p));
  }
  const Size blocks = std::min(flat_blocks(p->rows), kPartialsMax);
  RONDO_TRY(launch(*c, sum_floats_kernel, blocks, p->row_loss, p->rows, c->partials));
  return sum_partials(*c, blocks, p->sum, 0);
}

Fault squared_error(Context* c, const float* y, const float* target, Size count, float scale,
                    float* dy, double* sum) {
  RONDO_NEED(count > 0);
  RONDO_TRY(use(*c));
  const Size blocks = std::min(flat_blocks(count), kPartialsMax);
  RONDO_TRY(launch(*c, squared_error_kernel, blocks, y, target, count, 2 * scale, dy,
                   c->partials));
  return sum_partials(*c, blocks, sum, 0);
}

Fault softmax(Context* c, const float* x, Size rows, Size columns, float temperature, float* y) {
  RONDO_NEED(rows >= 0 && columns > 0 && temperature > 0);
  RONDO_TRY(use(*c));
  if (columns <= kWarpRowMax)
    return launch(*c, softmax_kernel<32>, warp_row_blocks(rows), x, rows, columns, 1 / temperature,
                  y);
  return launch(*c, softmax_kernel<kThreads>, rows, x, rows, columns, 1 / temperature, y);
}

}  // namespace rondo::ops::cuda
