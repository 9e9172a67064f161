// h_t = a_t·h_{t−1} + b_t over blocks of time, without a loop over all of it (scan.h): (1) every
// block's product of a and its own end from 0, (2) the carries from block to block, (3) every
// block from its carry. A thread is a lane (sequence and unit) of one block; neighbouring threads
// are neighbouring units, so that all access is in line. Where lanes alone fill the GPU, one block
// is all of time and (1) and (2) fall away.

#include <rondo/ops/cuda/device.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {
namespace {

constexpr Size kBlockSteps = 64;
constexpr Size kLanesEnough = 1 << 17;

struct Run {
  Scan s;
  Size lanes, block_steps, blocks;
  bool open;                        // the slots still lack their logistic
  float *products, *ends, *carries;   // [blocks][lanes]
};

struct Place {   // of a thread
  Size lane, block, first, last;   // steps [first, last)
  __device__ Place(const Run& r, Size index)
      : lane(index % r.lanes), block(index / r.lanes), first(block * r.block_steps),
        last(first + r.block_steps < r.s.steps ? first + r.block_steps : r.s.steps) {}
};

__device__ Size slot_at(const Run& r, Size t, Size lane) {
  return (t * r.s.batch + lane / r.s.units) * r.s.row + lane % r.s.units;
}

__device__ float gate(const Run& r, int slot, Size at, bool open) {
  float& v = r.s.in[slot][at];
  if (!open) return v;
  const float g = logistic(v);
  v = g;
  return g;
}

struct Terms {
  float a, b;
};

template <int kCell>
__device__ Terms terms(const Run& r, Size at, bool open) {
  if constexpr (kCell == 0) {
    return {r.s.in[0][at], r.s.in[1][at]};
  } else if constexpr (kCell == 1) {
    const float z = gate(r, 0, at, open);
    return {1 - z, z * r.s.in[1][at]};
  } else {
    const float f = gate(r, 0, at, open), i = gate(r, 1, at, open);
    return {f / (f + i), i / (f + i) * r.s.in[2][at]};
  }
}

template <int kCell>
__device__ float factor(const Run& r, Size at) {
  const float f = r.s.in[0][at];
  if constexpr (kCell == 0) return f;
  if constexpr (kCell == 1) return 1 - f;
  return f / (f + r.s.in[1][at]);
}

// Writes the slots' gradients; g is the whole gradient of h. All reads come before the writes:
// out may be in.
template <int kCell>
__device__ void gradients(const Run& r, Size at, float g, float before) {
  float* const* out = r.s.out;
  if constexpr (kCell == 0) {
    out[0][at] = g * before;
    out[1][at] = g;
  } else if constexpr (kCell == 1) {
    const float z = r.s.in[0][at], v = r.s.in[1][at];
    out[0][at] = g * (v - before) * (z * (1 - z));
    out[1][at] = g * z;
  } else {
    const float f = r.s.in[0][at], i = r.s.in[1][at], v = r.s.in[2][at];
    const float a = f / (f + i), w = i / (f + i), slope = g * (before - v) * (a * w);
    out[0][at] = slope * (1 - f);
    out[1][at] = slope * (i - 1);
    out[2][at] = g * w;
  }
}

template <int kCell>
__global__ void summary_kernel(Run r) {
  for (Size i = flat_index(); i < r.lanes * r.blocks; i += flat_step()) {
    const Place p(r, i);
    float product = 1, end = 0;
    for (Size t = p.first; t < p.last; ++t) {
      const Terms x = terms<kCell>(r, slot_at(r, t, p.lane), r.open);
      product *= x.a;
      end = fmaf(x.a, end, x.b);
    }
    r.products[i] = product, r.ends[i] = end;
  }
}

// carries[0] is what comes in.
__global__ void carry_kernel(Run r, const float* first, bool backward) {
  for (Size lane = flat_index(); lane < r.lanes; lane += flat_step()) {
    float carry = first == nullptr ? 0 : first[lane];
    for (Size n = 0; n < r.blocks; ++n) {
      const Size at = (backward ? r.blocks - 1 - n : n) * r.lanes + lane;
      r.carries[at] = carry;
      carry = fmaf(r.products[at], carry, r.ends[at]);
    }
  }
}

template <int kCell>
__global__ void forward_kernel(Run r) {
  for (Size i = flat_index(); i < r.lanes * r.blocks; i += flat_step()) {
    const Place p(r, i);
    float h = r.blocks == 1 ? r.s.h[p.lane] : r.carries[i];
    for (Size t = p.first; t < p.last; ++t) {
      const Terms x = terms<kCell>(r, slot_at(r, t, p.lane), r.open && r.blocks == 1);
      h = fmaf(x.a, h, x.b);
      r.s.h[(t + 1) * r.lanes + p.lane] = h;
    }
  }
}

// Backwards the carry before step t is a·(dy + carry).
template <int kCell>
__global__ void back_summary_kernel(Run r) {
  for (Size i = flat_index(); i < r.lanes * r.blocks; i += flat_step()) {
    const Place p(r, i);
    float product = 1, end = 0;
    for (Size t = p.last - 1; t >= p.first; --t) {
      const float a = factor<kCell>(r, slot_at(r, t, p.lane));
      product *= a;
      end = a * (r.s.dy[t * r.lanes + p.lane] + end);
    }
    r.products[i] = product, r.ends[i] = end;
  }
}

template <int kCell>
__global__ void backward_kernel(Run r) {
  for (Size i = flat_index(); i < r.lanes * r.blocks; i += flat_step()) {
    const Place p(r, i);
    float carry = 0;
    if (r.blocks > 1) {
      carry = r.carries[i];
    } else if (r.s.dlast != nullptr) {
      carry = r.s.dlast[p.lane];
    }
    for (Size t = p.last - 1; t >= p.first; --t) {
      const Size at = slot_at(r, t, p.lane);
      const float g = r.s.dy[t * r.lanes + p.lane] + carry;
      carry = factor<kCell>(r, at) * g;
      gradients<kCell>(r, at, g, r.s.h[t * r.lanes + p.lane]);
    }
    if (p.block == 0 && r.s.dfirst != nullptr) r.s.dfirst[p.lane] = carry;
  }
}

Fault prepare(Context& c, const Scan& s, Run& r) {
  RONDO_NEED(s.cell >= 0 && s.cell <= 2 && s.steps > 0 && s.batch > 0 && s.row >= s.units);
  RONDO_NEED(s.units > 0);
  RONDO_TRY(use(c));
  r.s = s;
  r.lanes = s.batch * s.units;
  r.block_steps = r.lanes >= kLanesEnough ? s.steps : kBlockSteps;
  r.blocks = ceil_div(s.steps, r.block_steps);
  r.open = s.cell != 0;
  if (r.blocks == 1) return nullptr;
  void* memory = nullptr;
  RONDO_TRY(scratch(c, static_cast<std::size_t>(3 * r.blocks * r.lanes) * sizeof(float), &memory));
  r.products = static_cast<float*>(memory);
  r.ends = r.products + r.blocks * r.lanes;
  r.carries = r.ends + r.blocks * r.lanes;
  return nullptr;
}

Size blocks_of(Size threads) { return std::min(ceil_div(threads, kThreads), Size{1} << 20); }

template <int kCell>
Fault run_forward(Context& c, const Run& r) {
  const Size blocks = blocks_of(r.lanes * r.blocks);
  if (r.blocks > 1) {
    RONDO_TRY(launch(c, summary_kernel<kCell>, blocks, r));
    RONDO_TRY(launch(c, carry_kernel, blocks_of(r.lanes), r, r.s.h, false));
  }
  return launch(c, forward_kernel<kCell>, blocks, r);
}

template <int kCell>
Fault run_backward(Context& c, const Run& r) {
  const Size blocks = blocks_of(r.lanes * r.blocks);
  if (r.blocks > 1) {
    RONDO_TRY(launch(c, back_summary_kernel<kCell>, blocks, r));
    RONDO_TRY(launch(c, carry_kernel, blocks_of(r.lanes), r, r.s.dlast, true));
  }
  return launch(c, backward_kernel<kCell>, blocks, r);
}

}  // namespace

Fault scan(Context* c, const Scan* s) {
  Run r{};
  RONDO_TRY(prepare(*c, *s, r));
  if (s->cell == 0) return run_forward<0>(*c, r);
  return s->cell == 1 ? run_forward<1>(*c, r) : run_forward<2>(*c, r);
}

Fault scan_backward(Context* c, const Scan* s) {
  Run r{};
  RONDO_TRY(prepare(*c, *s, r));
  if (s->cell == 0) return run_backward<0>(*c, r);
  return s->cell == 1 ? run_backward<1>(*c, r) : run_backward<2>(*c, r);
}

}  // namespace rondo::ops::cuda
