#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <rondo/ops/bidirectional.h>
#include <rondo/ops/executor.h>
#include <rondo/ops/layer_norm.h>
#include <rondo/ops/min_recurrent.h>
#include <rondo/ops/random.h>
#include <rondo/ops/recurrent.h>
#include <rondo/ops/scan.h>

// The one list of cases: gradient checks, parity of float and double, equal bits and the benchmark
// run from it. Small shapes are chosen to leave a rest everywhere: hidden units that do not fill a
// panel, rows that do not fill a block, more than one chunk of rows.

namespace rondo::ops::cases {

struct RecurrentCase {
  std::string name;
  RecurrentSpec spec;
  SequenceShape shape;
  std::vector<Dim> lengths;   // of each sequence; empty: shape.steps for all

  [[nodiscard]] Lengths packed() const {
    return lengths.empty() ? Lengths::all_equal(shape.steps, shape.batch) : Lengths(lengths);
  }
};

inline std::string cell_name(Cell cell) {
  const char* names[] = {"tanh", "sigmoid", "relu", "lstm", "gru"};
  return names[static_cast<int>(cell)];
}

inline constexpr Cell kCells[] = {Cell::kTanh, Cell::kSigmoid, Cell::kRelu, Cell::kLstm,
                                  Cell::kGru};

// For finite differences: every parameter is moved twice.
inline std::vector<RecurrentCase> gradient_cases() {
  std::vector<RecurrentCase> all;
  for (const Cell cell : kCells) {
    all.push_back({cell_name(cell) + "_dense", {cell, 5, 7, false}, {4, 3}});
    all.push_back({cell_name(cell) + "_ids", {cell, 6, 18, true}, {3, 2}});
    all.push_back({cell_name(cell) + "_single", {cell, 1, 3, false}, {2, 1}});
    all.push_back({cell_name(cell) + "_lengths", {cell, 3, 5, false}, {4, 4}, {2, 4, 1, 4}});
    all.push_back({cell_name(cell) + "_lengths_ids", {cell, 4, 5, true}, {3, 3}, {1, 3, 2}});
  }
  all.push_back({"lstm_projected", {Cell::kLstm, 5, 18, false, 4}, {3, 2}});
  all.push_back({"lstm_projected_ids", {Cell::kLstm, 6, 7, true, 3}, {3, 2}});
  all.push_back({"lstm_projected_lengths", {Cell::kLstm, 3, 5, false, 2}, {3, 3}, {3, 1, 2}});
  return all;
}

// For comparisons of whole passes.
inline std::vector<RecurrentCase> pass_cases() {
  std::vector<RecurrentCase> all;
  for (const Cell cell : kCells) {
    all.push_back({cell_name(cell) + "_narrow", {cell, 3, 20, false}, {19, 15}});
    all.push_back({cell_name(cell) + "_full", {cell, 64, 64, false}, {8, 64}});
    all.push_back({cell_name(cell) + "_ragged", {cell, 100, 130, false}, {7, 13}});
    all.push_back({cell_name(cell) + "_ids", {cell, 65, 128, true}, {12, 50}});
    all.push_back({cell_name(cell) + "_one", {cell, 17, 33, false}, {1, 1}});
    all.push_back({cell_name(cell) + "_lengths", {cell, 70, 40, false}, {40, 9},
                   {7, 40, 13, 40, 1, 13, 39, 22, 13}});
  }
  all.push_back({"lstm_projected", {Cell::kLstm, 100, 130, false, 70}, {7, 13}});
  all.push_back({"lstm_projected_lengths", {Cell::kLstm, 30, 80, false, 20}, {9, 4}, {9, 2, 9, 5}});
  return all;
}

// For the benchmark: REFERENCES' table. Input as wide as the state, two layers.
inline std::vector<RecurrentCase> bench_cases() {
  std::vector<RecurrentCase> all;
  for (const Cell cell : {Cell::kLstm, Cell::kGru, Cell::kTanh}) {
    all.push_back({cell_name(cell) + "_h128_n50", {cell, 128, 128, false}, {50, 50}});
    all.push_back({cell_name(cell) + "_h256_n32", {cell, 256, 256, false}, {64, 32}});
    all.push_back({cell_name(cell) + "_h512_n64", {cell, 512, 512, false}, {64, 64}});
    all.push_back({cell_name(cell) + "_h1024_n64", {cell, 1024, 1024, false}, {64, 64}});
  }
  return all;
}

// For ops that work row by row: the small ones for finite differences, all for whole passes.
struct RowCase {
  std::string name;
  Dim rows, features;
};

inline std::vector<RowCase> small_row_cases() {
  return {{"one", 1, 1}, {"narrow", 5, 7}, {"vector", 3, 16}, {"ragged", 67, 21}};
}

inline std::vector<RowCase> row_cases() {
  std::vector<RowCase> all = small_row_cases();
  all.insert(all.end(), {{"wide", 200, 512}, {"odd", 130, 333}});
  return all;
}

template <class T>
void draw(Tensor<T>& to, Shape shape, double bound, std::uint64_t seed, std::uint32_t number) {
  to = Tensor<T>(shape);
  fill_uniform<T>({seed, 0, 0, number}, -bound, bound, to);
}

// A layer norm with everything around it.
template <class T>
struct RowProblem {
  explicit RowProblem(const RowCase& c, std::uint64_t seed = 1)
      : rows(c.rows), features(c.features) {
    draw(x, {rows, features}, 2, seed, 0);
    draw(weight, {features}, 1, seed, 1);
    draw(bias, {features}, 1, seed, 2);
    draw(dy, {rows, features}, 1, seed, 3);
    for (auto* t : {&y, &dx}) *t = Tensor<T>(x.shape());
    for (auto* t : {&dweight, &dbias}) *t = Tensor<T>(weight.shape());
    for (auto* t : {&mean, &inverse}) *t = Tensor<T>({rows});
  }
  void layer_norm(const Executor& executor, GradientMode mode = GradientMode::kWrite) {
    layer_norm_forward<T>(executor, {weight, bias}, kLayerNormEpsilon, x, y, {mean, inverse});
    layer_norm_backward<T>(executor, {.params = {weight, bias}, .rows = {mean, inverse}, .x = x,
                                      .dy = dy, .dx = dx, .grads = {dweight, dbias}, .mode = mode},
                           scratch);
  }
  [[nodiscard]] std::vector<const Tensor<T>*> results() const {
    return {&y, &dx, &dweight, &dbias};
  }

