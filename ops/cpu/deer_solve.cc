#include <rondo/ops/cpu/deer_solve.h>

#include <algorithm>
#include <utility>
#include <vector>

#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {

template <class T>
DenseScan<T>::DenseScan(Dim state, const Executor& executor)
    : state_(state), stride_((state + kTile - 1) / kTile * kTile), executor_(executor) {
  product_.reset({.columns = kTile, .depth = stride_, .lda = stride_, .ldb = stride_,
                  .ldc = stride_});
}

// s = A·s + b for steps [from, to).
template <class T>
void DenseScan<T>::walk(const Problem& problem, Dim from, Dim to, Dim sequence, T* s) const {
  Tensor<T> a({stride_, stride_}), b({state_}), next({state_});
  for (Dim t = from; t < to; ++t) {
    problem.terms(t, sequence, a.data(), stride_, b.data());
    for (Dim i = 0; i < state_; ++i) {
      T sum = b[i];
      for (Dim k = 0; k < state_; ++k) sum = sum + a[i * stride_ + k] * s[k];
      next[i] = sum;
    }
    std::copy_n(next.data(), state_, s);
    problem.put(t, sequence, s);
  }
}

// The block makes P·s + q of a state s before it.
template <class T>
void DenseScan<T>::summarize(const Problem& problem, Dim block, Dim sequence, Dim to, T* p,
                             T* q) const {
  Tensor<T> a({stride_, stride_}), b({state_}), next({stride_, stride_}), sum({state_});
  std::fill_n(p, stride_ * stride_, T(0));
  for (Dim i = 0; i < state_; ++i) p[i * stride_ + i] = T(1);
  std::fill_n(q, state_, T(0));
  for (Dim t = block * kBlock; t < to; ++t) {
    problem.terms(t, sequence, a.data(), stride_, b.data());
    for (Dim column = 0; column < stride_; column += kTile)
      product_(stride_, p + column, a.data(), next.data() + column);
    std::copy_n(next.data(), stride_ * stride_, p);
    for (Dim i = 0; i < state_; ++i) {
      sum[i] = b[i];
      for (Dim k = 0; k < state_; ++k) sum[i] = sum[i] + a[i * stride_ + k] * q[k];
    }
    std::copy_n(sum.data(), state_, q);
  }
}

template <class T>
void DenseScan<T>::run(Dim steps, Dim batch, const Problem& problem) {
  const Dim blocks = (steps + kBlock - 1) / kBlock, square = stride_ * stride_;
  ensure(products_, (blocks - 1) * batch * square);
  ensure(locals_, (blocks - 1) * batch * state_);
  ensure(carries_, blocks * batch * state_);
  executor_.run(static_cast<int>((blocks - 1) * batch), [&](int part) {
    const Dim block = part / batch;
    summarize(problem, block, part % batch, std::min(steps, (block + 1) * kBlock),
              products_.data() + part * square, locals_.data() + part * state_);
  });
  for (Dim sequence = 0; sequence < batch; ++sequence) {
    problem.start(sequence, carries_.data() + sequence * state_);
    for (Dim block = 0; block + 1 < blocks; ++block) {
      const Dim at = block * batch + sequence;
      const T *p = products_.data() + at * square, *s = carries_.data() + at * state_;
      T* next = carries_.data() + (at + batch) * state_;
      for (Dim i = 0; i < state_; ++i) {
        next[i] = locals_[at * state_ + i];
        for (Dim k = 0; k < state_; ++k) next[i] = next[i] + p[i * stride_ + k] * s[k];
      }
    }
  }
  executor_.run(static_cast<int>(blocks * batch), [&](int part) {
    const Dim block = part / batch;
    walk(problem, block * kBlock, std::min(steps, (block + 1) * kBlock), part % batch,
         carries_.data() + part * state_);
  });
}

template class DenseScan<float>;
template class DenseScan<double>;

}  // namespace rondo::ops
