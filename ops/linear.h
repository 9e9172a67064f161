#pragma once

#include <memory>

#include <rondo/ops/executor.h>
#include <rondo/ops/recurrent.h>
#include <rondo/ops/tensor.h>

// A fully connected layer: y = x·wᵀ + b.   R rows (T·N), I inputs, O outputs; w is PyTorch's
// [O,I], b [O].
//
// Holds a packed copy of the weights and scratch memory, no parameters: call pack() after every
// change. One call at a time on a layer; the executor must outlive it. Nothing allocates after the
// first calls with a row count.

namespace rondo::ops {

template <class T>
struct LinearParams {
  View<T> weight;   // [O,I]
  View<T> bias;     // [O]
};

template <class T>
class LinearLayer {
 public:
  LinearLayer(Dim inputs, Dim outputs, const Executor&);
  ~LinearLayer();
  LinearLayer(const LinearLayer&) = delete;
  LinearLayer& operator=(const LinearLayer&) = delete;

  void pack(const LinearParams<const T>& weights, PackFor use = PackFor::kTraining);
  // x [R,I] (or [T,N,I]), y [R,O] written; may not alias.
  void forward(View<const T> x, View<T> y);

  // The same, and the gradient of x, for a caller that cuts rows among threads itself: they run in
  // the calling thread, any number at a time.
  void forward_here(View<const T> x, View<T> y) const;
  void input_gradient_here(View<const T> dy, View<T> dx) const;

  // dx [R,I] written, optional; grads written or added to. No output may alias an input.
  void backward(View<const T> x, View<const T> dy, View<T> dx, const LinearParams<T>& grads,
                GradientMode mode = GradientMode::kWrite);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rondo::ops