  Dim rows, features;
  Tensor<T> x, weight, bias, dy, y, dx, dweight, dbias, mean, inverse, scratch;
};

// A layer with everything around it, drawn from the case's name and a seed: the same in float and
// double.
template <class T>
struct RecurrentProblem {
  explicit RecurrentProblem(const RecurrentCase& c, std::uint64_t seed = 1)
      : spec(c.spec), shape(c.shape), lengths(c.packed()) {
    const Dim rows = gate_count(spec.cell) * spec.hidden, all = lengths.rows();
    const Dim state = spec.state();
    const double bound = spec.hidden > 200 ? 0.05 : 0.4;
    draw(w_ih, {rows, spec.inputs}, bound, seed, 0);
    draw(w_hh, {rows, state}, bound, seed, 1);
    draw(b_ih, {rows}, bound, seed, 2);
    draw(b_hh, {rows}, bound, seed, 3);
    if (!spec.ids) draw(x, {all, spec.inputs}, 1, seed, 4);
    draw(h0, {shape.batch, state}, 1, seed, 5);
    draw(c0, {shape.batch, spec.hidden}, 1, seed, 6);
    draw(dy, {all, state}, 1, seed, 7);
    draw(dh_last, {shape.batch, state}, 1, seed, 8);
    draw(dc_last, {shape.batch, spec.hidden}, 1, seed, 9);
    if (spec.projection > 0) draw(w_hr, {state, spec.hidden}, bound, seed, 11);
    if (spec.ids) {
      ids = Tensor<std::int32_t>({all});
      for (Dim i = 0; i < all; ++i)
        ids[i] = static_cast<std::int32_t>(
            random_bits({seed, 0, 0, 10}, static_cast<std::uint64_t>(i)) %
            static_cast<std::uint32_t>(spec.inputs));
    } else {
      dx = Tensor<T>(x.shape());
    }
    for (auto* t : {&h_last, &dh_first}) *t = Tensor<T>(h0.shape());
    for (auto* t : {&c_last, &dc_first}) *t = Tensor<T>(c0.shape());
    g_hr = Tensor<T>(w_hr.shape());
    g_ih = Tensor<T>(w_ih.shape()), g_hh = Tensor<T>(w_hh.shape());
    gb_ih = Tensor<T>(b_ih.shape()), gb_hh = Tensor<T>(b_hh.shape());
  }

