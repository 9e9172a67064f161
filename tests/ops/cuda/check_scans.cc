#include <algorithm>
#include <string>

#include <rondo/ops/executor.h>

#include "../cases.h"
#include "harness.h"

namespace rondo::ops::gpu_check {
namespace {

const Executor one(1);

// minGRU and minLSTM: the product of all steps, its bias, then the scan.
class MinOnGpu {
 public:
  MinOnGpu(Harness& h, const cases::MinProblem<float>& f)
      : h_(h), f_(f), weight(h.gpu(), f.weight), bias(h.gpu(), f.bias), x(h.gpu(), f.x),
        dy(h.gpu(), f.dy), dlast(h.gpu(), f.dlast), dfirst(h.gpu(), f.first),
        dx(h.gpu(), f.x), dweight(h.gpu(), f.weight), dbias(h.gpu(), f.bias),
        gates(h.gpu(), bytes(rows() * width())),
        states(h.gpu(), bytes((f.shape.steps + 1) * f.first.count())) {}

  std::vector<Output> run(const cases::MinProblem<double>& d) {
    const Dim in = f_.spec.inputs;
    for (Buffer* b : {&gates, &states, &dfirst, &dx, &dweight, &dbias}) b->poison();
    must(h_.api().copy_in(h_.context(), states.raw(), f_.first.data(), bytes(f_.first.count())));
    multiply({rows(), width(), in, x.f(), in, 0, weight.f(), in, 1, gates.f(), width(), 0,
              Precision::kFloat32});
    must(h_.api().add_bias(h_.context(), gates.f(), bias.f(), rows(), width()));
    cuda::Scan s{};
    s.cell = f_.spec.cell == MinCell::kMinGru ? 1 : 2;
    s.steps = f_.shape.steps, s.batch = f_.shape.batch, s.units = f_.spec.hidden, s.row = width();
    for (int q = 0; q < gate_count(f_.spec.cell); ++q)
      s.in[q] = s.out[q] = gates.f() + q * f_.spec.hidden;
    s.h = states.f(), s.dy = dy.f(), s.dlast = dlast.f(), s.dfirst = dfirst.f();
    must(h_.api().scan(h_.context(), &s));
    must(h_.api().scan_backward(h_.context(), &s));
    multiply({rows(), in, width(), gates.f(), width(), 0, weight.f(), in, 0, dx.f(), in, 0,
              Precision::kFloat32});
    multiply({width(), in, rows(), gates.f(), width(), 1, x.f(), in, 0, dweight.f(), in, 0,
              Precision::kFloat32});
    must(h_.api().column_sums(h_.context(), gates.f(), rows(), width(), dbias.f(), 0));
    Tensor<float> all = states.get<float>({f_.shape.steps + 1, f_.first.count()}), y(f_.dy.shape());
    std::copy_n(all.data() + f_.first.count(), y.count(), y.data());
    return {{"y", y, d.y}, {"dx", dx.get<float>(f_.x.shape()), d.dx},
            {"dfirst", dfirst.get<float>(f_.first.shape()), d.dfirst},
            {"dweight", dweight.get<float>(f_.weight.shape()), d.dweight},
            {"dbias", dbias.get<float>(f_.bias.shape()), d.dbias}};
  }

 private:
  static std::size_t bytes(Dim count) { return static_cast<std::size_t>(count) * sizeof(float); }
  [[nodiscard]] Dim rows() const { return f_.shape.steps * f_.shape.batch; }
  [[nodiscard]] Dim width() const { return gate_count(f_.spec.cell) * f_.spec.hidden; }
  void multiply(const cuda::Product& p) { must(h_.api().product(h_.context(), &p)); }

  Harness& h_;
  const cases::MinProblem<float>& f_;
  Buffer weight, bias, x, dy, dlast, dfirst, dx, dweight, dbias, gates, states;
};

void min_layer(Harness& h, const cases::MinCase& c) {
  if (!h.wanted("scan_" + c.name)) return;
  const cases::MinProblem<float> f(c, h.seed());
  cases::MinProblem<double> d(c, h.seed());
  d.weight = widened(f.weight), d.bias = widened(f.bias), d.x = widened(f.x);
  d.first = widened(f.first), d.dy = widened(f.dy), d.dlast = widened(f.dlast);
  d.run(one);
  MinOnGpu gpu(h, f);
  h.check("scan_" + c.name, kFloatTolerance, [&] { return gpu.run(d); });
}

void linear_scan(Harness& h, Dim steps, Dim lanes) {
  Tensor<float> a, b, start, dh, carry;
  cases::draw(a, {steps, lanes}, 1, h.seed(), 1);
  cases::draw(b, {steps, lanes}, 1, h.seed(), 2);
  cases::draw(start, {lanes}, 1, h.seed(), 3);
  cases::draw(dh, {steps, lanes}, 1, h.seed(), 4);
  cases::draw(carry, {lanes}, 1, h.seed(), 5);
  const Tensor<double> wide_a = widened(a);
  Tensor<double> states({steps + 1, lanes}), da({steps, lanes}), db({steps, lanes}), scratch;
  Tensor<double> dfirst = widened(carry);
  std::copy_n(widened(start).data(), lanes, states.data());
  linear_scan_forward<double>(one, wide_a, widened(b), states, scratch);
  linear_scan_backward<double>(one, {wide_a, states, widened(dh), da, db, dfirst}, scratch);
  h.check("scan_linear_" + std::to_string(steps), kFloatTolerance, [&]() -> std::vector<Output> {
    const Buffer ga(h.gpu(), a), gb(h.gpu(), b), gdh(h.gpu(), dh), glast(h.gpu(), carry);
    const std::size_t state_bytes = static_cast<std::size_t>(states.count()) * sizeof(float);
    const Buffer gh(h.gpu(), state_bytes), gfirst(h.gpu(), carry), oa(h.gpu(), a), ob(h.gpu(), b);
    must(h.api().copy_in(h.context(), gh.raw(), start.data(),
                         static_cast<std::size_t>(lanes) * sizeof(float)));
    const cuda::Scan s{0, steps, 1, lanes, lanes, {ga.f(), gb.f(), nullptr},
                       {oa.f(), ob.f(), nullptr}, gh.f(), gdh.f(), glast.f(), gfirst.f()};
    must(h.api().scan(h.context(), &s));
    must(h.api().scan_backward(h.context(), &s));
    return {{"h", gh.get<float>({steps + 1, lanes}), states},
            {"da", oa.get<float>({steps, lanes}), da}, {"db", ob.get<float>({steps, lanes}), db},
            {"dfirst", gfirst.get<float>({lanes}), dfirst}};
  });
}

}  // namespace

void check_scans(Harness& h) {
  for (const cases::MinCase& c : cases::min_cases(false))
    h.attempt(c.name, [&] { min_layer(h, c); });
  for (const Dim steps : {Dim{1}, Dim{64}, Dim{1000}}) linear_scan(h, steps, 33);
}

}  // namespace rondo::ops::gpu_check
