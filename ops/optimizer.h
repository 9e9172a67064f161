#pragma once

#include <cstdint>

#include <rondo/ops/executor.h>
#include <rondo/ops/tensor.h>

// Optimisers: one fused pass from (weights, moments, gradient) to new weights and new moments.
//
// A training step is a transaction, so nothing is updated in place: the outputs are the spare
// buffers of the next version, and may not alias any input. All views have one shape; moments that
// a rule does not use are empty. Formulas are PyTorch's. Elementwise: bits depend on nothing but
// the inputs.

namespace rondo::ops {

enum class Optimizer : std::uint8_t { kSgd, kMomentum, kNesterov, kRmsprop, kAdam };
[[nodiscard]] int moment_count(Optimizer);   // 0, 1, 1, 1, 2: start as zeros

struct OptimizerOptions {
  Optimizer rule = Optimizer::kRmsprop;
  double lr = 2e-3;
  double momentum = 0.9;        // v' = μv + g; w' = w − lr·v'; nesterov: w' = w − lr·(g + μv')
  double alpha = 0.95;          // rmsprop: s' = αs + (1−α)g²; w' = w − lr·g / (√s' + ε)
  double beta1 = 0.9;           // adam
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;      // g + weight_decay·w is taken for g
  std::uint64_t step = 1;       // adam's bias correction: this step's number, from 1
};

// A rule's constants, worked out: what the formulas above need besides lr, weight_decay, epsilon.
struct OptimizerConstants {
  double a = 0, one_minus_a = 1;                // momentum, alpha or beta1
  double b = 0, one_minus_b = 1;                // beta2
  double correction1 = 1, correction2 = 1;      // adam: 1 / (1 − β^step)
};
[[nodiscard]] OptimizerConstants optimizer_constants(const OptimizerOptions&);

// What a kernel gets of them, in its own precision; the caller fills in counts and pointers.
template <class Run>
[[nodiscard]] Run with_constants(const OptimizerOptions& options) {
  using T = decltype(Run::lr);
  const OptimizerConstants c = optimizer_constants(options);
  Run run{};
  run.lr = static_cast<T>(options.lr);
  run.decay = static_cast<T>(options.weight_decay);
  run.epsilon = static_cast<T>(options.epsilon);
  run.a = static_cast<T>(c.a);
  run.one_minus_a = static_cast<T>(c.one_minus_a);
  run.b = static_cast<T>(c.b);
  run.one_minus_b = static_cast<T>(c.one_minus_b);
  run.correction1 = static_cast<T>(c.correction1);
  run.correction2 = static_cast<T>(c.correction2);
  return run;
}

template <class T>
struct OptimizerBuffers {
  View<const T> weight, gradient, moment1, moment2;         // read
  View<T> new_weight, new_moment1, new_moment2;             // written
};

template <class T>
void optimizer_step(const Executor&, const OptimizerOptions&, const OptimizerBuffers<T>&);

}  // namespace rondo::ops
