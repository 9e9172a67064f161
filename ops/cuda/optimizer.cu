// One pass over weight, gradient and moments; clipping by the norm is folded into the read of the
// gradient. The arithmetic is that of cpu/optimizer_kernel.h, one element at a time.

#include <rondo/ops/cuda/device.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {
namespace {

enum Rule { kSgd, kMomentum, kNesterov, kRmsprop, kAdam };

template <int kRule>
__device__ float updated(const OptimizerStep& o, float w, float g, float& m1, float& m2) {
  if constexpr (kRule == kSgd) {
    return fmaf(-o.lr, g, w);
  } else if constexpr (kRule == kMomentum || kRule == kNesterov) {
    m1 = fmaf(o.a, m1, g);
    return fmaf(-o.lr, kRule == kNesterov ? fmaf(o.a, m1, g) : m1, w);
  } else if constexpr (kRule == kRmsprop) {
    m1 = fmaf(o.one_minus_a * g, g, o.a * m1);
    return fmaf(-o.lr, g / (sqrtf(m1) + o.epsilon), w);
  } else {
    m1 = fmaf(o.one_minus_a, g, o.a * m1);
    m2 = fmaf(o.one_minus_b * g, g, o.b * m2);
    const float down = sqrtf(m2 * o.correction2) + o.epsilon;
    return fmaf(-o.lr, m1 * o.correction1 / down, w);
  }
}

template <int kRule, bool kWide>
__global__ void step_kernel(OptimizerStep o) {
  constexpr int kMoments = kRule == kSgd ? 0 : kRule == kAdam ? 2 : 1;
  float factor = 1;
  if (o.clip_squared_norm != nullptr) {
    const double norm = sqrt(*o.clip_squared_norm);
    factor = static_cast<float>(norm > o.clip_limit ? o.clip_limit / norm : 1.0);
  }
  for (Size i = 4 * flat_index(); i < o.count; i += 4 * flat_step()) {
    float w[4], g[4], m1[4] = {}, m2[4] = {};
    load4<kWide>(o.weight, i, o.count, w);
    load4<kWide>(o.gradient, i, o.count, g);
    if constexpr (kMoments >= 1) load4<kWide>(o.moment1, i, o.count, m1);
    if constexpr (kMoments >= 2) load4<kWide>(o.moment2, i, o.count, m2);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      w[j] = updated<kRule>(o, w[j], fmaf(o.decay, w[j], g[j] * factor), m1[j], m2[j]);
    store4<kWide>(w, o.new_weight, i, o.count);
    if constexpr (kMoments >= 1) store4<kWide>(m1, o.new_moment1, i, o.count);
    if constexpr (kMoments >= 2) store4<kWide>(m2, o.new_moment2, i, o.count);
  }
}

template <int kRule>
Fault start(Context& c, const OptimizerStep& o, bool wide) {
  return launch(c, wide ? step_kernel<kRule, true> : step_kernel<kRule, false>,
                flat_blocks(o.count), o);
}

}  // namespace

// A null pointer counts as aligned: moments that a rule lacks are never read.
Fault optimizer_step(Context* c, const OptimizerStep* o) {
  RONDO_NEED(o->count >= 0);
  RONDO_NEED(o->clip_squared_norm == nullptr || o->clip_limit > 0);
  RONDO_TRY(use(*c));
  const bool wide = aligned16(o->weight, o->gradient, o->moment1, o->moment2, o->new_weight,
                              o->new_moment1, o->new_moment2);
  switch (o->rule) {
    case kSgd: return start<kSgd>(*c, *o, wide);
    case kMomentum: return start<kMomentum>(*c, *o, wide);
    case kNesterov: return start<kNesterov>(*c, *o, wide);
    case kRmsprop: return start<kRmsprop>(*c, *o, wide);
    case kAdam: return start<kAdam>(*c, *o, wide);
    default: return fail("the GPU knows no optimiser rule %d", static_cast<int>(o->rule));
  }
}

}  // namespace rondo::ops::cuda
