#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

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
void settle(Problem& f) {
  const double old = f.spec.hidden > 200 ? 0.05 : 0.4;
  const float factor = static_cast<float>(1 / std::sqrt(static_cast<double>(f.spec.hidden)) / old);
  for (Tensor<float>* t : {&f.w_ih, &f.w_hh, &f.b_ih, &f.b_hh, &f.w_hr})
    for (Dim i = 0; i < t->count(); ++i) (*t)[i] *= factor;
}

void round_all(Problem& f) {
  for (Tensor<float>* t : {&f.w_ih, &f.w_hh, &f.b_ih, &f.b_hh, &f.w_hr, &f.x, &f.h0})
    round_to_bf16(*t);
}

// relu's slope jumps at 0: a sum that rounding carries across takes a whole gradient with it,
// whatever the precision. So its sums are kept away from 0: by a bias per unit, of either sign,
// that nothing else outweighs; half of the units are always on.
void keep_off_zero(Problem& f) {
  for (Dim u = 0; u < f.spec.hidden; ++u) f.b_ih[u] = f.b_hh[u] = u % 2 == 0 ? 2.0F : -2.0F;
  for (Dim i = 0; i < f.w_hh.count(); ++i) f.w_hh[i] /= 3;
}

// How near any sum of a relu layer comes to 0.
double margin(const RecurrentProblem<double>& d) {
  const Dim hidden = d.spec.hidden, inputs = d.spec.inputs;
  double nearest = HUGE_VAL;
  for (Dim t = 0; t < d.lengths.steps(); ++t) {
    for (Dim k = 0; k < d.lengths.count(t); ++k) {
      const Dim row = d.lengths.at(t) + k;
      const double* before = t == 0 ? d.h0.data() + d.lengths.sequence(k) * hidden
                                    : d.y.data() + (d.lengths.at(t - 1) + k) * hidden;
      for (Dim u = 0; u < hidden; ++u) {
        double sum = d.b_ih[u] + d.b_hh[u];
        if (d.spec.ids) sum += d.w_ih[u * inputs + d.ids[row]];
        for (Dim i = 0; !d.spec.ids && i < inputs; ++i)
          sum += d.w_ih[u * inputs + i] * d.x[row * inputs + i];
        for (Dim i = 0; i < hidden; ++i) sum += d.w_hh[u * hidden + i] * before[i];
        nearest = std::min(nearest, std::abs(sum));
      }
    }
  }
  return nearest;
}

RecurrentProblem<double> widen(const RecurrentCase& c, const Problem& f, std::uint64_t seed) {
  RecurrentProblem<double> d(c, seed);
  d.w_ih = widened(f.w_ih), d.w_hh = widened(f.w_hh), d.b_ih = widened(f.b_ih);
  d.b_hh = widened(f.b_hh), d.w_hr = widened(f.w_hr), d.h0 = widened(f.h0);
  d.c0 = widened(f.c0), d.dy = widened(f.dy);
  if (!d.spec.ids) d.x = widened(f.x);
  d.dh_last = widened(f.dh_last), d.dc_last = widened(f.dc_last);
  d.ids = f.ids;
  return d;
}

RecurrentProblem<double> reference(const RecurrentCase& c, const Problem& f, std::uint64_t seed) {
  RecurrentProblem<double> d = widen(c, f, seed);
  d.run(one);
  return d;
}

// How a layer runs: backwards in time; which recurrence, on how many processors; in parts of so
// many steps (0: all at once).
struct Way {
  bool reverse = false;
  cuda::Recurrence recurrence = cuda::Recurrence::kChosen;
  std::int32_t processors = 0;
  Dim part = 0;
};

// A layer on the GPU with everything around it.
class OnGpu {
 public:
  OnGpu(Harness& h, const Problem& f, Precision precision, const Way& way = {})
      : h_(h), f_(f), part_(way.part > 0 ? way.part : f.lengths.steps()),
        w_ih(h.gpu(), f.w_ih), w_hh(h.gpu(), f.w_hh), b_ih(h.gpu(), f.b_ih),
        b_hh(h.gpu(), f.b_hh), w_hr(h.gpu(), f.w_hr), x(h.gpu(), f.x),
        ids(h.gpu(), f.ids), h0(h.gpu(), f.h0),
        c0(h.gpu(), f.c0), dy(h.gpu(), f.dy), dh(h.gpu(), f.dh_last), dc(h.gpu(), f.dc_last),
        h_last(h.gpu(), f.h0), c_last(h.gpu(), f.c0), dx(h.gpu(), f.x), dh0(h.gpu(), f.h0),
        dc0(h.gpu(), f.c0), g_ih(h.gpu(), f.w_ih), g_hh(h.gpu(), f.w_hh), gb_ih(h.gpu(), f.b_ih),
        gb_hh(h.gpu(), f.b_hh), g_hr(h.gpu(), f.w_hr) {
    const cuda::LayerSpec spec{static_cast<std::int32_t>(f.spec.cell), f.spec.inputs,
                               f.spec.hidden, f.spec.ids, precision, f.spec.projection,
                               way.reverse ? 1 : 0, way.recurrence, way.processors};
    must(h.api().layer_open(h.context(), &spec, &layer_));
    const cuda::LayerWeights w{w_ih.f(), w_hh.f(), b_ih.f(), b_hh.f(), w_hr.f()};
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
    forward();
    Tensor<float> seen(f_.dy.shape());
    must(h_.api().copy_out(h_.context(), seen.data(), y,
                           static_cast<std::size_t>(seen.count()) * sizeof(float)));
    y_seen = seen;
    backward(add_to, dy.f());
  }

