#include <algorithm>
#include <cmath>
#include <cstring>

#include <rondo/ops/executor.h>

#include "../cases.h"
#include "harness.h"

namespace rondo::ops::gpu_check {
namespace {

using cases::RecurrentCase;
using cases::RecurrentProblem;
using Problem = RecurrentProblem<float>;

const Executor one(1);

// Weights as a fresh PyTorch layer has them, within ±1/√H: with larger ones a recurrence is
// chaotic, and no precision follows another. For bf16 inputs are what bf16 holds.
void settle(Problem& f, bool rounded) {
  const double old = f.spec.hidden > 200 ? 0.05 : 0.4;
  const float factor = static_cast<float>(1 / std::sqrt(static_cast<double>(f.spec.hidden)) / old);
  for (Tensor<float>* t : {&f.w_ih, &f.w_hh, &f.b_ih, &f.b_hh}) {
    for (Dim i = 0; i < t->count(); ++i) (*t)[i] *= factor;
    if (rounded) round_to_bf16(*t);
  }
  if (rounded) round_to_bf16(f.x), round_to_bf16(f.h0);
}

RecurrentProblem<double> reference(const RecurrentCase& c, const Problem& f, std::uint64_t seed) {
  RecurrentProblem<double> d(c, seed);
  d.w_ih = widened(f.w_ih), d.w_hh = widened(f.w_hh), d.b_ih = widened(f.b_ih);
  d.b_hh = widened(f.b_hh), d.h0 = widened(f.h0), d.c0 = widened(f.c0), d.dy = widened(f.dy);
  if (!d.spec.ids) d.x = widened(f.x);
  d.dh_last = widened(f.dh_last), d.dc_last = widened(f.dc_last);
  d.run(one);
  return d;
}

// A layer on the GPU with everything around it.
class OnGpu {
 public:
  OnGpu(Harness& h, const Problem& f, Precision precision)
      : h_(h), f_(f), w_ih(h.gpu(), f.w_ih), w_hh(h.gpu(), f.w_hh), b_ih(h.gpu(), f.b_ih),
        b_hh(h.gpu(), f.b_hh), x(h.gpu(), f.x), ids(h.gpu(), f.ids), h0(h.gpu(), f.h0),
        c0(h.gpu(), f.c0), dy(h.gpu(), f.dy), dh(h.gpu(), f.dh_last), dc(h.gpu(), f.dc_last),
        h_last(h.gpu(), f.h0), c_last(h.gpu(), f.c0), dx(h.gpu(), f.x), dh0(h.gpu(), f.h0),
        dc0(h.gpu(), f.c0), g_ih(h.gpu(), f.w_ih), g_hh(h.gpu(), f.w_hh), gb_ih(h.gpu(), f.b_ih),
        gb_hh(h.gpu(), f.b_hh) {
    const cuda::LayerSpec spec{static_cast<std::int32_t>(f.spec.cell), f.spec.inputs,
                               f.spec.hidden, f.spec.ids, precision};
    must(h.api().layer_open(h.context(), &spec, &layer_));
    const cuda::LayerWeights w{w_ih.f(), w_hh.f(), b_ih.f(), b_hh.f()};
    must(h.api().layer_pack(layer_, &w));
    std::vector<cuda::Size> at;
    std::vector<std::int32_t> order;
    for (Dim t = 0; t <= f.lengths.steps(); ++t) at.push_back(f.lengths.at(t));
    for (Dim k = 0; k < f.lengths.batch(); ++k)
      order.push_back(static_cast<std::int32_t>(f.lengths.sequence(k)));
    cuda::Sequences s{f.lengths.steps(), f.lengths.batch(), at.data(), order.data()};
    if (f.lengths.equal()) s.at = nullptr, s.sequence = nullptr;
    must(h.api().activations_open(layer_, &s, &activations_));
  }
  ~OnGpu() {
    h_.api().activations_close(activations_);
    h_.api().layer_close(layer_);
  }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;

  void pass(bool add_to) {
    for (Buffer* b : {&h_last, &c_last, &dx, &dh0, &dc0}) b->poison();
    if (!add_to)
      for (Buffer* b : {&g_ih, &g_hh, &gb_ih, &gb_hh}) b->poison();
    const bool dense = !f_.spec.ids;
    const cuda::LayerForward forward{dense ? x.f() : nullptr, dense ? nullptr : ids.i(), h0.f(),
                                     c0.f(), h_last.f(), c_last.f()};
    must(h_.api().layer_forward(layer_, activations_, &forward));
    must(h_.api().activations_y(activations_, &y));
    Tensor<float> seen(f_.dy.shape());
    must(h_.api().copy_out(h_.context(), seen.data(), y,
                           static_cast<std::size_t>(seen.count()) * sizeof(float)));
    y_seen = seen;
    const cuda::LayerBackward back{dense ? x.f() : nullptr, dense ? nullptr : ids.i(), dy.f(),
                                   dh.f(), dc.f(), dense ? dx.f() : nullptr, dh0.f(), dc0.f(),
                                   g_ih.f(), g_hh.f(), gb_ih.f(), gb_hh.f(), add_to};
    must(h_.api().layer_backward(layer_, activations_, &back));
  }

