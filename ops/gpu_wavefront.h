#pragma once

#include <functional>
#include <span>
#include <vector>

#include <rondo/ops/gpu.h>

// Layers of a stack as a wavefront: while a layer works on some steps, the layer above works on the
// steps before them (backward: the layer below on the steps after them). With parts of P of T steps
// and L layers a pass takes T/P + L − 1 parts' time instead of L · T/P (Appleyard et al. 2016,
// "Optimizing Performance of Recurrent Neural Networks on GPUs").
//
// GpuLines are lines of work on one device; the first is the Gpu's own. Consecutive layers share a
// line, at best each has its own. A layer is opened on its line's context, with processors() as its
// share, so that the persistent kernels of all lines are on the device side by side: a process has
// one GpuLines of several lines at work on a device. Everything else belongs to the Gpu.
// The parts are the same however many lines there are, so the bits are too, as long as a line's
// share of the processors still holds the persistent kernel (lines_that_pay sees to it). One
// thread at a time; faults are thrown as GpuFault (gpu_buffer.h). A pass puts work in line and
// returns; what is given to the Gpu afterwards comes after it, also where it has thrown.
// Not for reverse layers.

namespace rondo::ops {

class GpuLines {
 public:
  GpuLines(Gpu& gpu, std::size_t count);   // Requires: 0 < count <= the device's processors.
  ~GpuLines();
  GpuLines(const GpuLines&) = delete;
  GpuLines& operator=(const GpuLines&) = delete;

  [[nodiscard]] std::size_t count() const { return lines_.size(); }
  [[nodiscard]] cuda::Context* line(std::size_t i) const { return lines_[i]; }
  [[nodiscard]] std::int32_t processors() const { return processors_; }   // of one line
  [[nodiscard]] std::size_t line_of(std::size_t layer, std::size_t layers) const {
    return layer * count() / layers;
  }
  void after(std::size_t line, std::size_t other) const;   // in line behind it
  [[nodiscard]] Gpu& gpu() const { return gpu_; }

  // A time in which all lines work: they begin behind the first line's work, and what the first is
  // given after it comes behind theirs.
  class Together {
   public:
    explicit Together(const GpuLines& lines);
    ~Together();   // without an end(): something was thrown
    Together(const Together&) = delete;
    Together& operator=(const Together&) = delete;
    void end();

   private:
    const GpuLines& lines_;
    bool ended_ = false;
  };

 private:
  Gpu& gpu_;
  std::vector<cuda::Context*> lines_;
  std::int32_t processors_ = 0;
};

struct Wavefront {
  std::size_t layers = 1;   // not fewer than lines
  cuda::Size steps = 0, part = 0;
};
struct GpuSteps {   // [first, last)
  cuda::Size first = 0, last = 0;
};
using RunPart = std::function<void(std::size_t layer, GpuSteps part)>;

// Calls `run` for every part of every layer. It puts the part's work in the layer's line, where
// what it reads of the layer below (backward: above) has been waited for.
void wavefront_forward(const GpuLines&, const Wavefront&, const RunPart& run);
void wavefront_backward(const GpuLines&, const Wavefront&, const RunPart& run);

// Steps of a part, which the bits of products over its rows may depend on: by the shape alone.
[[nodiscard]] cuda::Size wavefront_part(cuda::Size steps, std::size_t layers);

// How many lines a stack of layers is given for sequences of `steps` steps. 1: each layer has the
// whole device, one after another.
[[nodiscard]] std::size_t lines_that_pay(Gpu&, std::span<const cuda::LayerSpec> layers,
                                         cuda::Size steps, cuda::Size batch);

}  // namespace rondo::ops
