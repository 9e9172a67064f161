#pragma once

// The persistent kernels: what a unit does between two turns of persistent_peer.h. The formulas are
// those of cells.cu.

#include <rondo/ops/cuda/persistent_peer.h>
#include <rondo/ops/cuda/recurrent.h>

namespace rondo::ops::cuda {

template <class P>
__device__ int row_of(const P& p, int t) {
  return p.at == nullptr ? t * p.link.batch : p.at[t];
}
// Where the state before step t of the first sequence lies.
template <class P>
__device__ int row_before(const P& p, int t) {
  return t == 0 ? 0 : p.link.batch + row_of(p, t - 1);
}
template <class P>
__device__ int count_of(const P& p, int t) {
  return p.at == nullptr ? p.link.batch : p.at[t + 1] - p.at[t];
}

inline constexpr int kSlotsMax = 4;
template <int kCell>
inline constexpr int kSlots = kCell == kLstm || kCell == kGru ? 4 : 1;
template <int kCell>
inline constexpr int kGates = kCell == kLstm ? 4 : kCell == kGru ? 3 : 1;

__device__ inline float elman_value(std::int32_t cell, float x) {
  if (cell == kTanh) return tanhf(x);
  if (cell == kSigmoid) return logistic(x);
  return x > 0 || isnan(x) ? x : 0.0F;
}
__device__ inline float elman_slope(std::int32_t cell, float y) {
  if (cell == kTanh) return 1 - y * y;
  if (cell == kSigmoid) return y * (1 - y);
  return y > 0 ? 1.0F : 0.0F;
}

template <class M, int kCell, int kUnits, int kNt>
class ForwardPass {
 public:
  using Block = Peer<M, kUnits, kGates<kCell>, 1, kNt>;
  __device__ explicit ForwardPass(const PersistentForward& p) : p_(p), peer_(p.link) {}

  // The state before the first step, as the mail of turn 0.
  __device__ void start(int slab) {
    for (int k = 0; k < Block::kItems; ++k) {
      const int i = Block::index(k);
      if (!Block::exists(i)) continue;
      const bool there = active(slab, i, p_.first);
      const Size at = (static_cast<Size>(row_before(p_, p_.first)) + peer_.sequence(slab, i)) *
                          p_.link.hidden + peer_.unit(i);
      const float h = there ? p_.h[at] : 0.0F;
      if (kCell == kLstm) peer_.carried(0, slab, i) = there ? p_.c[at] : 0.0F;
      if (kCell == kGru) peer_.carried(0, slab, i) = h;
      peer_.send(slab, 0, i, 0, h);
    }
    peer_.publish(slab, 0);
  }

  [[nodiscard]] __device__ bool step(int slab, int t, std::uint32_t turn) {
    Item items[Block::kItems];
#pragma unroll
    for (int k = 0; k < Block::kItems; ++k) read(slab, Block::index(k), t, items[k]);
    if (!peer_.gather(slab, turn)) return false;
#pragma unroll
    for (int k = 0; k < Block::kItems; ++k) {
      const int i = Block::index(k);
      if (!Block::exists(i)) continue;
      if (items[k].active) advance(slab, i, items[k]);
      peer_.send(slab, turn + 1, i, 0, items[k].active ? items[k].h : 0.0F);
    }
    peer_.publish(slab, turn + 1);
#pragma unroll
    for (int k = 0; k < Block::kItems; ++k)
      if (items[k].active) write(items[k], slab, Block::index(k), t);
    return true;
  }

  // The slab has a sequence that takes part in step t.
  [[nodiscard]] __device__ bool any(int slab, int t) const {
    return peer_.sequence(slab, 0) < count_of(p_, t);
  }

 private:
  struct Item {
    bool active;
    float v[kSlots<kCell>];   // sums, then values
    float h, c;
  };
  [[nodiscard]] __device__ bool active(int slab, int i, int t) const {
    return Block::exists(i) && peer_.unit(i) < p_.link.hidden &&
           peer_.sequence(slab, i) < count_of(p_, t);
  }
  [[nodiscard]] __device__ Size row(int slab, int i, int t) const {
    return static_cast<Size>(row_of(p_, t)) + peer_.sequence(slab, i);
  }

