#pragma once

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/executor.h>
#include <rondo/ops/tensor.h>

// How a scan over time is shared among threads. Strips of units first: each goes through all
// blocks alone and reads its memory once. Only where there are fewer strips than threads, time is
// cut too: all blocks' summaries, then the carries, then all blocks again. Both give the same bits.

namespace rondo::ops {

template <class T>
struct ScanJob {
  ScanCell cell = ScanCell::kPlain;
  bool backward = false;
  Dim steps = 0, batch = 0, units = 0;
  ScanRun<T> run;                 // as for the first step, sequence and unit
  T* carry = nullptr;             // [batch][units] in: what comes in; out: what leaves
};

template <class T>
void run_scan(const Executor&, const ScanJob<T>&, Tensor<T>& scratch);

}  // namespace rondo::ops