  void forward() {
    for (Buffer* b : {&h_last, &c_last}) b->poison();
    const bool dense = !f_.spec.ids;
    cuda::LayerForward run{dense ? x.f() : nullptr, dense ? nullptr : ids.i(), h0.f(),
                                 c0.f(), h_last.f(), c_last.f()};
    for (Dim t = 0; t < f_.lengths.steps(); t += part_) {
      run.first = t, run.last = std::min(t + part_, f_.lengths.steps());
      must(h_.api().layer_forward(layer_, activations_, &run));
    }
    must(h_.api().activations_y(activations_, &y));
  }

  void backward(bool add_to, const float* dy_of_all) {
    for (Buffer* b : {&dx, &dh0, &dc0}) b->poison();
    if (!add_to)
      for (Buffer* b : {&g_ih, &g_hh, &gb_ih, &gb_hh, &g_hr}) b->poison();
    const bool dense = !f_.spec.ids;
    cuda::LayerBackward run{dense ? x.f() : nullptr, dense ? nullptr : ids.i(), dy_of_all,
                                  dh.f(), dc.f(), dense ? dx.f() : nullptr, dh0.f(), dc0.f(),
                                  g_ih.f(), g_hh.f(), gb_ih.f(), gb_hh.f(), add_to, g_hr.f()};
    for (Dim t = f_.lengths.steps(); t > 0; t = run.first) {
      run.last = t, run.first = std::max<Dim>((t - 1) / part_ * part_, 0);
      must(h_.api().layer_backward(layer_, activations_, &run));
    }
  }

  std::vector<Output> outputs(const RecurrentProblem<double>& d) const {
    std::vector<Output> all = others(d);
    all.push_back({"y", y_seen, d.y});
    if (!f_.spec.ids) all.push_back({"dx", dx.get<float>(f_.x.shape()), d.dx});
    return all;
  }
  // All but y and dx.
  std::vector<Output> others(const RecurrentProblem<double>& d) const {
    std::vector<Output> all = {{"h_last", h_last.get<float>(f_.h0.shape()), d.h_last},
                               {"dh_first", dh0.get<float>(f_.h0.shape()), d.dh_first},
                               {"w_ih", g_ih.get<float>(f_.w_ih.shape()), d.g_ih},
                               {"w_hh", g_hh.get<float>(f_.w_hh.shape()), d.g_hh},
                               {"b_ih", gb_ih.get<float>(f_.b_ih.shape()), d.gb_ih},
                               {"b_hh", gb_hh.get<float>(f_.b_hh.shape()), d.gb_hh}};
    if (f_.spec.projection > 0)
      all.push_back({"w_hr", g_hr.get<float>(f_.w_hr.shape()), d.g_hr});
    if (f_.spec.cell == Cell::kLstm) {
      all.push_back({"c_last", c_last.get<float>(f_.c0.shape()), d.c_last});
      all.push_back({"dc_first", dc0.get<float>(f_.c0.shape()), d.dc_first});
    }
    return all;
  }
  [[nodiscard]] Output dx_output(const Tensor<double>& wanted) const {
    return {"dx", dx.get<float>(f_.x.shape()), wanted};
  }
  [[nodiscard]] const float* y_of_all() const { return y; }
  [[nodiscard]] float* dx_of_all() const { return dx.f(); }

 private:
  Harness& h_;
  const Problem& f_;
  const Dim part_;   // steps
  cuda::Layer* layer_ = nullptr;
  cuda::Activations* activations_ = nullptr;
  Buffer w_ih, w_hh, b_ih, b_hh, w_hr, x, ids, h0, c0, dy, dh, dc;
  Buffer h_last, c_last, dx, dh0, dc0, g_ih, g_hh, gb_ih, gb_hh, g_hr;
  const float* y = nullptr;
  Tensor<float> y_seen;
};