  std::vector<Output> outputs(const RecurrentProblem<double>& d) const {
    std::vector<Output> all = {{"y", y_seen, d.y},
                               {"h_last", h_last.get<float>(f_.h0.shape()), d.h_last},
                               {"dh_first", dh0.get<float>(f_.h0.shape()), d.dh_first},
                               {"w_ih", g_ih.get<float>(f_.w_ih.shape()), d.g_ih},
                               {"w_hh", g_hh.get<float>(f_.w_hh.shape()), d.g_hh},
                               {"b_ih", gb_ih.get<float>(f_.b_ih.shape()), d.gb_ih},
                               {"b_hh", gb_hh.get<float>(f_.b_hh.shape()), d.gb_hh}};
    if (!f_.spec.ids) all.push_back({"dx", dx.get<float>(f_.x.shape()), d.dx});
    if (f_.spec.cell == Cell::kLstm) {
      all.push_back({"c_last", c_last.get<float>(f_.c0.shape()), d.c_last});
      all.push_back({"dc_first", dc0.get<float>(f_.c0.shape()), d.dc_first});
    }
    return all;
  }

 private:
  Harness& h_;
  const Problem& f_;
  cuda::Layer* layer_ = nullptr;
  cuda::Activations* activations_ = nullptr;
  Buffer w_ih, w_hh, b_ih, b_hh, x, ids, h0, c0, dy, dh, dc;
  Buffer h_last, c_last, dx, dh0, dc0, g_ih, g_hh, gb_ih, gb_hh;
  const float* y = nullptr;
  Tensor<float> y_seen;
};

// relu's slope jumps at 0: a sum that rounding carries across it takes a whole gradient with it, so
// the error falls with the root of the rounding only; and inputs are always the same there.
double layer_tolerance(const RecurrentCase& c, Precision precision) {
  if (c.spec.cell == Cell::kRelu && precision != Precision::kFloat32) return 5e-2;
  return tolerance_of(precision);
}

// The first pass runs step by step, the second captures, the third replays: all the same bits.
// A fourth adds to the gradients.
void layer(Harness& h, const RecurrentCase& c, Precision precision) {
  const char* names[] = {"float32", "tf32", "bf16"};
  const std::string name = "recurrent_" + c.name + "_" + names[static_cast<int>(precision)];
  if (!h.wanted(name)) return;
  const std::uint64_t seed = c.spec.cell == Cell::kRelu ? 1 : h.seed();
  const double tolerance = layer_tolerance(c, precision);
  Problem f(c, seed);
  settle(f, precision == Precision::kBf16);
  const RecurrentProblem<double> d = reference(c, f, seed);
  OnGpu gpu(h, f, precision);
  h.check(name, tolerance, [&] {
    gpu.pass(false);
    return gpu.outputs(d);
  });
  RecurrentProblem<double> twice = d;
  for (Tensor<double>* t : {&twice.g_ih, &twice.g_hh, &twice.gb_ih, &twice.gb_hh})
    for (Dim i = 0; i < t->count(); ++i) (*t)[i] *= 2;
  h.check(name + "_added", tolerance, [&] {
    gpu.pass(false);
    gpu.pass(true);
    return gpu.outputs(twice);
  });
}

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

void check_recurrent(Harness& h) {
  std::vector<RecurrentCase> all = cases::pass_cases();
  if (!h.small())
    for (const Cell cell : {Cell::kLstm, Cell::kGru})
      all.push_back({cases::cell_name(cell) + "_large", {cell, 512, 512, false}, {6, 64}});
  for (const RecurrentCase& c : all) {
    if (c.spec.projection > 0) continue;   // on the CPU only
    for (const Precision p : {Precision::kFloat32, Precision::kTf32, Precision::kBf16})
      if (!h.small() || p != Precision::kTf32) h.attempt(c.name, [&] { layer(h, c, p); });
  }
}

void check_scans(Harness& h) {
  for (const cases::MinCase& c : cases::min_cases(false))
    h.attempt(c.name, [&] { min_layer(h, c); });
  for (const Dim steps : {Dim{1}, Dim{64}, Dim{1000}}) linear_scan(h, steps, 33);
}

}  // namespace rondo::ops::gpu_check
