// Every op but the recurrent layers: those that live on memory bandwidth, products, and the
// recurrent layers that need no loop.
//
//   ops_stream_bench [--threads 1,2] [--rounds 7] [--cpu-time] [--json]
//
// Part 1: GB/s that an op reads and writes (as computed on paper), the roof (c = a + b over three
// large arrays, in the same run with as many threads), and their ratio; GFLOP/s for products.
// Part 2: a min layer over T = 4096 against its own loop, one step a call. Medians over rounds.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include <rondo/ops/dropout.h>
#include <rondo/ops/elementwise.h>
#include <rondo/ops/embedding.h>
#include <rondo/ops/finite.h>
#include <rondo/ops/linear.h>
#include <rondo/ops/loss.h>
#include <rondo/ops/numeric_profile.h>
#include <rondo/ops/optimizer.h>
#include <rondo/ops/scan.h>

#include "../../tests/ops/cases.h"

namespace rondo::ops {
namespace {

bool cpu_time = false, json = false;
int rounds = 7;

double now() {
  if (cpu_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double seconds(const std::function<void()>& body) {
  body();
  std::vector<double> times;
  for (int round = 0; round < rounds; ++round) {
    const double start = now();
    body();
    times.push_back(now() - start);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

Tensor<float> drawn(Shape shape, std::uint32_t number, double low = -1) {
  Tensor<float> t(shape);
  const double high = 1;
  fill_uniform<float>({1, 0, 0, number}, low, high, t);
  return t;
}

struct Line {
  const char* name;
  double bytes_an_element;   // of [kRows, kWidth]; 0: a product
  double flops;
  std::function<void()> body;
};

constexpr Dim kRows = 4096, kWidth = 2048, kCount = kRows * kWidth;   // 32 MiB a tensor
constexpr Dim kInputs = 512, kOutputs = 512;                           // of the products

void print_line(const Line& line, int threads, double best) {
  const double time = seconds(line.body);
  const double bytes = line.bytes_an_element * static_cast<double>(kCount);
  if (json) {
    std::printf("{\"case\":\"%s\",\"threads\":%d,\"seconds\":%.6f,\"bytes\":%.0f,"
                "\"flops\":%.0f,\"roof_bytes_a_second\":%.0f}\n",
                line.name, threads, time, bytes, line.flops, best);
  } else if (bytes > 0) {
    std::printf("%-22s %d threads  %6.1f GB/s of %6.1f  ratio %.2f\n", line.name, threads,
                bytes / time * 1e-9, best * 1e-9, bytes / time / best);
  } else {
    std::printf("%-22s %d threads  %6.1f GFLOP/s\n", line.name, threads, line.flops / time * 1e-9);
  }
  std::fflush(stdout);
}

void run_streams(int threads) {
  const Executor executor(threads);
  const Shape shape{kRows, kWidth};
  const Tensor<float> x = drawn(shape, 0), a = drawn(shape, 1, 0), dy = drawn(shape, 2);
  Tensor<float> y(shape), d(shape), h({kRows + 1, kWidth}), carry({kWidth});
  const Tensor<float> weight = drawn({kWidth}, 3), bias = drawn({kWidth}, 4);
  Tensor<float> mean({kRows}), inverse({kRows}), dw({kWidth}), db({kWidth}), scratch;
  Tensor<std::int32_t> ids({kRows});
  for (Dim i = 0; i < kRows; ++i) ids[i] = static_cast<std::int32_t>(i * 31 % kWidth);
  const double best =
      12.0 * static_cast<double>(kCount) / seconds([&] { add<float>(executor, x, a, y); });
  if (!json) std::printf("roof, %d threads: %.1f GB/s\n", threads, best * 1e-9);

  const auto optimizer = [&](Optimizer rule) {
    optimizer_step<float>(executor, {.rule = rule, .step = 5},
                          {x, dy, a, a, y, d, {h.data(), shape}});
  };
  const View<float> table(h.data(), {kWidth, kWidth});
  const Line lines[] = {
      {"linear_scan", 12, 0,
       [&] { linear_scan_forward<float>(executor, a, x, h, scratch); }},
      {"linear_scan_backward", 20, 0,
       [&] {
         carry.fill(0);
         linear_scan_backward<float>(executor, {a, h, dy, y, d, carry}, scratch);
       }},
      {"layer_norm", 8, 0,
       [&] {
         layer_norm_forward<float>(executor, {weight, bias}, 1e-5, x, y, {mean, inverse});
       }},
      {"layer_norm_backward", 12, 0,
       [&] {
         layer_norm_backward<float>(executor,
                                    {.params = {weight, bias}, .rows = {mean, inverse}, .x = x,
                                     .dy = dy, .dx = d, .grads = {dw, db}},
                                    scratch);
       }},
      {"dropout", 8, 0,
       [&] { dropout<float>(executor, {.probability = 0.3, .key = {1, 2, 3, 4}}, x, y); }},
      {"not_finite", 4, 0, [&] { (void)not_finite<float>(executor, "x", x); }},
      {"squared_norm", 4, 0, [&] { (void)squared_norm<float>(executor, x); }},
      {"cross_entropy", 8, 0,
       [&] { (void)softmax_cross_entropy<float>(executor, x, ids, 1e-3, mean, d); }},
      {"squared_error", 12, 0, [&] { (void)squared_error<float>(executor, x, a, 1e-3, d); }},
      {"embedding", 8, 0, [&] { embedding_forward<float>(executor, table, ids, y); }},
      {"embedding_backward", 8, 0, [&] { embedding_backward<float>(executor, dy, ids, table); }},
      {"sgd", 12, 0, [&] { optimizer(Optimizer::kSgd); }},
      {"rmsprop", 20, 0, [&] { optimizer(Optimizer::kRmsprop); }},
      {"adam", 28, 0, [&] { optimizer(Optimizer::kAdam); }},
  };
  for (const Line& line : lines) print_line(line, threads, best);
}

void run_products(int threads) {
  const Executor executor(threads);
  const Tensor<float> x = drawn({kRows, kInputs}, 0), dy = drawn({kRows, kOutputs}, 1);
  const Tensor<float> weight = drawn({kOutputs, kInputs}, 2), bias = drawn({kOutputs}, 3);
  Tensor<float> y({kRows, kOutputs}), dx({kRows, kInputs}), dw({kOutputs, kInputs}), db({kOutputs});
  LinearLayer<float> layer(kInputs, kOutputs, executor);
  layer.pack({weight, bias});
  const double flops = 2.0 * static_cast<double>(kRows * kInputs * kOutputs);
  print_line({"linear", 0, flops, [&] { layer.forward(x, y); }}, threads, 0);
  print_line({"linear_backward", 0, 2 * flops, [&] { layer.backward(x, dy, dx, {dw, db}); }},
             threads, 0);
}

// The layer one time step a call: what a scan spares.
struct Loop {
  Loop(const cases::MinCase& c, const Executor& executor) : p(c), layer(c.spec, executor) {
    for (Dim t = 0; t < c.shape.steps; ++t) steps.emplace_back(c.spec, SequenceShape{1, batch()});
    h = p.first;
    carry = p.dlast;
    layer.pack({p.weight, p.bias});
  }
  [[nodiscard]] Dim batch() const { return p.shape.batch; }
  [[nodiscard]] View<const float> at(const Tensor<float>& t, Dim step) const {
    const Dim width = t.count() / p.shape.steps;
    return {t.data() + step * width, {width}};
  }
  void forward() {
    for (Dim t = 0; t < p.shape.steps; ++t) layer.forward(at(p.x, t), h, steps[index(t)], h);
  }
  void backward() {
    const Dim width = batch() * p.spec.inputs;
    for (Dim t = p.shape.steps - 1; t >= 0; --t)
      layer.backward({.x = at(p.x, t), .dy = at(p.dy, t), .dlast = carry,
                      .dx = {p.dx.data() + t * width, {width}}, .dfirst = carry,
                      .grads = {p.dweight, p.dbias}, .mode = GradientMode::kAdd},
                     steps[index(t)]);
  }
  static std::size_t index(Dim t) { return static_cast<std::size_t>(t); }

  cases::MinProblem<float> p;
  MinLayer<float> layer;
  std::vector<MinActivations<float>> steps;
  Tensor<float> h, carry;
};

void run_layer(const char* name, const cases::MinCase& c, int threads) {
  const Executor executor(threads);
  cases::MinProblem<float> p(c);
  MinLayer<float> layer(c.spec, executor);
  MinActivations<float> a(c.spec, c.shape);
  layer.pack({p.weight, p.bias});
  const auto forward = [&] { layer.forward(p.x, p.first, a, p.last); };
  const auto both = [&] {
    forward();
    layer.backward({.x = p.x, .dy = p.dy, .dlast = p.dlast, .dx = p.dx, .dfirst = p.dfirst,
                    .grads = {p.dweight, p.dbias}},
                   a);
  };
  Loop loop(c, executor);
  const double scan_forward = seconds(forward), scan_both = seconds(both);
  const double loop_forward = seconds([&] { loop.forward(); });
  const double loop_both = seconds([&] {
    loop.forward();
    loop.backward();
  });
  if (json) {
    std::printf("{\"case\":\"%s\",\"threads\":%d,\"seconds\":%.6f,\"loop_seconds\":%.6f}\n", name,
                threads, scan_both, loop_both);
    std::printf("{\"case\":\"%s_forward\",\"threads\":%d,\"seconds\":%.6f,"
                "\"loop_seconds\":%.6f}\n",
                name, threads, scan_forward, loop_forward);
    std::fflush(stdout);
    return;
  }
  std::printf("%-24s %d threads  forward %7.2f ms, loop %8.2f ms: %5.1fx   with backward %7.2f ms,"
              " loop %8.2f ms: %5.1fx\n",
              name, threads, scan_forward * 1e3, loop_forward * 1e3, loop_forward / scan_forward,
              scan_both * 1e3, loop_both * 1e3, loop_both / scan_both);
  std::fflush(stdout);
}

void run(int threads) {
  run_streams(threads);
  run_products(threads);
  const SequenceShape one{4096, 1}, eight{4096, 8};
  run_layer("min_gru_h256_n1_t4096", {"", {MinCell::kMinGru, 256, 256}, one}, threads);
  run_layer("min_gru_h256_n8_t4096", {"", {MinCell::kMinGru, 256, 256}, eight}, threads);
  run_layer("min_lstm_h256_n1_t4096", {"", {MinCell::kMinLstm, 256, 256}, one}, threads);
}

}  // namespace
}  // namespace rondo::ops

int main(int argc, char** argv) {
  std::vector<int> threads = {1, 2};
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--cpu-time") {
      rondo::ops::cpu_time = true;
    } else if (flag == "--json") {
      rondo::ops::json = true;
    } else if (i + 1 < argc && flag == "--rounds") {
      rondo::ops::rounds = std::atoi(argv[++i]);
    } else if (i + 1 < argc && flag == "--threads") {
      threads.clear();
      for (const char* p = argv[++i]; p != nullptr && *p != 0;) {
        threads.push_back(std::atoi(p));
        p = std::strchr(p, ',');
        if (p != nullptr) ++p;
      }
    } else {
      std::fprintf(stderr, "usage: ops_stream_bench [--threads 1,2] [--rounds N] [--cpu-time]"
                   " [--json]\n");
      return 2;
    }
  }
  if (!rondo::ops::json) std::printf("%s\n", rondo::ops::kernel_summary().c_str());
  for (const int n : threads) rondo::ops::run(n);
  return 0;
}