  [[nodiscard]] RecurrentParams<const T> weights() const {
    return {w_ih.view(), w_hh.view(), b_ih.view(), b_hh.view(), w_hr.view()};
  }
  [[nodiscard]] RecurrentInput<T> input() const { return {x.view(), ids.view()}; }
  [[nodiscard]] bool lstm() const { return spec.cell == Cell::kLstm; }

  void forward(RecurrentLayer<T>& layer, RecurrentActivations<T>& a) {
    const View<const T> none;
    layer.forward(input(), {h0, lstm() ? View<const T>(c0) : none}, a,
                  {h_last, lstm() ? c_last.view() : View<T>()});
  }
  void backward(RecurrentLayer<T>& layer, RecurrentActivations<T>& a,
                GradientMode mode = GradientMode::kWrite) {
    layer.backward({.x = input(), .dy = dy,
                    .dlast = {dh_last, lstm() ? View<const T>(dc_last) : View<const T>()},
                    .dx = dx, .dfirst = {dh_first, lstm() ? dc_first.view() : View<T>()},
                    .grads = {g_ih, g_hh, gb_ih, gb_hh, g_hr}, .mode = mode},
                   a);
  }
  void run(const Executor& executor) {
    RecurrentLayer<T> layer(spec, executor);
    RecurrentActivations<T> a(spec, lengths);
    layer.pack(weights());
    forward(layer, a);
    y = Tensor<T>(dy.shape());
    std::copy_n(a.y().data(), y.count(), y.data());
    backward(layer, a);
  }

  // Everything that a pass writes, with a name.
  std::vector<std::pair<const char*, Tensor<T>*>> results() {
    std::vector<std::pair<const char*, Tensor<T>*>> all = {
        {"y", &y}, {"h_last", &h_last}, {"dh_first", &dh_first}, {"w_ih", &g_ih},
        {"w_hh", &g_hh}, {"b_ih", &gb_ih}, {"b_hh", &gb_hh}};
    if (lstm()) all.insert(all.end(), {{"c_last", &c_last}, {"dc_first", &dc_first}});
    if (!spec.ids) all.push_back({"dx", &dx});
    if (spec.projection > 0) all.push_back({"w_hr", &g_hr});
    return all;
  }

  RecurrentSpec spec;
  SequenceShape shape;
  Lengths lengths;
  Tensor<T> w_ih, w_hh, b_ih, b_hh, w_hr, x, h0, c0, dy, dh_last, dc_last;
  Tensor<std::int32_t> ids;
  Tensor<T> y, h_last, c_last, dx, dh_first, dc_first, g_ih, g_hh, gb_ih, gb_hh, g_hr;
};

// Both directions: weights and states from two problems, x from the first, dy of its own.
template <class T>
struct BidirectionalProblem {
  explicit BidirectionalProblem(const RecurrentCase& c)
      : ways{RecurrentProblem<T>(c, 1), RecurrentProblem<T>(c, 2)} {
    draw(dy, {rows(), 2 * c.spec.state()}, 1, 3, 7);
    y = Tensor<T>(dy.shape());
  }
  [[nodiscard]] Dim rows() const { return ways[0].lengths.rows(); }

  void forward(BidirectionalLayer<T>& layer, BidirectionalActivations<T>& a) {
    layer.pack({ways[0].weights(), ways[1].weights()});
    layer.forward(ways[0].input(), {first(0), first(1)}, a, {last(0), last(1)});
    std::copy_n(a.y().data(), y.count(), y.data());
  }
  void run(const Executor& executor) {
    BidirectionalLayer<T> layer(ways[0].spec, executor);
    BidirectionalActivations<T> a(ways[0].spec, ways[0].lengths);
    forward(layer, a);
    layer.backward({.x = ways[0].input(), .dy = dy, .dlast = {dlast(0), dlast(1)},
                    .dx = ways[0].dx, .dfirst = {dfirst(0), dfirst(1)},
                    .grads = {grads(0), grads(1)}},
                   a);
  }
  std::vector<std::pair<std::string, Tensor<T>*>> results() {
    std::vector<std::pair<std::string, Tensor<T>*>> all = {{"y", &y}};
    for (int w = 0; w < 2; ++w) {
      for (const auto& [name, tensor] : ways[w].results())
        if (std::string(name) != "y" && !(w == 1 && std::string(name) == "dx"))
          all.push_back({name + std::string(w == 1 ? "_reverse" : ""), tensor});
    }
    return all;
  }

