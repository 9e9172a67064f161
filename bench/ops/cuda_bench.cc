// How fast the GPU's ops are, and how fast this GPU could be.
//
//   ops_cuda_bench [--case PART-OF-A-NAME] [--json FILE] [--quick]
//
// Two roofs are measured first, in the same run: a large copy inside the device (bytes read and
// written) and an 8192³ product in each precision, on random data. Each line is then an op with its
// time and its share of the roof that bounds it; layers are forward + backward with all gradients,
// as the module chooses to run them one after another (the profile at the end names it), step by
// step beside it, and several layers also in parts in 1, 2, ... lines, as the trainer runs them: a
// wavefront from 2 lines on. How many lines the trainer would take stands below them.
// Median of rounds, timed by events of the device; the first passes (capture of graphs, choice of
// algorithms) are not counted. --json writes the layers' times, for compare_cudnn.py. --quick is
// small sizes, to try the program itself. Without a GPU it says why and ends with 77.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <rondo/ops/gpu_wavefront.h>
#include <rondo/ops/random.h>
#include <rondo/ops/recurrent.h>

#include "../../tests/ops/cuda/harness.h"

namespace rondo::ops {
namespace {

using cuda::Precision;
using gpu_check::Buffer;

std::size_t floats(Dim count) { return static_cast<std::size_t>(count) * sizeof(float); }

const char* name_of(Precision p) {
  const char* names[] = {"float32", "tf32", "bf16"};
  return names[static_cast<int>(p)];
}

struct Bench {
  explicit Bench(Gpu& g) : gpu(g), api(g.entries()), context(g.context()) {
    Tensor<float> numbers({1 << 16});
    fill_uniform<float>({7, 0, 0, 0}, -0.05, 0.05, numbers);
    noise = numbers;
  }

  // Random numbers, the same 65536 again and again.
  std::unique_ptr<Buffer> random(Dim count) {
    auto buffer = std::make_unique<Buffer>(gpu, floats(count));
    const Dim first = std::min(count, noise.count());
    must(api.copy_in(context, buffer->raw(), noise.data(), floats(first)));
    for (Dim done = first; done < count; done *= 2)
      must(api.copy(context, buffer->f() + done, buffer->raw(),
                    floats(std::min(done, count - done))));
    return buffer;
  }

  // Seconds for one call of `work`.
  double seconds(const std::function<void()>& work) {
    for (int i = 0; i < 3; ++i) work();   // step by step, capture, replay
    must(api.mark(context, 0));
    work();
    must(api.mark(context, 1));
    double once = 0;
    must(api.between_marks(context, &once));
    const int times = std::clamp(static_cast<int>(0.02 / std::max(once, 1e-6)), 1, 200);
    std::vector<double> rounds;
    for (int round = 0; round < 7; ++round) {
      double all = 0;
      must(api.mark(context, 0));
      for (int i = 0; i < times; ++i) work();
      must(api.mark(context, 1));
      must(api.between_marks(context, &all));
      rounds.push_back(all / times);
    }
    std::sort(rounds.begin(), rounds.end());
    return rounds[rounds.size() / 2];
  }

  void bytes_line(const std::string& name, double bytes, const std::function<void()>& work) {
    if (name.find(filter) == std::string::npos) return;
    const double s = seconds(work), rate = bytes / s;
    std::printf("| %s | %.3f ms | %.0f GB/s | %.0f %% of a copy |\n", name.c_str(), s * 1e3,
                rate * 1e-9, 100 * rate / copy_rate);
    std::fflush(stdout);
  }

  void layers_line(const std::string& name, const char* way, Precision p, double flops,
                   const std::function<void()>& work) {
    const double s = seconds(work), rate = flops / s;
    std::printf("| %s, %s, %s | %.3f ms | %.1f TFLOP/s | %.0f %% of a product |\n", name.c_str(),
                name_of(p), way, s * 1e3, rate * 1e-12,
                100 * rate / product_rate[static_cast<int>(p)]);
    std::fflush(stdout);
    if (json != nullptr)
      std::fprintf(json,
                   "{\"case\": \"%s\", \"way\": \"%s\", \"precision\": \"%s\", "
                   "\"seconds\": %.9f}\n",
                   name.c_str(), way, name_of(p), s);
  }

