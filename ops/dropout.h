#pragma once

#include <rondo/ops/executor.h>
#include <rondo/ops/random.h>
#include <rondo/ops/tensor.h>

// Dropout with inverted scaling: y = x / (1 − p) where an element is kept, else 0.
//
// The mask is never stored. Whether an element is kept is a function of (seed, step, tensor,
// number of the sequence in the whole batch, time, feature): one draw of random.h each. So the
// same elements are kept however the batch is cut into replicas, slices, threads or blocks of
// time, and a step that is done again after a failure drops the same ones. The gradient is the
// same function: dropout(dy) with the same options is dx.
// In evaluation (training = false) it copies. Any thread; wrong shapes abort.

namespace rondo::ops {

struct DropoutOptions {
  double probability = 0.5;   // of dropping, in [0, 1)
  bool training = true;
  RandomKey key;              // key.sample: the number of the first sequence here
  Dim first_time = 0;         // the number of the first time step here
};

// x [T,N,F] (or [N,F]: one time step) read, y written; y may be x itself. Time t, sequence n and
// feature f draw number (first_time + t)·4·⌈F/4⌉ + f of sample key.sample + n.
template <class T>
void dropout(const Executor&, const DropoutOptions&, In<T> x, View<T> y);

}  // namespace rondo::ops