  RecurrentState<const T> first(int w) { return {ways[w].h0, c_of(w, ways[w].c0)}; }
  RecurrentState<T> last(int w) { return {ways[w].h_last, c_of(w, ways[w].c_last)}; }
  RecurrentState<const T> dlast(int w) { return {ways[w].dh_last, c_of(w, ways[w].dc_last)}; }
  RecurrentState<T> dfirst(int w) { return {ways[w].dh_first, c_of(w, ways[w].dc_first)}; }
  RecurrentParams<T> grads(int w) {
    auto& p = ways[w];
    return {p.g_ih, p.g_hh, p.gb_ih, p.gb_hh, p.g_hr};
  }
  View<T> c_of(int w, Tensor<T>& c) { return ways[w].lstm() ? c.view() : View<T>(); }

  RecurrentProblem<T> ways[2];
  Tensor<T> dy, y;
};

// minGRU and minLSTM; the long ones cross blocks of the scan, with fewer units than a strip.
struct MinCase {
  std::string name;
  MinSpec spec;
  SequenceShape shape;
};

inline std::vector<MinCase> min_cases(bool small) {
  std::vector<MinCase> all;
  for (const MinCell cell : {MinCell::kMinGru, MinCell::kMinLstm}) {
    const std::string name = cell == MinCell::kMinGru ? "min_gru" : "min_lstm";
    all.push_back({name + "_narrow", {cell, 3, 5}, {4, 2}});
    all.push_back({name + "_vector", {cell, 2, 18}, {3, 1}});
    all.push_back({name + "_blocks", {cell, 1, 2}, {2 * kScanBlock + 3, 1}});
    if (small) continue;
    all.push_back({name + "_wide", {cell, 64, 300}, {kScanBlock + 1, 3}});
    all.push_back({name + "_long", {cell, 20, 33}, {1500, 1}});
  }
  return all;
}

template <class T>
struct MinProblem {
  explicit MinProblem(const MinCase& c, std::uint64_t seed = 1) : spec(c.spec), shape(c.shape) {
    const Dim rows = gate_count(spec.cell) * spec.hidden;
    draw(weight, {rows, spec.inputs}, 1, seed, 0);
    draw(bias, {rows}, 1, seed, 1);
    draw(x, {shape.steps, shape.batch, spec.inputs}, 1, seed, 2);
    draw(first, {shape.batch, spec.hidden}, 1, seed, 3);
    draw(dy, {shape.steps, shape.batch, spec.hidden}, 1, seed, 4);
    draw(dlast, {shape.batch, spec.hidden}, 1, seed, 5);
    for (auto* t : {&last, &dfirst}) *t = Tensor<T>(first.shape());
    y = Tensor<T>(dy.shape()), dx = Tensor<T>(x.shape());
    dweight = Tensor<T>(weight.shape()), dbias = Tensor<T>(bias.shape());
  }
  void forward(MinLayer<T>& layer, MinActivations<T>& a) {
    layer.pack({weight, bias});
    layer.forward(x, first, a, last);
    std::copy_n(a.y().data(), y.count(), y.data());
  }
  void run(const Executor& executor) {
    MinLayer<T> layer(spec, executor);
    MinActivations<T> a(spec, shape);
    forward(layer, a);
    layer.backward({.x = x, .dy = dy, .dlast = dlast, .dx = dx, .dfirst = dfirst,
                    .grads = {dweight, dbias}},
                   a);
  }
  [[nodiscard]] std::vector<const Tensor<T>*> results() const {
    return {&y, &last, &dx, &dfirst, &dweight, &dbias};
  }

  MinSpec spec;
  SequenceShape shape;
  Tensor<T> weight, bias, x, first, dy, dlast, y, last, dx, dfirst, dweight, dbias;
};

}  // namespace rondo::ops::cases
