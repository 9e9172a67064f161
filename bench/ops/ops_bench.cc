// How fast the ops are, and how fast this machine could be.
//
//   ops_bench [--threads 1,2] [--case NAME] [--rounds 7] [--json] [--cpu-time]
//   ops_bench --roof [--threads 2]        only the roofs, as JSON
//
// Each line: a case of tests/ops/cases.h as two layers, forward + backward (weights packed anew,
// as in a training step), in GFLOP/s; the roof is the best large product measured in the same run
// with as many threads. The forward part alone is printed too. Median over rounds.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include <rondo/ops/gemm.h>
#include <rondo/ops/numeric_profile.h>

#include "../../tests/ops/cases.h"

#ifdef RONDO_BENCH_OPENBLAS
#include <cblas.h>
extern "C" void openblas_set_num_threads(int);
#endif

namespace rondo::ops {

bool cpu_time = false;

namespace {

using cases::RecurrentCase;
using cases::RecurrentProblem;

double now() {
  if (cpu_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// 2048³ through the seam: both matrices packed, in panels of 64 columns and blocks of 64 rows.
double seam_roof(const Executor& executor) {
  constexpr Dim n = 2048;
  Tensor<float> a({n, n}), b({n, n}), c({n, n});
  fill_uniform<float>({1, 0, 0, 0}, -1, 1, a);
  fill_uniform<float>({1, 0, 0, 1}, -1, 1, b);
  constexpr Dim depth = 256;
  const GemmKernel<float> kernel({64, depth, 64, depth, 64, false, true, false});
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const double start = now();
    executor.run(static_cast<int>(n / 64), [&](int part) {
      for (Dim k = 0; k < n; k += depth)
        for (Dim q = 0; q < n / 64; ++q)
          kernel(64, a.data() + q * 64 * n + k * 64, b.data() + part * 64 * n + k * 64,
                 c.data() + (part * (n / 64) + q) * 64 * 64);
    });
    best = std::max(best, 2.0 * n * n * n / (now() - start) * 1e-9);
  }
  return best;
}

double blas_roof([[maybe_unused]] int threads) {
#ifdef RONDO_BENCH_OPENBLAS
  constexpr int n = 2048;
  Tensor<float> a({n, n}), b({n, n}), c({n, n});
  fill_uniform<float>({1, 0, 0, 0}, -1, 1, a);
  fill_uniform<float>({1, 0, 0, 1}, -1, 1, b);
  openblas_set_num_threads(threads);
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    const double start = now();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, a.data(), n, b.data(), n, 0,
                c.data(), n);
    best = std::max(best, 2.0 * n * n * n / (now() - start) * 1e-9);
  }
  return best;
#else
  return 0;
#endif
}

// Two layers; the second reads the first one's output.
struct Stack {
  Stack(const RecurrentCase& c, const Executor& executor)
      : first(c), second(c), layer1(c.spec, executor), layer2(c.spec, executor),
        a1(c.spec, c.shape), a2(c.spec, c.shape) {}

  void forward() {
    layer1.pack(first.weights());
    layer2.pack(second.weights());
    first.forward(layer1, a1);
    layer2.forward({.dense = a1.y(), .ids = {}}, {}, a2, {});
  }
  void backward() {
    layer2.backward({.x = {.dense = a1.y(), .ids = {}}, .dy = second.dy, .dlast = {},
                     .dx = second.dx, .dfirst = {},
                     .grads = {second.g_ih, second.g_hh, second.gb_ih, second.gb_hh}},
                    a2);
    layer1.backward({.x = first.input(), .dy = second.dx, .dlast = {}, .dx = first.dx,
                     .dfirst = {}, .grads = {first.g_ih, first.g_hh, first.gb_ih, first.gb_hh}},
                    a1);
  }

  RecurrentProblem<float> first, second;
  RecurrentLayer<float> layer1, layer2;
  RecurrentActivations<float> a1, a2;
};

struct Options {
  std::vector<int> threads = {1, 2};
  std::string only;
  int rounds = 7;
  bool json = false, roof = false;
};

void run_case(const RecurrentCase& c, int threads, double roof, const Options& options) {
  const Executor executor(threads);
  Stack stack(c, executor);
  const double h = static_cast<double>(c.spec.hidden), i = static_cast<double>(c.spec.inputs);
  const double steps = static_cast<double>(c.shape.steps * c.shape.batch);
  const double forward_flops = 2.0 * 2.0 * gate_count(c.spec.cell) * h * (i + h) * steps;
  stack.forward();
  stack.backward();
  std::vector<double> whole, part;
  for (int round = 0; round < options.rounds; ++round) {
    const double start = now();
    stack.forward();
    const double middle = now();
    stack.backward();
    whole.push_back(now() - start);
    part.push_back(middle - start);
  }
  const double rate = 3 * forward_flops / median(whole) * 1e-9;
  const double forward_rate = forward_flops / median(part) * 1e-9;
  if (options.json) {
    const double best = *std::min_element(whole.begin(), whole.end());
    std::printf("{\"case\":\"%s\",\"threads\":%d,\"seconds\":%.6f,\"best\":%.6f,"
                "\"gflops\":%.1f}\n",
                c.name.c_str(), threads, median(whole), best, rate);
  } else {
    std::printf("%-16s %d threads  %7.1f GFLOP/s of %7.1f  ratio %.2f   forward %7.1f  %8.2f ms\n",
                c.name.c_str(), threads, rate, roof, rate / roof, forward_rate,
                median(whole) * 1e3);
  }
  std::fflush(stdout);
}

int run(const Options& options) {
  if (!options.json && !options.roof) std::printf("%s\n", kernel_summary().c_str());
  for (const int threads : options.threads) {
    double roof = 1;
    if (!options.json || options.roof) {
      const Executor executor(threads);
      const double seam = seam_roof(executor), blas = blas_roof(threads);
      roof = std::max(seam, blas);
      if (options.roof) {
        std::printf("{\"threads\":%d,\"libxsmm\":%.1f,\"OpenBLAS\":%.1f}\n", threads, seam, blas);
        continue;
      }
      std::printf("roof, %d threads: seam %.1f, OpenBLAS %.1f GFLOP/s\n", threads, seam, blas);
    }
    for (const auto& c : cases::bench_cases())
      if (options.only.empty() || c.name == options.only) run_case(c, threads, roof, options);
  }
  return 0;
}

}  // namespace
}  // namespace rondo::ops

int main(int argc, char** argv) {
  rondo::ops::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--cpu-time") {
      rondo::ops::cpu_time = true;
    } else if (flag == "--json") {
      options.json = true;
    } else if (flag == "--roof") {
      options.roof = true;
    } else if (i + 1 < argc && flag == "--case") {
      options.only = argv[++i];
    } else if (i + 1 < argc && flag == "--rounds") {
      options.rounds = std::atoi(argv[++i]);
    } else if (i + 1 < argc && flag == "--threads") {
      options.threads.clear();
      for (const char* p = argv[++i]; p != nullptr && *p != 0;) {
        options.threads.push_back(std::atoi(p));
        p = std::strchr(p, ',');
        if (p != nullptr) ++p;
      }
    } else {
      std::fprintf(stderr, "usage: ops_bench [--threads 1,2] [--case NAME] [--rounds N] [--json]"
                   " [--roof] [--cpu-time]\n");
      return 2;
    }
  }
  return rondo::ops::run(options);
}
