#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <rondo/ops/recurrent.h>

// A nonlinear recurrent layer solved for all time steps at once (DEER, arXiv 2309.12252).
//
// The loop h_t = f(h_{t−1}, x_t) is a system of equations for the whole trajectory. Newton's method
// evaluates f and its Jacobian at all steps together, which is one large product instead of T small
// ones, and then solves a linear recurrence by a scan over blocks of time. The full form takes the
// whole Jacobian (T·S³ work, S = H or, for an LSTM, 2H: for H <= 64); the diagonal form its
// diagonal only (quasi-DEER, arXiv 2407.19115): cheaper iterations, and more of them.
// The gradient is the same recurrence backwards, which is linear: the full form solves it at once.
//
// An answer is verified: no |h_t − f(h_{t−1}, x_t)| is above the tolerance, or the loop runs
// instead and the report says so in words. An option, not the default: the loop is exact and
// cheaper wherever the batch is large. Elman, LSTM without a projection, GRU; sequences of one
// length. Bits depend on shapes and values only, not on threads; they are not the loop's.
// One call at a time on a layer; the executor must outlive it. Wrong shapes abort.

namespace rondo::ops {

enum class DeerForm : std::uint8_t { kAuto, kFull, kDiagonal };   // kAuto: full up to H 64

struct DeerOptions {
  DeerForm form = DeerForm::kAuto;
  double tolerance = 1e-5;
  int iterations = 50;   // at most
};

struct DeerReport {
  bool converged = false;   // false: the loop gave the result
  int iterations = 0;
  double residual = 0;      // of the last iteration
  std::string words;        // why the loop ran; empty if it did not
};

template <class T>
class DeerActivations {
 public:
  DeerActivations(const RecurrentSpec&, SequenceShape);
  ~DeerActivations();
  DeerActivations(DeerActivations&&) noexcept;
  [[nodiscard]] View<const T> y() const;   // [T,N,H], valid after forward

  struct Storage;
  [[nodiscard]] Storage& storage() { return *storage_; }

 private:
  std::unique_ptr<Storage> storage_;
};

template <class T>
class DeerLayer {
 public:
  DeerLayer(const RecurrentSpec&, const Executor&, const DeerOptions& = {});
  ~DeerLayer();
  DeerLayer(const DeerLayer&) = delete;
  DeerLayer& operator=(const DeerLayer&) = delete;

  void pack(const RecurrentParams<const T>& weights);

  // As RecurrentLayer's; backward consumes the activations, but y() stays.
  DeerReport forward(const RecurrentInput<T>& x, const RecurrentState<const T>& first,
                     DeerActivations<T>&, const RecurrentState<T>& last);
  DeerReport backward(const typename RecurrentLayer<T>::Backward&, DeerActivations<T>&);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rondo::ops