  // All that does not wait for the state: input parts and biases.
  __device__ void read(int slab, int i, int t, Item& item) const {
    item.active = active(slab, i, t);
    if (!item.active) return;
    const Size hidden = p_.link.hidden, unit = peer_.unit(i), at = row(slab, i, t);
    constexpr int kInputs = kGates<kCell>;   // GRU's m has no input part
    std::int32_t id = 0;
    if (p_.ids != nullptr) id = p_.ids[at];
    const bool known = id >= 0 && id < p_.words;
    float part[kInputs];   // all are asked for before the first is needed
    if (p_.ids == nullptr) {
#pragma unroll
      for (int q = 0; q < kInputs; ++q)
        part[q] = p_.gates[(at * kSlots<kCell> + q) * hidden + unit];
    } else {
#pragma unroll
      for (int q = 0; q < kInputs; ++q) {
        const int line = kCell != kGru ? q : q == 0 ? 2 : q - 1;
        part[q] = known ? p_.table[(id * kInputs + line) * hidden + unit] : NAN;
      }
    }
#pragma unroll
    for (int q = 0; q < kSlots<kCell>; ++q) {
      item.v[q] = p_.bias[q * hidden + unit];
      if (q < kInputs) item.v[q] += part[q];
    }
  }

  __device__ void advance(int slab, int i, Item& item) const {
    float(&v)[kSlots<kCell>] = item.v;
    if constexpr (kCell == kLstm) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        v[q] += peer_.sum(q, i);
        v[q] = q == 2 ? tanhf(v[q]) : logistic(v[q]);
      }
      float& c = peer_.carried(0, slab, i);
      c = fmaf(v[1], c, v[0] * v[2]);
      item.c = c;
      item.h = v[3] * tanhf(c);
    } else if constexpr (kCell == kGru) {
      v[1] = logistic(v[1] + peer_.sum(0, i));
      v[2] = logistic(v[2] + peer_.sum(1, i));
      v[3] += peer_.sum(2, i);
      v[0] = tanhf(fmaf(v[1], v[3], v[0]));
      float& h = peer_.carried(0, slab, i);
      h = fmaf(v[2], h - v[0], v[0]);
      item.h = h;
    } else {
      v[0] = elman_value(p_.cell, v[0] + peer_.sum(0, i));
      item.h = v[0];
    }
  }

  __device__ void write(const Item& item, int slab, int i, int t) const {
    const Size hidden = p_.link.hidden, unit = peer_.unit(i), at = row(slab, i, t);
#pragma unroll
    for (int q = 0; q < kSlots<kCell>; ++q)
      p_.gates[(at * kSlots<kCell> + q) * hidden + unit] = item.v[q];
    const Size state = (p_.link.batch + at) * hidden + unit;
    p_.h[state] = item.h;
    if (p_.h_rounded != nullptr) p_.h_rounded[state] = __float2bfloat16(item.h);
    if (kCell == kLstm) p_.c[state] = item.c;
  }

  const PersistentForward& p_;
  Block peer_;
};

template <class M, int kCell, int kUnits, int kNt>
__global__ void __launch_bounds__(kThreads, 1)
    persistent_forward_kernel(const __grid_constant__ PersistentForward p) {
  ForwardPass<M, kCell, kUnits, kNt> pass(p);
  for (int slab = 0; slab < p.link.slabs; ++slab)
    if (pass.any(slab, p.first)) pass.start(slab);
  for (int t = p.first; t < p.last; ++t)
    for (int slab = 0; slab < p.link.slabs; ++slab)
      if (pass.any(slab, t) && !pass.step(slab, t, static_cast<std::uint32_t>(t - p.first)))
        return;
}

