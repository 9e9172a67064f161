#include <rondo/ops/optimizer.h>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {

int moment_count(Optimizer rule) {
  if (rule == Optimizer::kSgd) return 0;
  return rule == Optimizer::kAdam ? 2 : 1;
}

namespace {

// By squaring, so that every machine gets the same bits.
double power(double base, std::uint64_t exponent) {
  double result = 1;
  for (; exponent != 0; exponent >>= 1, base *= base)
    if (exponent & 1U) result *= base;
  return result;
}

}  // namespace

OptimizerConstants optimizer_constants(const OptimizerOptions& o) {
  OptimizerConstants c;
  c.a = o.momentum;
  if (o.rule == Optimizer::kRmsprop) c.a = o.alpha;
  if (o.rule == Optimizer::kAdam) c.a = o.beta1;
  c.one_minus_a = 1 - c.a;
  c.b = o.beta2;
  c.one_minus_b = 1 - o.beta2;
  if (o.rule == Optimizer::kAdam) {
    OPS_CHECK(o.step >= 1);
    c.correction1 = 1 / (1 - power(o.beta1, o.step));
    c.correction2 = 1 / (1 - power(o.beta2, o.step));
  }
  return c;
}

template <class T>
void optimizer_step(const Executor& executor, const OptimizerOptions& options,
                    const OptimizerBuffers<T>& b) {
  const Dim count = b.weight.count();
  const int moments = moment_count(options.rule);
  OPS_CHECK(b.gradient.count() == count && b.new_weight.count() == count);
  OPS_CHECK(b.new_weight.data() != b.weight.data());
  OPS_CHECK(moments < 1 || (b.moment1.count() == count && b.new_moment1.count() == count));
  OPS_CHECK(moments < 2 || (b.moment2.count() == count && b.new_moment2.count() == count));
  OptimizerRun<T> all = with_constants<OptimizerRun<T>>(options);
  all.stream = is_streamed(b.new_weight.data(), count) &&
               (moments < 1 || is_streamed(b.new_moment1.data(), count)) &&
               (moments < 2 || is_streamed(b.new_moment2.data(), count));
  for_flat(executor, count, [&](Dim from, Dim to) {
    OptimizerRun<T> run = all;
    run.count = to - from;
    run.weight = b.weight.data() + from;
    run.gradient = b.gradient.data() + from;
    run.new_weight = b.new_weight.data() + from;
    if (moments >= 1) {
      run.moment1 = b.moment1.data() + from;
      run.new_moment1 = b.new_moment1.data() + from;
    }
    if (moments >= 2) {
      run.moment2 = b.moment2.data() + from;
      run.new_moment2 = b.new_moment2.data() + from;
    }
    kernels<T>().optimizer[static_cast<int>(options.rule)](run);
    kernels<T>().fence();
  });
}

template void optimizer_step(const Executor&, const OptimizerOptions&,
                             const OptimizerBuffers<float>&);
template void optimizer_step(const Executor&, const OptimizerOptions&,
                             const OptimizerBuffers<double>&);

}  // namespace rondo::ops
