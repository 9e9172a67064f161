#include <cmath>
#include <cstring>

#include <rondo/ops/gpu_wavefront.h>
#include <rondo/ops/random.h>

#include "harness.h"

namespace rondo::ops::gpu_check {
namespace {

using cuda::Recurrence;

struct StackCase {
  std::string name;
  std::int32_t cell;   // rondo::ops::Cell
  Dim layers, units, steps, batch, part;
};

struct StackLayer {
  cuda::Layer* layer;
  cuda::Activations* activations;
};

// A stack of equal layers, all of whose results can be told apart by their bits.
class Stack {
 public:
  Stack(Harness& h, const StackCase& c, Precision precision, Recurrence recurrence,
        const GpuLines& lines)
      : h_(h), c_(c), lines_(lines) {
    const Dim slots = c.cell == 3 ? 4 : c.cell == 4 ? 3 : 1, rows = slots * c.units;
    const Dim of_step = c.batch * c.units, all = c.steps * of_step;
    x_ = random({all}, 1), dy_ = random({all}, 2);
    for (Dim i = 0; i < c.layers; ++i) {
      cuda::LayerSpec spec{c.cell, c.units, c.units, 0, precision};
      spec.recurrence = recurrence;
      spec.processors = lines.processors();
      const cuda::Sequences sequences{c.steps, c.batch, nullptr, nullptr};
      StackLayer& layer = layers_.emplace_back();
      must(h.api().layer_open(line(i), &spec, &layer.layer));
      for (const Dim count : {rows * c.units, rows * c.units, rows, rows}) {
        weights_.push_back(random({count}, 10 + static_cast<std::uint32_t>(weights_.size())));
        gradients_.push_back(std::make_unique<Buffer>(h.gpu(), bytes(count)));
      }
      must(h.api().wait_for(line(i), h.context()));   // the weights are set in the first line
      const cuda::LayerWeights w{weight(i, 0), weight(i, 1), weight(i, 2), weight(i, 3)};
      must(h.api().layer_pack(layer.layer, &w));
      must(h.api().activations_open(layer.layer, &sequences, &layer.activations));
      last_.push_back(std::make_unique<Buffer>(h.gpu(), bytes(of_step)));
      dx_.push_back(std::make_unique<Buffer>(h.gpu(), bytes(all)));
    }
  }
  ~Stack() {
    for (const StackLayer& layer : layers_) {
      h_.api().activations_close(layer.activations);
      h_.api().layer_close(layer.layer);
    }
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void run() {
    std::vector<cuda::LayerForward> forward(layers_.size());
    std::vector<cuda::LayerBackward> backward(layers_.size());
    const float* below = x_->f();
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const auto at = static_cast<Dim>(i);
      forward[i].x = backward[i].x = below;
      forward[i].h_last = last_[i]->f();
      must(h_.api().activations_y(layers_[i].activations, &below));
      backward[i].dy = i + 1 < layers_.size() ? dx_[i + 1]->f() : dy_->f();
      backward[i].dx = dx_[i]->f();
      backward[i].w_ih = gradient(at, 0), backward[i].w_hh = gradient(at, 1);
      backward[i].b_ih = gradient(at, 2), backward[i].b_hh = gradient(at, 3);
    }
    const Wavefront shape{layers_.size(), c_.steps, c_.part};
    wavefront_forward(lines_, shape, [&](std::size_t i, GpuSteps part) {
      cuda::LayerForward call = forward[i];
      call.first = part.first, call.last = part.last;
      must(h_.api().layer_forward(layers_[i].layer, layers_[i].activations, &call));
    });
    wavefront_backward(lines_, shape, [&](std::size_t i, GpuSteps part) {
      cuda::LayerBackward call = backward[i];
      call.first = part.first, call.last = part.last;
      must(h_.api().layer_backward(layers_[i].layer, layers_[i].activations, &call));
    });
  }

  // Everything that the passes have left, in the order of layers.
  std::vector<float> results() const {
    std::vector<float> all;
    for (const auto* group : {&last_, &dx_, &gradients_})
      for (const auto& buffer : *group) {
        const Dim count = static_cast<Dim>(buffer->bytes() / sizeof(float));
        const Tensor<float> numbers = buffer->template get<float>({count});
        all.insert(all.end(), numbers.data(), numbers.data() + count);
      }
    return all;
  }

 private:
  using Held = std::unique_ptr<Buffer>;
  static std::size_t bytes(Dim count) { return static_cast<std::size_t>(count) * sizeof(float); }
  [[nodiscard]] Held random(Shape shape, std::uint32_t number) const {
    Tensor<float> numbers(shape);
    fill_uniform<float>({h_.seed(), 0, 0, number}, -0.2, 0.2, numbers);
    return std::make_unique<Buffer>(h_.gpu(), numbers);
  }
  [[nodiscard]] cuda::Context* line(Dim i) const {
    return lines_.line(lines_.line_of(static_cast<std::size_t>(i),
                                      static_cast<std::size_t>(c_.layers)));
  }
  [[nodiscard]] const float* weight(Dim layer, Dim which) const {
    return weights_[static_cast<std::size_t>(layer * 4 + which)]->f();
  }
  [[nodiscard]] float* gradient(Dim layer, Dim which) const {
    return gradients_[static_cast<std::size_t>(layer * 4 + which)]->f();
  }

  Harness& h_;
  const StackCase& c_;
  const GpuLines& lines_;
  Held x_, dy_;
  std::vector<Held> weights_, gradients_, last_, dx_;
  std::vector<StackLayer> layers_;
};

void same_as_layer_after_layer(Harness& h, const StackCase& c, Precision p, Recurrence r) {
  const std::string name = "wavefront_" + c.name + (p == Precision::kBf16 ? "_bf16" : "_float32") +
                           (r == Recurrence::kSteps ? "_steps" : "");
  if (!h.wanted(name)) return;
  const GpuLines single(h.gpu(), 1);
  Stack after(h, c, p, r, single);
  after.run();
  const std::vector<float> wanted = after.results();
  for (std::size_t count = 2; count <= static_cast<std::size_t>(c.layers); ++count) {
    const GpuLines lines(h.gpu(), count);
    Stack wave(h, c, p, r, lines);
    for (int again = 0; again < 3; ++again) {   // steps: launched, captured, replayed
      wave.run();
      const std::vector<float> got = wave.results();
      bool same = got.size() == wanted.size();
      for (std::size_t i = 0; same && i < got.size(); ++i)
        same = std::isfinite(got[i]) && std::memcmp(&got[i], &wanted[i], sizeof(float)) == 0;
      h.claim(name + ": the bits of layer after layer, " + std::to_string(count) + " lines", same);
    }
  }
}

}  // namespace

void check_wavefronts(Harness& h) {
  const Dim units = h.small() ? 40 : 256, batch = h.small() ? 9 : 64, steps = h.small() ? 11 : 50;
  for (const auto& [cell, name] : {std::pair{3, "lstm"}, std::pair{4, "gru"}})
    for (const Precision p : {Precision::kFloat32, Precision::kBf16})
      for (const Recurrence r : {Recurrence::kChosen, Recurrence::kSteps}) {
        const StackCase c{name, cell, 3, units, steps, batch, h.small() ? 3 : 8};
        h.attempt(c.name, [&] { same_as_layer_after_layer(h, c, p, r); });
      }
}

}  // namespace rondo::ops::gpu_check
