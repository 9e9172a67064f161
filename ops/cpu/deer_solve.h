#pragma once

#include <rondo/ops/executor.h>
#include <rondo/ops/gemm.h>

// The dense linear recurrence s_t = A_t·s_{t−1} + b_t of N independent sequences, by an exact scan
// over blocks of 64 steps: the blocks' summaries (P, q), the carries one after another, and then
// each block from its carry. The bits depend on the shape alone. Work: T·N·S³.

namespace rondo::ops {

template <class T>
class DenseScan {
 public:
  static constexpr Dim kBlock = 64;   // steps

  // What the recurrence is made of; any thread may ask.
  struct Problem {
    virtual ~Problem() = default;
    // a [stride rows][stride]: A of this step, zero beyond the state; b [state].
    virtual void terms(Dim step, Dim sequence, T* a, Dim stride, T* b) const = 0;
    virtual void start(Dim sequence, T* s) const = 0;                 // s [state]
    virtual void put(Dim step, Dim sequence, const T* s) const = 0;
  };

  DenseScan(Dim state, const Executor&);
  void run(Dim steps, Dim batch, const Problem&);

 private:
  void summarize(const Problem&, Dim block, Dim sequence, Dim to, T* p, T* q) const;
  void walk(const Problem&, Dim from, Dim to, Dim sequence, T* s) const;

  const Dim state_, stride_;
  const Executor& executor_;
  GemmKernel<T> product_;
  Tensor<T> products_, locals_, carries_;
};

}  // namespace rondo::ops
