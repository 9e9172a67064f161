// One training step of char-rnn's default (LSTM 2×128, 65 characters, N = T = 50), part by part.
//
//   ops_char_step_bench [threads] [rounds] [--cpu-time]
//
// Prints milliseconds a part (median over rounds; least) and thousand tokens a second: what ops
// alone allow a trainer. --cpu-time: of this thread, for one thread on a busy machine.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include <rondo/ops/elementwise.h>
#include <rondo/ops/linear.h>
#include <rondo/ops/loss.h>
#include <rondo/ops/optimizer.h>

#include "../../tests/ops/cases.h"

namespace rondo::ops {
namespace {

constexpr Dim kVocabulary = 65, kHidden = 128, kSteps = 50, kBatch = 50;
constexpr Dim kRows = kSteps * kBatch;
enum Part { kPack, kForward, kHead, kBackward, kUpdate, kParts };
constexpr const char* kNames[] = {"pack", "forward", "head and loss", "backward", "update"};

bool cpu_time = false;

double now() {
  if (cpu_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Step {
  explicit Step(int threads)
      : executor(threads),
        first({"", {Cell::kLstm, kVocabulary, kHidden, true}, {kSteps, kBatch}}),
        second({"", {Cell::kLstm, kHidden, kHidden, false}, {kSteps, kBatch}}),
        layer1(first.spec, executor), layer2(second.spec, executor),
        head(kHidden, kVocabulary, executor), a1(first.spec, first.shape),
        a2(second.spec, second.shape), w({kVocabulary, kHidden}), b({kVocabulary}), gw(w), gb(b),
        logits({kRows, kVocabulary}), losses({kRows}), dy({kRows, kHidden}), targets({kRows}) {
    fill_uniform<float>({2, 0, 0, 0}, -0.08, 0.08, w);
    for (Dim i = 0; i < kRows; ++i) targets[i] = static_cast<std::int32_t>(i * 7 % kVocabulary);
    for (auto* p : {&first, &second}) {
      weights.insert(weights.end(), {&p->w_ih, &p->w_hh, &p->b_ih, &p->b_hh});
      gradients.insert(gradients.end(), {&p->g_ih, &p->g_hh, &p->gb_ih, &p->gb_hh});
    }
    weights.insert(weights.end(), {&w, &b});
    gradients.insert(gradients.end(), {&gw, &gb});
    for (const auto* t : weights) {
      moments.emplace_back(t->shape());
      new_moments.emplace_back(t->shape());
      new_weights.emplace_back(t->shape());
    }
  }

  void run(Part part) {
    switch (part) {
      case kPack:
        layer1.pack(first.weights());
        layer2.pack(second.weights());
        return head.pack({w, b});
      case kForward:
        layer1.forward(first.input(), {}, a1, {});
        return layer2.forward({.dense = a1.y(), .ids = {}}, {}, a2, {});
      case kHead:
        head.forward(a2.y(), logits);
        loss = softmax_cross_entropy<float>(executor, logits, targets, 1.0 / kRows, losses, logits);
        return head.backward(a2.y(), logits, dy, {gw, gb});
      case kBackward:
        layer2.backward({.x = {.dense = a1.y(), .ids = {}}, .dy = dy, .dlast = {},
                         .dx = second.dx, .dfirst = {},
                         .grads = {second.g_ih, second.g_hh, second.gb_ih, second.gb_hh}},
                        a2);
        return layer1.backward({.x = first.input(), .dy = second.dx, .dlast = {}, .dx = {},
                                .dfirst = {},
                                .grads = {first.g_ih, first.g_hh, first.gb_ih, first.gb_hh}},
                               a1);
      default: return update();
    }
  }

  void update() {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      clip_value<float>(executor, *gradients[i], 5, *gradients[i]);
      optimizer_step<float>(executor, {},
                            {*weights[i], *gradients[i], moments[i], {}, new_weights[i],
                             new_moments[i], {}});
    }
  }

  const Executor executor;
  cases::RecurrentProblem<float> first, second;
  RecurrentLayer<float> layer1, layer2;
  LinearLayer<float> head;
  RecurrentActivations<float> a1, a2;
  Tensor<float> w, b, gw, gb, logits, losses, dy;
  Tensor<std::int32_t> targets;
  std::vector<Tensor<float>*> weights, gradients;
  std::vector<Tensor<float>> moments, new_moments, new_weights;
  double loss = 0;
};

int run(int threads, int rounds) {
  Step step(threads);
  std::vector<double> times[kParts], whole;
  for (int round = -3; round < rounds; ++round) {
    const double start = now();
    double before = start;
    for (int part = 0; part < kParts; ++part) {
      step.run(static_cast<Part>(part));
      const double after = now();
      if (round >= 0) times[part].push_back(after - before);
      before = after;
    }
    if (round >= 0) whole.push_back(before - start);
  }
  const auto line = [](const char* name, const std::vector<double>& t) {
    std::printf("%-14s %7.3f ms; %7.3f", name, median(t) * 1e3,
                *std::min_element(t.begin(), t.end()) * 1e3);
  };
  for (int part = 0; part < kParts; ++part) {
    line(kNames[part], times[part]);
    std::puts("");
  }
  line("step", whole);
  std::printf("  %.1f thousand tokens/s, %d threads\n", kRows / median(whole) * 1e-3, threads);
  return 0;
}

}  // namespace
}  // namespace rondo::ops

int main(int argc, char** argv) {
  if (argc > 3) rondo::ops::cpu_time = std::strcmp(argv[3], "--cpu-time") == 0;
  return rondo::ops::run(argc > 1 ? std::atoi(argv[1]) : 1, argc > 2 ? std::atoi(argv[2]) : 30);
}