  Gpu& gpu;
  const cuda::Entries& api;
  cuda::Context* context;
  Tensor<float> noise;
  std::string filter;
  bool quick = false;
  std::FILE* json = nullptr;
  double copy_rate = 1, product_rate[3] = {1, 1, 1};
};

void measure_roofs(Bench& b) {
  const Dim count = b.quick ? 1 << 16 : Dim{1} << 28, n = b.quick ? 64 : 8192;
  {
    const auto from = b.random(count), to = b.random(count);
    const double s = b.seconds([&] {
      must(b.api.copy(b.context, to->raw(), from->raw(), floats(count)));
    });
    b.copy_rate = 2 * static_cast<double>(count) * sizeof(float) / s;
  }
  std::printf("roofs: a copy %.0f GB/s (read + written)", b.copy_rate * 1e-9);
  const auto x = b.random(n * n), y = b.random(n * n), z = b.random(n * n);
  const Buffer rx(b.gpu, floats(n * n) / 2), ry(b.gpu, floats(n * n) / 2);
  must(b.api.to_bf16(b.context, x->f(), n * n, rx.raw()));
  must(b.api.to_bf16(b.context, y->f(), n * n, ry.raw()));
  for (const Precision p : {Precision::kFloat32, Precision::kTf32, Precision::kBf16}) {
    const bool rounded = p == Precision::kBf16;
    const cuda::Product product{n, n, n, rounded ? rx.raw() : x->raw(), n, 0,
                                rounded ? ry.raw() : y->raw(), n, 1, z->f(), n, 0, p};
    const double s = b.seconds([&] { must(b.api.product(b.context, &product)); });
    const double cube = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    b.product_rate[static_cast<int>(p)] = 2 * cube / s;
    std::printf(", %s %.1f TFLOP/s", name_of(p), 2e-12 * cube / s);
  }
  std::printf("\n\n| op | time | achieved | share of the roof |\n|---|---|---|---|\n");
}

void optimizers(Bench& b) {
  const Dim n = b.quick ? 5000 : Dim{64} << 20;
  const auto w = b.random(n), g = b.random(n), m = b.random(n), v = b.random(n);
  const auto nw = b.random(n), nm = b.random(n), nv = b.random(n);
  must(b.api.fill(b.context, v->raw(), 0, floats(n)));
  cuda::OptimizerStep s{};
  s.count = n, s.lr = 1e-3F, s.epsilon = 1e-8F, s.a = 0.9F, s.one_minus_a = 0.1F, s.b = 0.999F;
  s.one_minus_b = 0.001F, s.correction1 = 2, s.correction2 = 2;
  s.weight = w->f(), s.gradient = g->f(), s.moment1 = v->f(), s.moment2 = v->f();
  s.new_weight = nw->f(), s.new_moment1 = nm->f(), s.new_moment2 = nv->f();
  const char* names[] = {"sgd", "momentum", "nesterov", "rmsprop", "adam"};
  const int streams[] = {3, 5, 5, 5, 7};
  for (int rule = 0; rule < 5; ++rule) {
    s.rule = rule;
    s.moment1 = rule == 4 ? m->f() : v->f();
    b.bytes_line(std::string("optimizer_") + names[rule],
                 static_cast<double>(streams[rule]) * static_cast<double>(floats(n)),
                 [&] { must(b.api.optimizer_step(b.context, &s)); });
  }
}

void flat_ops(Bench& b) {
  const Dim n = b.quick ? 5000 : Dim{64} << 20;
  const auto x = b.random(n), y = b.random(n), z = b.random(n);
  const Buffer sum(b.gpu, 8);
  const double bytes = static_cast<double>(floats(n));
  b.bytes_line("add", 3 * bytes, [&] { must(b.api.add(b.context, x->f(), y->f(), n, z->f())); });
  b.bytes_line("squared_norm", bytes,
               [&] { must(b.api.squared_norm(b.context, x->f(), n, sum.d(), 0)); });
  b.bytes_line("clip_norm", 2 * bytes, [&] {
    must(b.api.clip_norm(b.context, x->f(), sum.d(), 1, n, z->f()));
  });
  b.bytes_line("to_bf16", 1.5 * bytes,
               [&] { must(b.api.to_bf16(b.context, x->f(), n, z->raw())); });
}

void row_ops(Bench& b) {
  const Dim rows = b.quick ? 40 : 65536, width = b.quick ? 100 : 1024, n = rows * width;
  const auto x = b.random(n), y = b.random(n), z = b.random(n), w = b.random(width);
  const auto bias = b.random(width), mean = b.random(rows), inverse = b.random(rows);
  const auto dw = b.random(width), db = b.random(width), sum = b.random(2);
  const double bytes = static_cast<double>(floats(n));
  const cuda::LayerNorm norm{rows, width, 1e-5F, w->f(), bias->f(), x->f(), y->f(), mean->f(),
                             inverse->f()};
  b.bytes_line("layer_norm", 2 * bytes, [&] { must(b.api.layer_norm(b.context, &norm)); });
  const cuda::LayerNormBackward back{rows, width, w->f(), x->f(), y->f(), mean->f(),
                                     inverse->f(), z->f(), dw->f(), db->f(), 0};
  b.bytes_line("layer_norm_backward", 3 * bytes,
               [&] { must(b.api.layer_norm_backward(b.context, &back)); });
  const cuda::Dropout drop{rows / 8, 8, width, 0, 0.3, 1, 2, 3, 4, x->f(), y->f()};
  b.bytes_line("dropout", 2 * bytes, [&] { must(b.api.dropout(b.context, &drop)); });
  Tensor<std::int32_t> ids({rows});
  for (Dim i = 0; i < rows; ++i)
    ids[i] = static_cast<std::int32_t>(
        random_bits({1, 0, 0, 5}, static_cast<std::uint64_t>(i)) % 65);
  const Buffer targets(b.gpu, ids);
  const cuda::CrossEntropy loss{rows, width, x->f(), targets.i(), 1e-3F, mean->f(), z->f(),
                                reinterpret_cast<double*>(sum->raw())};
  b.bytes_line("cross_entropy", 2 * bytes, [&] { must(b.api.cross_entropy(b.context, &loss)); });
  const auto table = b.random(65 * width);
  const cuda::Embedding scatter{65, width, rows, targets.i(), x->f(), table->f(), 0};
  b.bytes_line("embedding_backward_65_words", bytes,
               [&] { must(b.api.embedding_backward(b.context, &scatter)); });
}

void scans(Bench& b) {
  const Dim steps = b.quick ? 100 : 4096, batch = b.quick ? 2 : 16, units = b.quick ? 30 : 512;
  const Dim lanes = batch * units;
  const auto gates = b.random(steps * lanes * 2), states = b.random((steps + 1) * lanes);
  const auto dy = b.random(steps * lanes), dfirst = b.random(lanes);
  cuda::Scan s{};
  s.cell = 1, s.steps = steps, s.batch = batch, s.units = units, s.row = 2 * units;
  s.in[0] = s.out[0] = gates->f(), s.in[1] = s.out[1] = gates->f() + units;
  s.h = states->f(), s.dy = dy->f(), s.dfirst = dfirst->f();
  const double bytes = static_cast<double>(floats(steps * lanes));
  b.bytes_line("min_gru_scan_t" + std::to_string(steps), 4 * bytes,   // z v read, z h written
               [&] { must(b.api.scan(b.context, &s)); });
  b.bytes_line("min_gru_scan_backward_t" + std::to_string(steps), 6 * bytes,
               [&] { must(b.api.scan_backward(b.context, &s)); });
}

// Copies to pinned host memory, by themselves and beside a product: how much of the shorter of the
// two hides behind the other.
void copies_beside(Bench& b) {
  const std::string name = "copy_out_later_beside_a_product";
  if (name.find(b.filter) == std::string::npos) return;
  const Dim count = b.quick ? 5000 : Dim{64} << 20, n = b.quick ? 64 : 4096;
  const GpuHostBuffer host(b.gpu, floats(count));
  const auto from = b.random(count), x = b.random(n * n), y = b.random(n * n), z = b.random(n * n);
  const cuda::Product product{n, n, n, x->raw(), n, 0, y->raw(), n, 1, z->f(), n, 0,
                              Precision::kTf32};
  const auto copy = [&] {
    must(b.api.copy_out_later(b.context, host.f(), from->raw(), floats(count)));
  };
  const auto products = [&] {
    for (int i = 0; i < 20; ++i) must(b.api.product(b.context, &product));
  };
  const double alone = b.seconds([&] {
    copy();
    must(b.api.after_copies(b.context));
  });
  const double work = b.seconds(products);
  const double both = b.seconds([&] {
    copy();
    products();
    must(b.api.after_copies(b.context));
  });
  std::printf("| %s | %.3f ms | %.1f GB/s | %.0f %% hidden (alone %.3f and %.3f ms) |\n",
              name.c_str(), both * 1e3, static_cast<double>(floats(count)) / alone * 1e-9,
              std::clamp(100 * (alone + work - both) / std::min(alone, work), 0.0, 100.0),
              alone * 1e3, work * 1e3);
  std::fflush(stdout);
}

struct Stack {   // the same layer several times over
  std::string name;
  Cell cell;
  Dim hidden, batch, steps, layers;
};

struct Way {
  cuda::Recurrence recurrence = cuda::Recurrence::kChosen;
  std::size_t lines = 0;   // 0: whole passes, layer after layer
  [[nodiscard]] std::string name() const {
    if (lines > 0) return "lines_" + std::to_string(lines);
    return recurrence == cuda::Recurrence::kSteps ? "steps" : "chosen";
  }
};

struct StackLayer {
  cuda::Layer* layer;
  cuda::Activations* activations;
};

cuda::LayerSpec spec_of(const Stack& s, Precision p) {
  return {static_cast<std::int32_t>(s.cell), s.hidden, s.hidden, 0, p};
}

class LayerRun {
 public:
  LayerRun(Bench& b, const Stack& s, Precision p, Way way)
      : b_(b), s_(s), way_(way),
        lines_(b.gpu, std::max<std::size_t>(way.lines, 1)),
        x_(b.random(s.steps * s.batch * s.hidden)),
        dy_(b.random(s.steps * s.batch * s.hidden)) {
    const Dim rows = gate_count(s.cell) * s.hidden;
    for (auto* w : {&w_ih_, &w_hh_}) *w = b.random(rows * s.hidden);
    for (auto* w : {&b_ih_, &b_hh_}) *w = b.random(rows);
    cuda::LayerSpec spec = spec_of(s, p);
    spec.recurrence = way.recurrence;
    if (way.lines > 1) spec.processors = lines_.processors();
    const cuda::Sequences sequences{s.steps, s.batch, nullptr, nullptr};
    for (Dim i = 0; i < s.layers; ++i) {
      StackLayer& layer = layers_.emplace_back();
      must(b.api.layer_open(line(i), &spec, &layer.layer));
      must(b.api.activations_open(layer.layer, &sequences, &layer.activations));
      dx_.push_back(b.random(s.steps * s.batch * s.hidden));
      for (const Dim count : {rows * s.hidden, rows * s.hidden, rows, rows})
        gradients_.push_back(b.random(count));
    }
    must(b.api.wait(b.context));   // the lines begin with what is set now
    wire();
  }
  ~LayerRun() {
    for (const StackLayer& layer : layers_) {
      b_.api.activations_close(layer.activations);
      b_.api.layer_close(layer.layer);
    }
  }
  LayerRun(const LayerRun&) = delete;
  LayerRun& operator=(const LayerRun&) = delete;

