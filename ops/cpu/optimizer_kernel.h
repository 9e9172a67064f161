#pragma once

// Optimiser rules, one element at a time in sixteen lanes; the tail runs in padded lanes.

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/vec.h>

namespace rondo::ops::RONDO_OPS_ISA {

template <class V, bool kStream>
struct SgdRule {
  static void step(const OptimizerRun<typename V::T>& o, long i, long n) {
    const V w = load_first<V>(o.weight + i, n);
    const V g = fma(V::all(o.decay), w, load_first<V>(o.gradient + i, n));
    put<kStream>(fma(V::all(-o.lr), g, w), o.new_weight + i, n);
  }
};

template <class V, bool kStream>
struct MomentumRule {
  static void step(const OptimizerRun<typename V::T>& o, long i, long n) {
    const V w = load_first<V>(o.weight + i, n);
    const V g = fma(V::all(o.decay), w, load_first<V>(o.gradient + i, n));
    const V v = fma(V::all(o.a), load_first<V>(o.moment1 + i, n), g);
    put<kStream>(v, o.new_moment1 + i, n);
    put<kStream>(fma(V::all(-o.lr), v, w), o.new_weight + i, n);
  }
};

template <class V, bool kStream>
struct NesterovRule {
  static void step(const OptimizerRun<typename V::T>& o, long i, long n) {
    const V w = load_first<V>(o.weight + i, n);
    const V g = fma(V::all(o.decay), w, load_first<V>(o.gradient + i, n));
    const V v = fma(V::all(o.a), load_first<V>(o.moment1 + i, n), g);
    put<kStream>(v, o.new_moment1 + i, n);
    put<kStream>(fma(V::all(-o.lr), fma(V::all(o.a), v, g), w), o.new_weight + i, n);
  }
};

template <class V, bool kStream>
struct RmspropRule {
  static void step(const OptimizerRun<typename V::T>& o, long i, long n) {
    const V w = load_first<V>(o.weight + i, n);
    const V g = fma(V::all(o.decay), w, load_first<V>(o.gradient + i, n));
    const V old = load_first<V>(o.moment1 + i, n);
    const V s = fma(V::all(o.one_minus_a) * g, g, V::all(o.a) * old);
    put<kStream>(s, o.new_moment1 + i, n);
    const V down = sqrt(s) + V::all(o.epsilon);
    put<kStream>(fma(V::all(-o.lr), g / down, w), o.new_weight + i, n);
  }
};

template <class V, bool kStream>
struct AdamRule {
  static void step(const OptimizerRun<typename V::T>& o, long i, long n) {
    const V w = load_first<V>(o.weight + i, n);
    const V g = fma(V::all(o.decay), w, load_first<V>(o.gradient + i, n));
    const V m1 = fma(V::all(o.one_minus_a), g, V::all(o.a) * load_first<V>(o.moment1 + i, n));
    const V m2 =
        fma(V::all(o.one_minus_b) * g, g, V::all(o.b) * load_first<V>(o.moment2 + i, n));
    put<kStream>(m1, o.new_moment1 + i, n);
    put<kStream>(m2, o.new_moment2 + i, n);
    const V down = sqrt(m2 * V::all(o.correction2)) + V::all(o.epsilon);
    const V up = m1 * V::all(o.correction1);
    put<kStream>(fma(V::all(-o.lr), up / down, w), o.new_weight + i, n);
  }
};

// `run` is copied, so that stores cannot change it.
template <template <class, bool> class Rule, class V, bool kStream>
[[gnu::flatten]] void run_rule_of(const OptimizerRun<typename V::T>& run) {
  const OptimizerRun<typename V::T> o = run;
  long i = 0;
  for (; i + kLanes <= o.count; i += kLanes) Rule<V, kStream>::step(o, i, kLanes);
  if (i < o.count) Rule<V, kStream>::step(o, i, o.count - i);
}

template <template <class, bool> class Rule, class V>
void run_rule(const OptimizerRun<typename V::T>& o) {
  o.stream ? run_rule_of<Rule, V, V::kStreams>(o) : run_rule_of<Rule, V, false>(o);
}

}  // namespace rondo::ops::RONDO_OPS_ISA
