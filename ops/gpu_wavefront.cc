#include <rondo/ops/gpu_wavefront.h>

#include <algorithm>
#include <cmath>

#include <rondo/ops/check.h>
#include <rondo/ops/gpu_buffer.h>

namespace rondo::ops {

using cuda::Size;

namespace {

std::int32_t processors_of(Gpu& gpu) {
  std::int32_t count = 0;
  must(gpu.entries().processors(gpu.context(), &count));
  return count;
}

}  // namespace

GpuLines::GpuLines(Gpu& gpu, std::size_t count) : gpu_(gpu) {
  const std::int32_t all = processors_of(gpu);
  OPS_CHECK(count > 0 && count <= static_cast<std::size_t>(all));
  processors_ = all / static_cast<std::int32_t>(count);
  lines_.push_back(gpu.context());
  while (lines_.size() < count) {
    cuda::Context* line = nullptr;
    if (const cuda::Fault fault = gpu.entries().open_beside(gpu.context(), &line);
        fault != nullptr) {
      const GpuFault thrown(fault);   // before closing says something else
      for (std::size_t i = 1; i < lines_.size(); ++i) gpu.entries().close(lines_[i]);
      throw thrown;
    }
    lines_.push_back(line);
  }
}

GpuLines::~GpuLines() {
  for (std::size_t i = 1; i < lines_.size(); ++i) gpu_.entries().close(lines_[i]);
}

void GpuLines::after(std::size_t line, std::size_t other) const {
  if (line != other) must(gpu_.entries().wait_for(lines_[line], lines_[other]));
}

GpuLines::Together::Together(const GpuLines& lines) : lines_(lines) {
  for (std::size_t i = 1; i < lines_.count(); ++i) lines_.after(i, 0);
}

void GpuLines::Together::end() {
  for (std::size_t i = 1; i < lines_.count(); ++i) lines_.after(0, i);
  ended_ = true;
}

// A line that cannot be waited for in line is waited for here.
GpuLines::Together::~Together() {
  if (ended_) return;
  const cuda::Entries& api = lines_.gpu().entries();
  for (std::size_t i = 1; i < lines_.count(); ++i)
    if (api.wait_for(lines_.line(0), lines_.line(i)) != nullptr) (void)api.wait(lines_.line(i));
}

namespace {

// Layers and parts in the order of a pass: backward both are counted from the end.
struct Order {
  const Wavefront& shape;
  bool backward;