  // As in a training step: weights packed anew, forward, backward.
  void step() {
    const cuda::LayerWeights w{w_ih_->f(), w_hh_->f(), b_ih_->f(), b_hh_->f()};
    for (const StackLayer& layer : layers_) must(b_.api.layer_pack(layer.layer, &w));
    const Wavefront shape{layers_.size(), s_.steps,
                          way_.lines == 0 ? s_.steps : wavefront_part(s_.steps, layers_.size())};
    wavefront_forward(lines_, shape, [&](std::size_t i, GpuSteps part) {
      cuda::LayerForward call = forward_[i];
      call.first = part.first, call.last = part.last;
      must(b_.api.layer_forward(layers_[i].layer, layers_[i].activations, &call));
    });
    wavefront_backward(lines_, shape, [&](std::size_t i, GpuSteps part) {
      cuda::LayerBackward call = backward_[i];
      call.first = part.first, call.last = part.last;
      must(b_.api.layer_backward(layers_[i].layer, layers_[i].activations, &call));
    });
  }

 private:
  [[nodiscard]] cuda::Context* line(Dim i) const {
    return lines_.line(lines_.line_of(static_cast<std::size_t>(i),
                                      static_cast<std::size_t>(s_.layers)));
  }
  void wire() {   // each layer to the next, both ways
    const float* below = x_->f();
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      cuda::LayerForward& f = forward_.emplace_back();
      cuda::LayerBackward& back = backward_.emplace_back();
      f.x = back.x = below;
      must(b_.api.activations_y(layers_[i].activations, &below));
      back.dy = i + 1 == layers_.size() ? dy_->f() : dx_[i + 1]->f();
      back.dx = dx_[i]->f();
      back.w_ih = gradients_[4 * i]->f(), back.w_hh = gradients_[4 * i + 1]->f();
      back.b_ih = gradients_[4 * i + 2]->f(), back.b_hh = gradients_[4 * i + 3]->f();
    }
  }

