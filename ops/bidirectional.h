#pragma once

#include <memory>

#include <rondo/ops/executor.h>
#include <rondo/ops/lengths.h>
#include <rondo/ops/recurrent.h>
#include <rondo/ops/tensor.h>

// A bidirectional layer: one recurrent layer reads each sequence forwards, a second one backwards,
// and y of a step is both side by side, [forward | reverse], as in PyTorch.
//
//   S the width of one direction's h. Parameters: PyTorch's weight_ih_l0, … are `forward`,
//   weight_ih_l0_reverse, … are `reverse`.
//
// The reverse layer starts at each sequence's own last step, so lengths may differ (lengths.h).
// dx is the forward layer's plus the reverse layer's. Rules for memory, threads and bits are those
// of RecurrentLayer; nothing is shared between the two directions but x.
// Not for text that is written from left to right: it would see the answer.

namespace rondo::ops {

template <class Part>
struct BothWays {
  Part forward, reverse;
};

template <class T>
class BidirectionalActivations {
 public:
  BidirectionalActivations(const RecurrentSpec&, const Lengths&);
  [[nodiscard]] const Lengths& lengths() const { return forward_.lengths(); }
  // [T,N,2S] or, packed, [rows,2S]; valid after forward.
  [[nodiscard]] View<const T> y() const { return y_.view(); }

 private:
  template <class>
  friend class BidirectionalLayer;
  RecurrentActivations<T> forward_, reverse_;
  Tensor<T> y_, x_reversed_;
  Tensor<std::int32_t> ids_reversed_;
};

template <class T>
class BidirectionalLayer {
 public:
  BidirectionalLayer(const RecurrentSpec&, const Executor&);   // the executor must outlive it
  ~BidirectionalLayer();
  BidirectionalLayer(const BidirectionalLayer&) = delete;
  BidirectionalLayer& operator=(const BidirectionalLayer&) = delete;

  void pack(const BothWays<RecurrentParams<const T>>& weights, PackFor use = PackFor::kTraining);

  // `last.forward` is the state after the last step, `last.reverse` that after the first.
  void forward(const RecurrentInput<T>& x, const BothWays<RecurrentState<const T>>& first,
               BidirectionalActivations<T>&, const BothWays<RecurrentState<T>>& last);

  struct Backward {
    RecurrentInput<T> x;                              // as given to forward
    View<const T> dy;                                 // shaped as y
    BothWays<RecurrentState<const T>> dlast;          // optional
    View<T> dx;                                       // written; optional
    BothWays<RecurrentState<T>> dfirst;               // optional, written
    BothWays<RecurrentParams<T>> grads;               // written or added to
    GradientMode mode = GradientMode::kWrite;
  };
  void backward(const Backward&, BidirectionalActivations<T>&);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rondo::ops
