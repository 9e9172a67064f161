#pragma once

#include <cstdint>
#include <memory>

#include <rondo/ops/executor.h>
#include <rondo/ops/recurrent.h>
#include <rondo/ops/tensor.h>

// minGRU and minLSTM (Feng et al. 2024, arXiv 2410.01201): recurrent layers without a loop.
//
//   T steps, N sequences, I inputs, H units.
//   minGRU   z = σ(Wz·x), v = Wv·x                 h_t = (1 − z)·h_{t−1} + z·v
//   minLSTM  f = σ(Wf·x), i = σ(Wi·x), v = Wv·x    h_t = f/(f+i)·h_{t−1} + i/(f+i)·v
//   weight [G·H, I], bias [G·H]: G = 2 in the order z v, G = 3 in the order f i v.
//
// Gates do not look at h, so all products of all steps are one, and what is left is a linear
// recurrence with factors in (0,1): an exact scan over blocks of time (scan.h, which also says why
// no logarithms are needed), in one pass over the gates. v is taken as it is (the paper's
// sequential form), not through its positive function g, which only its log space needs.
// Memory, threads, bits and failures: as RecurrentLayer. One length a call. Ids instead of x gather
// columns of the weight; their gradient is a scatter-add in ascending order of rows.

namespace rondo::ops {

enum class MinCell : std::uint8_t { kMinGru, kMinLstm };
[[nodiscard]] int gate_count(MinCell);   // 2, 3

struct MinSpec {
  MinCell cell = MinCell::kMinGru;
  Dim inputs = 0, hidden = 0;
  bool ids = false;   // the input is ids in [0, inputs)
};

template <class T>
struct MinParams {
  View<T> weight, bias;
};

template <class T>
class MinActivations {
 public:
  MinActivations(const MinSpec&, SequenceShape);
  [[nodiscard]] SequenceShape shape() const { return shape_; }
  [[nodiscard]] View<const T> y() const;   // [T,N,H], valid after forward

 private:
  template <class>
  friend class MinLayer;
  SequenceShape shape_;
  Tensor<T> gates_;   // [T,N,G·H]
  Tensor<T> h_;       // [T+1,N,H]
};

template <class T>
class MinLayer {
 public:
  MinLayer(const MinSpec&, const Executor&);   // the executor must outlive the layer
  ~MinLayer();
  MinLayer(const MinLayer&) = delete;
  MinLayer& operator=(const MinLayer&) = delete;

  void pack(const MinParams<const T>& weights, PackFor use = PackFor::kTraining);

  // x [T,N,I]; first [N,H], empty: zeros; last [N,H] written, optional.
  void forward(View<const T> x, View<const T> first, MinActivations<T>&, View<T> last);
  // The same with ids [T,N].
  void forward_ids(View<const std::int32_t> ids, View<const T> first, MinActivations<T>&,
                   View<T> last);

  struct Backward {
    View<const T> x, dy;       // [T,N,I] as given to forward; [T,N,H]
    View<const T> dlast;       // [N,H], optional
    View<T> dx, dfirst;        // [T,N,I], [N,H]: written; optional
    MinParams<T> grads;        // written or added to
    GradientMode mode = GradientMode::kWrite;
    View<const std::int32_t> ids = {};   // instead of x, as given to forward_ids; no dx then
  };
  // No output may alias an input. Consumes the activations' gates (y() stays).
  void backward(const Backward&, MinActivations<T>&);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rondo::ops