  Bench& b_;
  const Stack& s_;
  const Way way_;
  const GpuLines lines_;   // closed after the layers
  std::unique_ptr<Buffer> x_, dy_, w_ih_, w_hh_, b_ih_, b_hh_;
  std::vector<std::unique_ptr<Buffer>> dx_, gradients_;
  std::vector<StackLayer> layers_;
  std::vector<cuda::LayerForward> forward_;
  std::vector<cuda::LayerBackward> backward_;
};

std::vector<Stack> stacks(bool quick) {
  if (quick) return {{"lstm_h40_n3_t5_l2", Cell::kLstm, 40, 3, 5, 2},
                     {"gru_h40_n3_t5_l1", Cell::kGru, 40, 3, 5, 1}};
  return {{"lstm_h512_n64_t512_l1", Cell::kLstm, 512, 64, 512, 1},
          {"lstm_h768_n16_t1024_l1", Cell::kLstm, 768, 16, 1024, 1},
          {"lstm_h1024_n64_t512_l1", Cell::kLstm, 1024, 64, 512, 1},
          {"lstm_h2048_n64_t256_l1", Cell::kLstm, 2048, 64, 256, 1},
          {"lstm_h2048_n64_t256_l2", Cell::kLstm, 2048, 64, 256, 2},
          {"lstm_h512_n64_t512_l4", Cell::kLstm, 512, 64, 512, 4},
          {"lstm_h1024_n64_t512_l2", Cell::kLstm, 1024, 64, 512, 2},
          {"gru_h512_n64_t512_l1", Cell::kGru, 512, 64, 512, 1},
          {"gru_h1024_n64_t512_l1", Cell::kGru, 1024, 64, 512, 1},
          {"rnn_h512_n64_t512_l1", Cell::kTanh, 512, 64, 512, 1}};
}

std::vector<Way> ways_of(const Stack& s) {
  std::vector<Way> ways = {{}};
  if (s.hidden <= 1024) ways.push_back({.recurrence = cuda::Recurrence::kSteps});   // else chosen
  for (std::size_t n = 1; s.layers > 1 && n <= static_cast<std::size_t>(s.layers); n *= 2)
    ways.push_back({.lines = n});
  return ways;
}

void layers(Bench& b) {
  for (const Stack& s : stacks(b.quick)) {
    if (s.name.find(b.filter) == std::string::npos) continue;
    const double flops = 3.0 * 2 * static_cast<double>(s.steps * s.batch * s.layers) *
                         gate_count(s.cell) * static_cast<double>(s.hidden * 2 * s.hidden);
    for (const Precision p : {Precision::kBf16, Precision::kTf32, Precision::kFloat32}) {
      for (const Way& way : ways_of(s)) {
        LayerRun run(b, s, p, way);
        b.layers_line(s.name, way.name().c_str(), p, flops, [&] { run.step(); });
      }
      if (s.layers == 1) continue;
      const std::vector<cuda::LayerSpec> stack(static_cast<std::size_t>(s.layers), spec_of(s, p));
      std::printf("| %s, %s, the trainer takes lines_%zu | | | |\n", s.name.c_str(), name_of(p),
                  lines_that_pay(b.gpu, stack, s.steps, s.batch));
    }
  }
}

int usage() {
  std::fprintf(stderr, "usage: ops_cuda_bench [--case PART-OF-A-NAME] [--json FILE] [--quick]\n");
  return 2;
}

}  // namespace
}  // namespace rondo::ops

