#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include <unistd.h>

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/deer.h>
#include <rondo/ops/dropout.h>
#include <rondo/ops/elementwise.h>
#include <rondo/ops/linear.h>
#include <rondo/ops/loss.h>
#include <rondo/ops/optimizer.h>

#include "cases.h"

// The same bits for every instruction set and number of threads: this program calls itself with
// LIBXSMM_TARGET set and compares the hash of everything that all ops write.

namespace rondo::ops {
namespace {

std::uint64_t hash(std::uint64_t seed, const void* data, std::size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; ++i) seed = (seed ^ p[i]) * 0x100000001B3U;   // FNV-1a
  return seed;
}

std::uint64_t hash_of(std::uint64_t seed, const Tensor<float>& t) {
  return hash(seed, t.data(), static_cast<std::size_t>(t.count()) * sizeof(float));
}

Tensor<float> drawn(Shape shape, std::uint32_t number, double bound = 2) {
  Tensor<float> t(shape);
  fill_uniform<float>({7, 0, 0, number}, -bound, bound, t);
  return t;
}

std::uint64_t hash_head(const Executor& executor) {
  const Dim rows = 301, inputs = 100, classes = 65;
  LinearLayer<float> linear(inputs, classes, executor);
  const Tensor<float> x = drawn({rows, inputs}, 1), w = drawn({classes, inputs}, 2, 0.3),
                      b = drawn({classes}, 3);
  Tensor<float> y({rows, classes}), d({rows, classes}), losses({rows}), dx({rows, inputs}),
      dw({classes, inputs}), db({classes}), p({rows, classes});
  Tensor<std::int32_t> targets({rows});
  for (Dim i = 0; i < rows; ++i) targets[i] = static_cast<std::int32_t>(i * 7 % classes);
  linear.pack({w, b});
  linear.forward(x, y);
  const double loss = softmax_cross_entropy<float>(executor, y, targets, 1.0 / 301, losses, d);
  linear.backward(x, d, dx, {dw, db});
  softmax<float>(executor, y, 0.7, p);
  std::uint64_t h = hash(1, &loss, sizeof loss);
  for (const auto* t : {&y, &d, &losses, &dx, &dw, &db, &p}) h = hash_of(h, *t);
  const double error = squared_error<float>(executor, y, p, 0.5, d);
  const double norm = squared_norm<float>(executor, drawn({100003}, 4));
  return hash(hash(hash_of(h, d), &error, sizeof error), &norm, sizeof norm);
}

std::uint64_t hash_optimizers(const Executor& executor) {
  const Dim n = 70001;
  const Tensor<float> w = drawn({n}, 1), g = drawn({n}, 2), m1 = drawn({n}, 3);
  Tensor<float> m2 = drawn({n}, 4), nw({n}), n1({n}), n2({n});
  for (Dim i = 0; i < n; ++i) m2[i] *= m2[i];
  std::uint64_t h = 2;
  for (int rule = 0; rule < 5; ++rule) {
    const OptimizerOptions options{.rule = static_cast<Optimizer>(rule), .step = 5};
    const auto& first = options.rule == Optimizer::kRmsprop ? m2 : m1;
    optimizer_step<float>(executor, options, {w, g, first, m2, nw, n1, n2});
    for (const auto* t : {&nw, &n1, &n2}) h = hash_of(h, *t);
  }
  return h;
}

std::uint64_t hash_rows(const Executor& executor) {
  std::uint64_t h = 3;
  for (const auto& c : cases::row_cases()) {
    cases::RowProblem<float> p(c);
    p.layer_norm(executor);
    for (const auto* t : p.results()) h = hash_of(h, *t);
    dropout<float>(executor, {.probability = 0.2, .key = {1, 2, 3, 4}}, p.x, p.y);
    h = hash_of(h, p.y);
  }
  return h;
}

std::uint64_t hash_min(const Executor& executor) {
  std::uint64_t h = 4;
  for (const auto& c : cases::min_cases(false)) {
    cases::MinProblem<float> p(c);
    p.run(executor);
    for (const auto* t : p.results()) h = hash_of(h, *t);
  }
  return h;
}

std::uint64_t hash_deer(const Executor& executor) {
  std::uint64_t h = 5;
  for (const Cell cell : cases::kCells) {
    for (const DeerForm form : {DeerForm::kFull, DeerForm::kDiagonal}) {
      cases::RecurrentProblem<float> p({"", {cell, 5, 18, false}, {80, 2}});
      for (Dim i = 0; i < p.w_hh.count(); ++i) p.w_hh[i] *= 0.5F;
      DeerLayer<float> layer(p.spec, executor, {.form = form, .iterations = 100});
      DeerActivations<float> a(p.spec, p.shape);
      layer.pack(p.weights());
      (void)layer.forward(p.input(), {}, a, {});
      h = hash(h, a.y().data(), static_cast<std::size_t>(a.y().count()) * sizeof(float));
      (void)layer.backward({.x = p.input(), .dy = p.dy, .dx = p.dx,
                            .grads = {p.g_ih, p.g_hh, p.gb_ih, p.gb_hh}},
                           a);
      for (const auto* t : {&p.dx, &p.g_ih, &p.g_hh, &p.gb_ih, &p.gb_hh}) h = hash_of(h, *t);
    }
  }
  return h;
}

std::string hashes(int threads) {
  const Executor executor(threads);
  std::string text;
  for (const auto& c : cases::pass_cases()) {
    cases::RecurrentProblem<float> p(c);
    p.run(executor);
    std::uint64_t h = 0;
    for (const auto& [name, tensor] : p.results()) h = hash_of(h, *tensor);
    text += c.name + " " + std::to_string(h) + "\n";
    cases::BidirectionalProblem<float> both(c);
    both.run(executor);
    for (const auto& [name, tensor] : both.results()) h = hash_of(h, *tensor);
    text += c.name + " both ways " + std::to_string(h) + "\n";
  }
  text += "rows " + std::to_string(hash_rows(executor)) + "\n";
  text += "deer " + std::to_string(hash_deer(executor)) + "\n";
  text += "min " + std::to_string(hash_min(executor)) + "\n";
  text += "head " + std::to_string(hash_head(executor)) + "\n";
  return text + "optimizers " + std::to_string(hash_optimizers(executor)) + "\n";
}

std::string run_self(const std::string& target, int threads) {
  const std::string command = (target.empty() ? "" : "LIBXSMM_TARGET=" + target + " ") +
                              "/proc/" + std::to_string(getpid()) + "/exe --hashes " +
                              std::to_string(threads);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  std::array<char, 4096> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) text += buffer.data();
  return text;
}

class BitsTest : public testing::TestWithParam<const char*> {};

TEST_P(BitsTest, EqualThoseOfTheMachineItself) {
  const std::string target = GetParam();
  if (target != "generic" && target != "hsw" && !isa_runs_here(Isa::kAvx512))
    GTEST_SKIP() << "this processor has no AVX-512";
  if (target == "hsw" && !isa_runs_here(Isa::kAvx2)) GTEST_SKIP() << "no AVX2";
  const std::string here = run_self("", 1);
  EXPECT_GT(here.size(), 100U);
  EXPECT_EQ(run_self(target, 1), here);
  EXPECT_EQ(run_self(target, 2), here);
}

INSTANTIATE_TEST_SUITE_P(Targets, BitsTest, testing::Values("generic", "hsw", "skx", "clx", "cpx"),
                         [](const auto& target) { return std::string(target.param); });

}  // namespace
}  // namespace rondo::ops

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--hashes") == 0) {
    std::fputs(rondo::ops::hashes(std::atoi(argv[2])).c_str(), stdout);
    return 0;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
