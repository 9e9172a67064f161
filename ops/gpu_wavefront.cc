#include <rondo/ops/gpu_wavefront.h>

#include <algorithm>

#include <rondo/ops/check.h>
#include <rondo/ops/gpu_buffer.h>

namespace rondo::ops {

using cuda::Size;

GpuLines::GpuLines(Gpu& gpu, std::size_t count) : gpu_(gpu) {
  OPS_CHECK(count > 0);
  std::int32_t all = 0;
  must(gpu.entries().processors(gpu.context(), &all));
  processors_ = std::max(all / static_cast<std::int32_t>(count), 1);
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

void GpuLines::begin() const {
  for (std::size_t i = 1; i < lines_.size(); ++i) after(i, 0);
}

void GpuLines::end() const {
  for (std::size_t i = 1; i < lines_.size(); ++i) after(0, i);
}

namespace {

// Calls run(k, part) for part `part` of the k-th layer to be reached, in an order in which a layer
// has been given nothing beyond part `part` when the next one is to wait for that part: along the
// diagonals, the last layer first.
template <class Run>
void along_diagonals(Size layers, Size parts, const Run& run) {
  for (Size diagonal = 0; diagonal < layers + parts - 1; ++diagonal)
    for (Size k = std::min(layers - 1, diagonal); k >= 0 && diagonal - k < parts; --k)
      run(k, diagonal - k);
}

Size parts_of(Size steps, Size part) { return (steps + part - 1) / part; }

}  // namespace

void wavefront_forward(const GpuLines& lines, std::span<const WavefrontLayer> layers,
                       std::span<const cuda::LayerForward> passes, Size steps, Size part) {
  OPS_CHECK(layers.size() == passes.size() && layers.size() <= lines.count() && part > 0);
  const cuda::Entries& api = lines.gpu().entries();
  lines.begin();
  along_diagonals(static_cast<Size>(layers.size()), parts_of(steps, part), [&](Size k, Size p) {
    const auto i = static_cast<std::size_t>(k);
    if (i > 0) lines.after(i, i - 1);
    cuda::LayerForward pass = passes[i];
    pass.first = p * part, pass.last = std::min(steps, (p + 1) * part);
    must(api.layer_forward(layers[i].layer, layers[i].activations, &pass));
  });
  lines.end();
}

void wavefront_backward(const GpuLines& lines, std::span<const WavefrontLayer> layers,
                        std::span<const cuda::LayerBackward> passes, Size steps, Size part) {
  OPS_CHECK(layers.size() == passes.size() && layers.size() <= lines.count() && part > 0);
  const cuda::Entries& api = lines.gpu().entries();
  const Size parts = parts_of(steps, part);
  lines.begin();
  along_diagonals(static_cast<Size>(layers.size()), parts, [&](Size k, Size p) {
    const std::size_t i = layers.size() - 1 - static_cast<std::size_t>(k);
    if (k > 0) lines.after(i, i + 1);
    cuda::LayerBackward pass = passes[i];
    pass.first = (parts - 1 - p) * part, pass.last = std::min(steps, pass.first + part);
    must(api.layer_backward(layers[i].layer, layers[i].activations, &pass));
  });
  lines.end();
}

}  // namespace rondo::ops