struct Drawn {
  Problem f;
  RecurrentProblem<double> d;
};

// float32's roundings are so small that no sum need come near 0: the first seed of which that is
// true. For the others the sums are kept away from it.
Drawn draw_relu(const RecurrentCase& c, Precision precision, std::uint64_t seed) {
  const bool exact = precision == Precision::kFloat32;
  const double wanted = exact ? 4e-6 : 0.1;
  for (std::uint64_t more = 0; more < 50; ++more) {
    Problem f(c, seed + more);
    settle(f);
    if (!exact) keep_off_zero(f);
    if (precision == Precision::kBf16) round_all(f);
    RecurrentProblem<double> d = reference(c, f, seed + more);
    if (margin(d) > wanted) return {std::move(f), std::move(d)};
  }
  throw std::runtime_error("no seed keeps the sums of " + c.name + " away from 0");
}

Drawn draw_layer(const RecurrentCase& c, Precision precision, std::uint64_t seed) {
  if (c.spec.cell == Cell::kRelu) return draw_relu(c, precision, seed);
  Problem f(c, seed);
  settle(f);
  if (precision == Precision::kBf16) round_all(f);
  RecurrentProblem<double> d = reference(c, f, seed);
  return {std::move(f), std::move(d)};
}

constexpr const char* kNames[] = {"float32", "tf32", "bf16"};

// Step by step, the first pass is launched, the second captured, the third replayed: all the same
// bits. A fourth adds to the gradients.
void layer(Harness& h, const RecurrentCase& c, Precision precision, const char* how,
           const Way& way) {
  const std::string name = "recurrent_" + c.name + "_" + kNames[static_cast<int>(precision)] + how;
  if (!h.wanted(name)) return;
  const double tolerance = tolerance_of(precision);
  const Drawn drawn = draw_layer(c, precision, h.seed());
  const auto& [f, d] = drawn;
  OnGpu gpu(h, f, precision, way);
  h.check(name, tolerance, [&] {
    gpu.pass(false);
    return gpu.outputs(d);
  });
  RecurrentProblem<double> twice = d;
  for (Tensor<double>* t : {&twice.g_ih, &twice.g_hh, &twice.g_hr, &twice.gb_ih, &twice.gb_hh})
    for (Dim i = 0; i < t->count(); ++i) (*t)[i] *= 2;
  h.check(name + "_added", tolerance, [&] {
    gpu.pass(false);
    gpu.pass(true);
    return gpu.outputs(twice);
  });
}

// Both recurrences; some cases also in parts, and on a share of the processors, where a group has
// more sequences than it takes at once.
void layer_each_way(Harness& h, const RecurrentCase& c, Precision p) {
  using cuda::Recurrence;
  layer(h, c, p, "", {});
  if (c.spec.projection == 0) layer(h, c, p, "_steps", {.recurrence = Recurrence::kSteps});
  if (h.small() && p != Precision::kBf16) return;
  for (const char* name :
       {"lstm_full", "gru_full", "lstm_lengths", "gru_lengths", "tanh_lengths"}) {
    if (c.name != name) continue;
    layer(h, c, p, "_parts", {.part = 3});
    layer(h, c, p, "_steps_parts", {.recurrence = Recurrence::kSteps, .part = 3});
    layer(h, c, p, "_share", {.recurrence = Recurrence::kPersistent, .processors = 4});
  }
}

// Layers whose weights fill registers and shared memory; 16 units a block; many lengths.
void persistent_layers(Harness& h) {
  const Way share{.recurrence = cuda::Recurrence::kPersistent, .processors = 2, .part = 4};
  const Way all{.recurrence = cuda::Recurrence::kPersistent};
  std::vector<Dim> lengths;
  for (Dim k = 0; k < 40; ++k) lengths.push_back(k * k % 9 + 1);
  for (const Cell cell : {Cell::kLstm, Cell::kGru}) {
    const std::string name = cases::cell_name(cell);
    const RecurrentCase many{name + "_many", {cell, 12, 40, false}, {9, 40}, lengths};
    h.attempt(many.name, [&] { layer(h, many, Precision::kBf16, "_slabs", share); });
    h.attempt(many.name, [&] { layer(h, many, Precision::kFloat32, "_slabs", share); });
    const RecurrentCase wide{name + "_wide", {cell, 5, 520, false}, {2, 4}};
    h.attempt(wide.name, [&] { layer(h, wide, Precision::kBf16, "_persistent", all); });
    const RecurrentCase wider{name + "_wider", {cell, 5, 648, false}, {2, 3}};
    h.attempt(wider.name, [&] { layer(h, wider, Precision::kTf32, "_persistent", all); });
  }
}