template <class M, int kCell, int kUnits, int kNt>
class BackwardPass {
 public:
  using Block = Peer<M, kUnits, 1, kGates<kCell>, kNt>;
  __device__ explicit BackwardPass(const PersistentBackward& p) : p_(p), peer_(p.link) {}

  // Gradients of the state after the last step.
  __device__ void start(int slab) {
    for (int k = 0; k < Block::kItems; ++k) {
      const int i = Block::index(k);
      if (!inside(slab, i)) continue;
      const Size at = place(slab, i);
      peer_.carried(0, slab, i) = p_.dh[at];
      if (kCell == kLstm) peer_.carried(1, slab, i) = p_.dc[at];
    }
  }

  [[nodiscard]] __device__ bool step(int slab, int t, std::uint32_t turn) {
    Item items[Block::kItems];
#pragma unroll
    for (int k = 0; k < Block::kItems; ++k) read(slab, Block::index(k), t, items[k]);
    if (t + 1 < p_.last && any(slab, t + 1) && !collect(slab, turn - 1)) return false;
#pragma unroll
    for (int k = 0; k < Block::kItems; ++k) {
      const int i = Block::index(k);
      if (!Block::exists(i)) continue;
      if (items[k].active) retreat(slab, i, items[k]);
#pragma unroll
      for (int q = 0; q < kGates<kCell>; ++q)   // GRU's r z m are slots 1 2 3
        peer_.send(slab, turn, i, q,
                   items[k].active ? items[k].v[kCell == kGru ? q + 1 : q] : 0.0F);
    }
    peer_.publish(slab, turn);
#pragma unroll
    for (int k = 0; k < Block::kItems; ++k)
      if (items[k].active) write(items[k], slab, Block::index(k), t);
    return true;
  }

  // Gradients of the state before the first step.
  __device__ void finish(int slab, std::uint32_t turn) {
    if (!collect(slab, turn)) return;
    for (int k = 0; k < Block::kItems; ++k) {
      const int i = Block::index(k);
      if (!inside(slab, i)) continue;
      p_.dh[place(slab, i)] = peer_.carried(0, slab, i);
      if (kCell == kLstm) p_.dc[place(slab, i)] = peer_.carried(1, slab, i);
    }
    __syncthreads();   // the next slab's sums take the place of these
  }

  [[nodiscard]] __device__ bool any(int slab, int t) const {
    return peer_.sequence(slab, 0) < count_of(p_, t);
  }

 private:
  struct Item {
    bool active;
    float v[kSlots<kCell>];   // values, then gradients
    float dy, before, c;      // before: c or h
  };
  [[nodiscard]] __device__ bool inside(int slab, int i) const {
    return Block::exists(i) && peer_.unit(i) < p_.link.hidden &&
           peer_.sequence(slab, i) < p_.link.batch;
  }
  [[nodiscard]] __device__ Size place(int slab, int i) const {
    return static_cast<Size>(peer_.sequence(slab, i)) * p_.link.hidden + peer_.unit(i);
  }

  // The recurrent product of a turn's gradients onto what is carried.
  [[nodiscard]] __device__ bool collect(int slab, std::uint32_t turn) {
    if (!peer_.gather(slab, turn)) return false;
    for (int k = 0; k < Block::kItems; ++k) {
      const int i = Block::index(k);
      if (inside(slab, i)) peer_.carried(0, slab, i) += peer_.sum(0, i);
    }
    return true;
  }

  __device__ void read(int slab, int i, int t, Item& item) const {
    item.active = inside(slab, i) && peer_.sequence(slab, i) < count_of(p_, t);
    if (!item.active) return;
    const Size hidden = p_.link.hidden, unit = peer_.unit(i), n = peer_.sequence(slab, i);
    const Size at = row_of(p_, t) + n, before = row_before(p_, t) + n;
#pragma unroll
    for (int q = 0; q < kSlots<kCell>; ++q)
      item.v[q] = p_.gates[(at * kSlots<kCell> + q) * hidden + unit];
    item.dy = p_.dy[at * hidden + unit];
    if (kCell == kLstm) {
      item.before = p_.c[before * hidden + unit];
      item.c = p_.c[(p_.link.batch + at) * hidden + unit];
    }
    if (kCell == kGru) item.before = p_.h[before * hidden + unit];
  }

