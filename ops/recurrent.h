#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <rondo/ops/executor.h>
#include <rondo/ops/lengths.h>
#include <rondo/ops/tensor.h>

// One recurrent layer over T steps: Elman (tanh, sigmoid, relu), LSTM or GRU, forward and backward.
//
//   T steps, N sequences, I inputs (with ids: the vocabulary), H hidden units, G gates (1, 4: i f
//   g o, 3: r z n), S the width of h. Parameters are PyTorch's: w_ih [G·H, I], w_hh [G·H, S],
//   b_ih [G·H], b_hh [G·H]. S is H; in an LSTM with a projection (PyTorch's proj_size) S is its
//   width, h = w_hr·(o·tanh c) with w_hr [S,H], and c keeps width H.
//
// A RecurrentLayer holds packed copies of the weights and scratch memory, no parameters: call
// pack() after every change of the weights, then forward and backward as often as wanted. What
// backward needs of forward lies in a RecurrentActivations, one for every microbatch in flight; it
// fits one (T, N). Nothing allocates after the first forward and backward of a shape.
// One call at a time on a layer. Bits do not depend on threads or on the instruction set.
// Sequences of different lengths run packed (lengths.h): activations made for Lengths take x, dy
// and dx as [rows, …] and give y as [rows, S]; states are [N, …] in the batch's order.
// Instantiated for float and double (double is for checks and slow).

namespace rondo::ops {

enum class Cell : std::uint8_t { kTanh, kSigmoid, kRelu, kLstm, kGru };
[[nodiscard]] int gate_count(Cell);

struct RecurrentSpec {
  Cell cell = Cell::kLstm;
  Dim inputs = 0;
  Dim hidden = 0;
  bool ids = false;   // the input is ids in [0, inputs): columns of w_ih are gathered
  Dim projection = 0;   // LSTM only; 0: none
  [[nodiscard]] Dim state() const { return projection > 0 ? projection : hidden; }
};

struct SequenceShape {
  Dim steps = 0;
  Dim batch = 0;
};

// RecurrentParams<const T>: weights. RecurrentParams<T>: their gradients. Shapes as above.
template <class T>
struct RecurrentParams {
  View<T> w_ih, w_hh, b_ih, b_hh;
  View<T> w_hr;   // with a projection only
};

// h [N,S] and, for LSTM only, c [N,H]. As input: an empty view means zeros. As output: an empty
// view is not written. May not alias the activations.
template <class T>
struct RecurrentState {
  View<T> h, c;
};

// Either dense [T,N,I] or ids [T,N], as the spec says; packed: [rows,I] or [rows]. The caller
// keeps it unchanged until backward is done.
template <class T>
struct RecurrentInput {
  View<const T> dense;
  View<const std::int32_t> ids;
};

// What forward leaves for backward: gate values, c and h of all steps. Backward consumes it.
template <class T>
class RecurrentActivations {
 public:
  RecurrentActivations(const RecurrentSpec&, SequenceShape);
  RecurrentActivations(const RecurrentSpec&, const Lengths&);
  ~RecurrentActivations();
  RecurrentActivations(RecurrentActivations&&) noexcept;
  RecurrentActivations& operator=(RecurrentActivations&&) noexcept;
  [[nodiscard]] static std::size_t bytes(const RecurrentSpec&, SequenceShape);

  [[nodiscard]] SequenceShape shape() const;      // T: the longest sequence
  [[nodiscard]] const Lengths& lengths() const;
  // [T,N,S] or, packed, [rows,S]: the layer's output; valid after forward.
  [[nodiscard]] View<const T> y() const;
  [[nodiscard]] View<const T> h_last() const;     // [N,S], its last step; equal lengths only

  struct Storage;
  [[nodiscard]] Storage& storage() { return *storage_; }

 private:
  std::unique_ptr<Storage> storage_;
};

// kAdd: gradient = gradient + new; the new sum is complete before it is added.
enum class GradientMode : std::uint8_t { kWrite, kAdd };

enum class PackFor : std::uint8_t { kTraining, kForward };   // kForward: backward may not follow

template <class T>
class RecurrentLayer {
 public:
  RecurrentLayer(const RecurrentSpec&, const Executor&);   // the executor must outlive the layer
  ~RecurrentLayer();
  RecurrentLayer(const RecurrentLayer&) = delete;
  RecurrentLayer& operator=(const RecurrentLayer&) = delete;

  [[nodiscard]] const RecurrentSpec& spec() const;
  void pack(const RecurrentParams<const T>& weights, PackFor use = PackFor::kTraining);

  // Reads x and first; writes the activations (so y()) and last.
  void forward(const RecurrentInput<T>& x, const RecurrentState<const T>& first,
               RecurrentActivations<T>&, const RecurrentState<T>& last);

  struct Backward {
    RecurrentInput<T> x;                    // as given to forward
    View<const T> dy;                       // [T,N,S]
    RecurrentState<const T> dlast;          // optional: gradients that flow in at the end
    View<T> dx;                             // [T,N,I], written; optional (always empty with ids)
    RecurrentState<T> dfirst;               // optional: gradients of the first state, written
    RecurrentParams<T> grads;               // written or added to, all of them
    GradientMode mode = GradientMode::kWrite;
  };
  // No output may alias an input. Consumes the activations' gate values (y() stays).
  void backward(const Backward&, RecurrentActivations<T>&);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rondo::ops
