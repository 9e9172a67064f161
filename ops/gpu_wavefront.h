#pragma once

#include <memory>
#include <span>
#include <vector>

#include <rondo/ops/gpu.h>

// Layers of a stack as a wavefront: while a layer works on some steps, the layer above works on the
// steps before them (backward: the layer below on the steps after them). With parts of P of T steps
// and L layers a pass takes T/P + L − 1 parts' time instead of L · T/P (Appleyard et al. 2016,
// "Optimizing Performance of Recurrent Neural Networks on GPUs").
//
// GpuLines are lines of work on one device, one for each layer; the first is the Gpu's own. A layer
// is opened on its line's context, with processors() as its share, so that the persistent kernels
// of all layers are on the device side by side. Everything else belongs to the Gpu.
// The parts of a layer are the same whether layers run after one another or as a wavefront, so the
// bits are too, as long as a line's share of the processors still holds the persistent kernel. One
// thread at a time; faults are thrown as GpuFault (gpu_buffer.h). Both calls put work in line and
// return; what is given to the Gpu afterwards comes after it.
// Not for reverse layers, and of no use to a single one.

namespace rondo::ops {

class GpuLines {
 public:
  GpuLines(Gpu& gpu, std::size_t count);   // Requires: count > 0.
  ~GpuLines();
  GpuLines(const GpuLines&) = delete;
  GpuLines& operator=(const GpuLines&) = delete;

  [[nodiscard]] std::size_t count() const { return lines_.size(); }
  [[nodiscard]] cuda::Context* line(std::size_t i) const { return lines_[i]; }
  [[nodiscard]] std::int32_t processors() const { return processors_; }   // of one line

  void begin() const;   // all lines wait for the first
  void end() const;     // the first waits for all
  void after(std::size_t line, std::size_t other) const;   // in line behind it

  [[nodiscard]] Gpu& gpu() const { return gpu_; }

 private:
  Gpu& gpu_;
  std::vector<cuda::Context*> lines_;
  std::int32_t processors_ = 0;
};

struct WavefrontLayer {   // layer i of a stack, opened on line i
  cuda::Layer* layer;
  cuda::Activations* activations;
};

// Whole passes, cut into parts here: forward[i].x is layer i − 1's y; backward[i].dy is layer
// i + 1's dx. Requires: as many passes as layers, not more layers than lines.
void wavefront_forward(const GpuLines&, std::span<const WavefrontLayer>,
                       std::span<const cuda::LayerForward>, cuda::Size steps, cuda::Size part);
void wavefront_backward(const GpuLines&, std::span<const WavefrontLayer>,
                        std::span<const cuda::LayerBackward>, cuda::Size steps, cuda::Size part);

// Steps of a part that leave a persistent kernel's start small beside its work.
inline constexpr cuda::Size kWavefrontPart = 32;

}  // namespace rondo::ops