  [[nodiscard]] std::size_t layer(std::size_t k) const {
    return backward ? shape.layers - 1 - k : k;
  }
  [[nodiscard]] Size parts() const { return (shape.steps + shape.part - 1) / shape.part; }
  [[nodiscard]] GpuSteps steps(Size p) const {
    const Size first = (backward ? parts() - 1 - p : p) * shape.part;
    return {first, std::min(shape.steps, first + shape.part)};
  }
};

// The whole device goes from layer to layer.
void layer_by_layer(const Order& order, const RunPart& run) {
  for (std::size_t k = 0; k < order.shape.layers; ++k)
    for (Size p = 0; p < order.parts(); ++p) run(order.layer(k), order.steps(p));
}

// Along the diagonals, the last line first: so a line has been given nothing beyond part p when the
// next one is to wait for that part.
void along_diagonals(const GpuLines& lines, const Order& order, const RunPart& run) {
  const std::size_t layers = order.shape.layers;
  const auto count = static_cast<Size>(lines.count());
  const auto line_of = [&](std::size_t k) { return lines.line_of(order.layer(k), layers); };
  for (Size diagonal = 0; diagonal < count + order.parts() - 1; ++diagonal) {
    for (std::size_t k = layers; k-- > 0;) {
      if (k > 0 && line_of(k) == line_of(k - 1)) continue;   // not the first of its line
      const std::size_t line = line_of(k);
      const Size p = diagonal - static_cast<Size>(order.backward ? lines.count() - 1 - line : line);
      if (p < 0 || p >= order.parts()) continue;
      if (k > 0) lines.after(line, line_of(k - 1));
      for (std::size_t mine = k; mine < layers && line_of(mine) == line; ++mine)
        run(order.layer(mine), order.steps(p));
    }
  }
}

void pass(const GpuLines& lines, const Order& order, const RunPart& run) {
  const Wavefront& shape = order.shape;
  OPS_CHECK(shape.steps > 0 && shape.part > 0 && lines.count() <= shape.layers);
  GpuLines::Together together(lines);
  if (lines.count() == 1) layer_by_layer(order, run);
  else along_diagonals(lines, order, run);
  together.end();
}

}  // namespace

void wavefront_forward(const GpuLines& lines, const Wavefront& shape, const RunPart& run) {
  pass(lines, {shape, false}, run);
}

void wavefront_backward(const GpuLines& lines, const Wavefront& shape, const RunPart& run) {
  pass(lines, {shape, true}, run);
}

// n parts, each started at the cost of r steps, take (n + L − 1)·(T/n + r) steps' time: least for
// n² = T·(L − 1)/r. A start is a persistent kernel's reading of its weights, some 10 µs where a
// step takes 3 to 5.
Size wavefront_part(Size steps, std::size_t layers) {
  constexpr double kStart = 3;
  const double best =
      std::sqrt(static_cast<double>(steps) * static_cast<double>(layers - 1) / kStart);
  const Size parts = std::clamp<Size>(std::lround(best), 1, steps);
  return (steps + parts - 1) / parts;
}

namespace {

constexpr std::size_t kLinesMax = 8;   // each has a stream and a workspace of its own
constexpr Size kStepsFillTheDevice = 1024;   // units

std::size_t deepest(std::size_t layers, std::size_t lines) { return (layers + lines - 1) / lines; }

// In n lines a layer has an n-th of the processors.
//   Persistent on the whole device: its share must still hold the kernel (else it would go step by
//   step, much slower and in other bits), and the line with the most layers may do no more work
//   than all layers one after another would. Then nothing is lost, and what a lone layer spends
//   waiting for its blocks' flags, about half of a short step, is won.
//   Step by step: the products of a step leave processors idle, and lines fill them, up to about
//   1024 units; beyond, one layer's product fills the device, and the weights of several layers
//   drive one another out of its cache.
bool pays(Gpu& gpu, cuda::LayerSpec layer, std::size_t lines, std::size_t layers, Size batch) {
  cuda::LayerPlan whole{}, share{};
  layer.processors = 0;
  must(gpu.entries().layer_plan(gpu.context(), &layer, batch, &whole));
  layer.processors = std::max(processors_of(gpu) / static_cast<std::int32_t>(lines), 1);
  must(gpu.entries().layer_plan(gpu.context(), &layer, batch, &share));
  if (whole.persistent != share.persistent) return false;
  if (whole.persistent == 0) return layer.hidden <= kStepsFillTheDevice;
  return static_cast<Size>(deepest(layers, lines)) * share.step_tiles <=
         static_cast<Size>(layers) * whole.step_tiles;
}

}  // namespace

std::size_t lines_that_pay(Gpu& gpu, std::span<const cuda::LayerSpec> layers, Size steps,
                           Size batch) {
  if (layers.size() < 2 || wavefront_part(steps, layers.size()) >= steps) return 1;
  const std::size_t most = std::min({layers.size(), kLinesMax,
                                     static_cast<std::size_t>(processors_of(gpu))});
  for (std::size_t count = most; count > 1; --count) {
    if (deepest(layers.size(), count) == deepest(layers.size(), count - 1)) continue;
    if (std::all_of(layers.begin(), layers.end(), [&](const cuda::LayerSpec& layer) {
          return pays(gpu, layer, count, layers.size(), batch);
        }))
      return count;
  }
  return 1;
}

}  // namespace rondo::ops