  __device__ void retreat(int slab, int i, Item& item) const {
    float(&v)[kSlots<kCell>] = item.v;
    float& carried = peer_.carried(0, slab, i);
    const float dh = item.dy + carried;
    if constexpr (kCell == kLstm) {
      float& dc_carried = peer_.carried(1, slab, i);
      const float in = v[0], f = v[1], g = v[2], o = v[3], c = tanhf(item.c);
      const float dc = fmaf(dh * o, 1 - c * c, dc_carried);
      v[0] = dc * g * (in * (1 - in));
      v[1] = dc * item.before * (f * (1 - f));
      v[2] = dc * in * (1 - g * g);
      v[3] = dh * c * (o * (1 - o));
      dc_carried = dc * f;
      carried = 0;
    } else if constexpr (kCell == kGru) {
      const float n = v[0], r = v[1], z = v[2], m = v[3];
      const float dn = dh * (1 - z) * (1 - n * n);
      v[0] = dn;
      v[1] = dn * m * (r * (1 - r));
      v[2] = dh * (item.before - n) * (z * (1 - z));
      v[3] = dn * r;
      carried = dh * z;
    } else {
      v[0] = dh * elman_slope(p_.cell, v[0]);
      carried = 0;
    }
  }

  __device__ void write(const Item& item, int slab, int i, int t) const {
    const Size hidden = p_.link.hidden, unit = peer_.unit(i);
    const Size at = row_of(p_, t) + static_cast<Size>(peer_.sequence(slab, i));
#pragma unroll
    for (int q = 0; q < kSlots<kCell>; ++q) {
      const Size to = (at * kSlots<kCell> + q) * hidden + unit;
      if (p_.rounded != nullptr) {
        p_.rounded[to] = __float2bfloat16(item.v[q]);
      } else {
        p_.gates[to] = item.v[q];
      }
    }
  }

  const PersistentBackward& p_;
  Block peer_;
};

template <class M, int kCell, int kUnits, int kNt>
__global__ void __launch_bounds__(kThreads, 1)
    persistent_backward_kernel(const __grid_constant__ PersistentBackward p) {
  BackwardPass<M, kCell, kUnits, kNt> pass(p);
  for (int slab = 0; slab < p.link.slabs; ++slab) pass.start(slab);
  for (int t = p.last - 1; t >= p.first; --t)
    for (int slab = 0; slab < p.link.slabs; ++slab)
      if (pass.any(slab, t) && !pass.step(slab, t, static_cast<std::uint32_t>(p.last - 1 - t)))
        return;
  for (int slab = 0; slab < p.link.slabs; ++slab)
    if (pass.any(slab, p.first))
      pass.finish(slab, static_cast<std::uint32_t>(p.last - 1 - p.first));
}

template <class M, int kCell, int kUnits>
PersistentKernels persistent_kernels() {
  return {{persistent_forward_kernel<M, kCell, kUnits, 1>,
           persistent_forward_kernel<M, kCell, kUnits, 2>},
          {persistent_backward_kernel<M, kCell, kUnits, 1>,
           persistent_backward_kernel<M, kCell, kUnits, 2>}};
}

template <class M>
PersistentKernels persistent_kernels(std::int32_t cell, int units) {
  if (cell == kLstm)
    return units == 16 ? persistent_kernels<M, kLstm, 16>() : persistent_kernels<M, kLstm, 32>();
  if (cell == kGru)
    return units == 16 ? persistent_kernels<M, kGru, 16>() : persistent_kernels<M, kGru, 32>();
  return units == 16 ? persistent_kernels<M, kTanh, 16>() : persistent_kernels<M, kTanh, 32>();
}

}  // namespace rondo::ops::cuda