int main(int argc, char** argv) {
  using namespace rondo::ops;
  const char *filter = "", *json = nullptr;
  bool quick = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) quick = true;
    else if (i + 1 < argc && std::strcmp(argv[i], "--case") == 0) filter = argv[++i];
    else if (i + 1 < argc && std::strcmp(argv[i], "--json") == 0) json = argv[++i];
    else return usage();
  }
  const GpuOrReason found = open_gpu();
  if (found.gpu == nullptr) {
    std::printf("SKIPPED: %s\n", found.reason.c_str());
    return 77;
  }
  Bench b(*found.gpu);
  b.filter = filter, b.quick = quick;
  if (json != nullptr && (b.json = std::fopen(json, "w")) == nullptr) {
    std::fprintf(stderr, "%s cannot be written\n", json);
    return 1;
  }
  int failed = 0;
  for (void (*part)(Bench&) : {measure_roofs, optimizers, flat_ops, row_ops, scans,
                               copies_beside, layers}) {
    try {
      part(b);
    } catch (const std::runtime_error& fault) {
      std::printf("FAILED: %s\n", fault.what());
      failed = 1;
    }
  }
  std::printf("\n%s\n", found.gpu->numeric_profile().c_str());
  if (b.json != nullptr) std::fclose(b.json);
  return failed;
}
