#include <cmath>

#include <rondo/ops/elementwise.h>
#include <rondo/ops/executor.h>
#include <rondo/ops/loss.h>
#include <rondo/ops/optimizer.h>

#include "../cases.h"
#include "harness.h"

namespace rondo::ops::gpu_check {
namespace {

const Executor one(1);
constexpr Dim kCounts[] = {1, 3, 1024, 70001};

Tensor<float> drawn(const Harness& h, Shape shape, std::uint32_t number, double bound = 2) {
  Tensor<float> t;
  cases::draw(t, shape, bound, h.seed(), number);
  return t;
}

void pairs(Harness& h, Dim n) {
  const Tensor<float> a = drawn(h, {n}, 1), b = drawn(h, {n}, 2);
  const Tensor<double> da = widened(a), db = widened(b);
  Tensor<double> sum({n}), scaled({n}), clipped({n}), by_norm({n});
  add<double>(one, da, db, sum);
  scale<double>(one, da, 0.37, scaled);
  clip_value<double>(one, da, 0.5, clipped);
  const double squared = squared_norm<double>(one, da);
  scale<double>(one, da, clip_norm_factor(squared, 0.25), by_norm);
  h.check("flat_" + std::to_string(n), kFloatTolerance, [&] {
    const Buffer x(h.gpu(), a), y(h.gpu(), b), out(h.gpu(), static_cast<std::size_t>(n) * 4);
    const Buffer norm(h.gpu(), 16);
    std::vector<Output> all;
    const auto take = [&](const char* name, cuda::Fault fault, const Tensor<double>& want) {
      must(fault);
      all.push_back({name, out.get<float>({n}), want});
    };
    take("add", h.api().add(h.context(), x.f(), y.f(), n, out.f()), sum);
    take("scale", h.api().scale(h.context(), x.f(), 0.37F, n, out.f()), scaled);
    take("clip_value", h.api().clip_value(h.context(), x.f(), 0.5F, n, out.f()), clipped);
    must(h.api().squared_norm(h.context(), x.f(), n, norm.d(), 0));
    take("clip_norm", h.api().clip_norm(h.context(), x.f(), norm.d(), 0.25, n, out.f()), by_norm);
    must(h.api().squared_norm(h.context(), x.f(), n, norm.d(), 1));
    Tensor<float> got({1});
    Tensor<double> want({1});
    got[0] = static_cast<float>(norm.get<double>({1})[0]), want[0] = 2 * squared;
    all.push_back({"squared_norm", got, want});
    return all;
  });
}

// Unaligned: the same buffers one element later.
void unaligned(Harness& h) {
  const Dim n = 1000;
  const Tensor<float> a = drawn(h, {n + 1}, 1);
  Tensor<double> want({n});
  for (Dim i = 0; i < n; ++i) want[i] = 3.0 * static_cast<double>(a[i + 1]);
  h.check("flat_unaligned", kFloatTolerance, [&]() -> std::vector<Output> {
    const Buffer x(h.gpu(), a), out(h.gpu(), static_cast<std::size_t>(n) * 4);
    must(h.api().scale(h.context(), x.f() + 1, 3, n, out.f()));
    return {{"scale", out.get<float>({n}), want}};
  });
}

void not_finite(Harness& h) {
  Tensor<float> a = drawn(h, {5000}, 1);
  Buffer x(h.gpu(), a);
  cuda::Size first = 0;
  must(h.api().not_finite(h.context(), x.f(), 5000, &first));
  h.claim("not_finite_says_none", first == -1);
  a[4321] = INFINITY, a[1234] = NAN;
  x.set(a);
  must(h.api().not_finite(h.context(), x.f(), 5000, &first));
  h.claim("not_finite_names_the_first", first == 1234);
}

void optimizer(Harness& h, Optimizer rule, Dim n, double limit) {
  const OptimizerOptions options{.rule = rule, .lr = 0.05, .weight_decay = 0.01, .step = 3};
  const Tensor<float> w = drawn(h, {n}, 1), g = drawn(h, {n}, 2), m1 = drawn(h, {n}, 3);
  Tensor<float> m2 = drawn(h, {n}, 4), positive = m1;
  for (Dim i = 0; i < n; ++i) m2[i] = std::abs(m2[i]), positive[i] = std::abs(m1[i]);
  const Tensor<float>& first = rule == Optimizer::kRmsprop ? positive : m1;
  const Tensor<double> dw = widened(w), d1 = widened(first), d2 = widened(m2);
  Tensor<double> dg = widened(g), nw({n}), n1({n}), n2({n});
  if (limit > 0)
    scale<double>(one, dg, clip_norm_factor(squared_norm<double>(one, dg), limit), dg);
  optimizer_step<double>(one, options,
                         {.weight = dw, .gradient = dg, .moment1 = d1, .moment2 = d2,
                          .new_weight = nw, .new_moment1 = n1, .new_moment2 = n2});
  const char* names[] = {"sgd", "momentum", "nesterov", "rmsprop", "adam"};
  const std::string name = std::string("optimizer_") + names[static_cast<int>(rule)];
  h.check(name + "_" + std::to_string(n), kFloatTolerance, [&] {
    const std::size_t bytes = static_cast<std::size_t>(n) * 4;
    const Buffer gw(h.gpu(), w), gg(h.gpu(), g), g1(h.gpu(), first), g2(h.gpu(), m2);
    const Buffer ow(h.gpu(), bytes), o1(h.gpu(), bytes), o2(h.gpu(), bytes), norm(h.gpu(), 8);
    cuda::OptimizerStep s = gpu_optimizer_step(options);
    s.count = n;
    s.weight = gw.f(), s.gradient = gg.f(), s.moment1 = g1.f(), s.moment2 = g2.f();
    s.new_weight = ow.f(), s.new_moment1 = o1.f(), s.new_moment2 = o2.f();
    if (limit > 0) {
      must(h.api().squared_norm(h.context(), gg.f(), n, norm.d(), 0));
      s.clip_squared_norm = norm.d(), s.clip_limit = limit;
    }
    must(h.api().optimizer_step(h.context(), &s));
    std::vector<Output> all = {{"weight", ow.get<float>({n}), nw}};
    if (moment_count(rule) > 0) all.push_back({"moment1", o1.get<float>({n}), n1});
    if (moment_count(rule) > 1) all.push_back({"moment2", o2.get<float>({n}), n2});
    return all;
  });
}

void cross_entropy(Harness& h, Dim rows, Dim classes) {
  const Tensor<float> x = drawn(h, {rows, classes}, 1, 10);
  Tensor<std::int32_t> targets({rows});
  for (Dim r = 0; r < rows; ++r) targets[r] = static_cast<std::int32_t>(r * 7 % classes);
  const Tensor<double> dx = widened(x);
  Tensor<double> loss({rows}), gradient({rows, classes}), share({rows, classes}), sum({1});
  sum[0] = softmax_cross_entropy<double>(one, dx, targets, 0.01, loss, gradient);
  softmax<double>(one, dx, 0.7, share);
  const std::string name = "cross_entropy_" + std::to_string(rows) + "x" + std::to_string(classes);
  h.check(name, kFloatTolerance, [&]() -> std::vector<Output> {
    const Buffer in(h.gpu(), x), to(h.gpu(), targets), total(h.gpu(), 8);
    const std::size_t bytes = static_cast<std::size_t>(rows * classes) * 4;
    const Buffer losses(h.gpu(), static_cast<std::size_t>(rows) * 4), d(h.gpu(), bytes);
    const Buffer soft(h.gpu(), bytes);
    cuda::CrossEntropy p{.rows = rows, .classes = classes, .logits = in.f(), .targets = to.i(),
                         .scale = 0.01F, .row_loss = losses.f(), .dlogits = d.f(),
                         .sum = total.d()};
    must(h.api().cross_entropy(h.context(), &p));
    must(h.api().softmax(h.context(), in.f(), rows, classes, 0.7F, soft.f()));
    Tensor<float> got({1});
    got[0] = static_cast<float>(total.get<double>({1})[0]);
    p.dlogits = in.f();   // in place
    must(h.api().cross_entropy(h.context(), &p));
    return {{"loss", losses.get<float>({rows}), loss}, {"sum", got, sum},
            {"gradient", d.get<float>({rows, classes}), gradient},
            {"in place", in.get<float>({rows, classes}), gradient},
            {"softmax", soft.get<float>({rows, classes}), share}};
  });
}

void squared(Harness& h, Dim n) {
  const Tensor<float> y = drawn(h, {n}, 1), target = drawn(h, {n}, 2);
  Tensor<double> gradient({n}), sum({1});
  sum[0] = squared_error<double>(one, widened(y), widened(target), 0.5, gradient);
  h.check("squared_error_" + std::to_string(n), kFloatTolerance, [&]() -> std::vector<Output> {
    const Buffer a(h.gpu(), y), b(h.gpu(), target), total(h.gpu(), 8);
    must(h.api().squared_error(h.context(), a.f(), b.f(), n, 0.5F, a.f(), total.d()));
    Tensor<float> got({1});
    got[0] = static_cast<float>(total.get<double>({1})[0]);
    return {{"sum", got, sum}, {"gradient in place", a.get<float>({n}), gradient}};
  });
}

}  // namespace

void check_flat(Harness& h) {
  for (const Dim n : kCounts) pairs(h, n);
  unaligned(h);
  not_finite(h);
  for (const Optimizer rule : {Optimizer::kSgd, Optimizer::kMomentum, Optimizer::kNesterov,
                               Optimizer::kRmsprop, Optimizer::kAdam})
    for (const Dim n : {Dim{5}, Dim{40003}}) optimizer(h, rule, n, n > 5 ? 1.5 : 0);
}

void check_losses(Harness& h) {
  for (const Dim classes : {Dim{1}, Dim{2}, Dim{65}, Dim{1000}, Dim{3001}})
    cross_entropy(h, 37, classes);
  for (const Dim n : {Dim{1}, Dim{30001}}) squared(h, n);
}

}  // namespace rondo::ops::gpu_check