// Turning rows knows nothing of cells: one of each kind is enough.
bool turns(const RecurrentCase& c) {
  for (const char* name : {"tanh_ids", "lstm_ragged", "lstm_lengths", "lstm_projected_lengths",
                           "gru_lengths"})
    if (c.name == name) return true;
  return false;
}

// Both directions side by side: y and dy are [rows,2S], dx is the sum of the two.
class BothOnGpu {
 public:
  BothOnGpu(Harness& h, const Drawn (&ways)[2], const Tensor<float>& dy, Precision precision)
      : h_(h), f_(ways[0].f), forward_(h, ways[0].f, precision, way_of(h, false)),
        reverse_(h, ways[1].f, precision, way_of(h, true)), dy_(h.gpu(), dy), y_(h.gpu(), dy),
        half_{Buffer(h.gpu(), f_.dy), Buffer(h.gpu(), f_.dy)} {}

  std::vector<Output> run(const RecurrentProblem<double> (&d)[2], const Tensor<double>& y) {
    y_.poison();
    forward_.forward();
    reverse_.forward();
    const OnGpu* ways[] = {&forward_, &reverse_};
    const Dim state = f_.spec.state(), rows = f_.lengths.rows();
    for (int w = 0; w < 2; ++w) {
      const cuda::CopyColumns join{rows, state, ways[w]->y_of_all(), state, y_.f() + w * state,
                                   2 * state};
      const cuda::CopyColumns part{rows, state, dy_.f() + w * state, 2 * state, half_[w].f(),
                                   state};
      must(h_.api().copy_columns(h_.context(), &join));
      must(h_.api().copy_columns(h_.context(), &part));
    }
    forward_.backward(false, half_[0].f());
    reverse_.backward(false, half_[1].f());
    if (!f_.spec.ids)
      must(h_.api().add(h_.context(), forward_.dx_of_all(), reverse_.dx_of_all(), f_.x.count(),
                        forward_.dx_of_all()));
    std::vector<Output> all = forward_.others(d[0]);
    for (Output& o : reverse_.others(d[1])) {
      o.name += "_reverse";
      all.push_back(std::move(o));
    }
    all.push_back({"y", y_.get<float>(y.shape()), y});
    if (!f_.spec.ids) all.push_back(forward_.dx_output(d[0].dx));
    return all;
  }

 private:
  // Turning knows nothing of recurrences either: on an emulated device the quicker one.
  static Way way_of(const Harness& h, bool reverse) {
    return {.reverse = reverse, .recurrence = h.small() ? cuda::Recurrence::kSteps
                                                        : cuda::Recurrence::kChosen};
  }
  Harness& h_;
  const Problem& f_;
  OnGpu forward_, reverse_;
  Buffer dy_, y_, half_[2];
};

// The reference is the CPU's layer of both directions, on the float problem's numbers.
void both_ways(Harness& h, const RecurrentCase& c, Precision precision) {
  const std::string name = "bidirectional_" + c.name + "_" + kNames[static_cast<int>(precision)];
  if (!h.wanted(name)) return;
  Drawn ways[2] = {draw_layer(c, precision, h.seed()), draw_layer(c, precision, h.seed() + 1000)};
  ways[1].f.x = ways[0].f.x, ways[1].f.ids = ways[0].f.ids;
  cases::BidirectionalProblem<double> d(c);
  for (int w = 0; w < 2; ++w) d.ways[w] = widen(c, ways[w].f, h.seed());
  Tensor<float> dy;
  cases::draw(dy, d.dy.shape(), 1, h.seed(), 12);
  d.dy = widened(dy);
  d.run(one);
  BothOnGpu gpu(h, ways, dy, precision);
  h.check(name, tolerance_of(precision), [&] { return gpu.run(d.ways, d.y); });
}

}  // namespace

void check_recurrent(Harness& h) {
  std::vector<RecurrentCase> all = cases::pass_cases();
  if (!h.small())
    for (const Cell cell : {Cell::kLstm, Cell::kGru})
      all.push_back({cases::cell_name(cell) + "_large", {cell, 512, 512, false}, {6, 64}});
  for (const RecurrentCase& c : all) {
    for (const Precision p : {Precision::kFloat32, Precision::kTf32, Precision::kBf16}) {
      const bool shown = c.name == "lstm_ragged" || c.name == "gru_full";
      if (h.small() && p == Precision::kTf32 && !shown) continue;
      h.attempt(c.name, [&] { layer_each_way(h, c, p); });
      if (turns(c)) h.attempt(c.name, [&] { both_ways(h, c, p); });
    }
  }
  persistent_layers(h);
}

}  // namespace rondo::ops::gpu_check
