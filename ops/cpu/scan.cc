#include <rondo/ops/scan.h>

#include <algorithm>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/cpu/scan_driver.h>

namespace rondo::ops {
namespace {

constexpr Dim kStripMax = 2048;   // lanes of a strip: three buffers of them stay near

// The lanes (sequences × units) in strips that are as wide as they may be, for the sake of long
// runs of memory, but one for each thread at least where there are enough lanes. Bits do not
// depend on how strips are cut.
template <class T>
struct Strips {
  Strips(const ScanJob<T>& j, int threads) : job(j) {
    const Dim wanted = (job.units * job.batch + threads - 1) / threads;
    if (wanted >= job.units && job.units <= kStripMax) {   // whole sequences
      width = job.units;
      rows = std::min((wanted + width - 1) / width, kStripMax / width);
    } else {
      width = std::clamp<Dim>((wanted + 15) / 16 * 16, 16, kStripMax);
    }
    a_row = (job.units + width - 1) / width;
    count = a_row * ((job.batch + rows - 1) / rows);
    blocks = (job.steps + kScanBlock - 1) / kScanBlock;
  }

  // The n-th block in the order of the scan: backwards in time for a backward pass.
  [[nodiscard]] ScanRun<T> at(Dim strip, Dim n) const {
    const Dim sequence = strip / a_row * rows, unit = strip % a_row * width;
    const Dim block = job.backward ? blocks - 1 - n : n, t = block * kScanBlock;
    ScanRun<T> run = job.run;
    run.steps = std::min(kScanBlock, job.steps - t);
    run.rows = std::min(rows, job.batch - sequence);
    run.units = std::min(width, job.units - unit);
    for (int slot = 0; slot < 3; ++slot) {
      const Dim skip = t * run.stride + sequence * run.row_stride + unit;
      if (run.in[slot] != nullptr) run.in[slot] += skip;
      if (run.out[slot] != nullptr) run.out[slot] += skip;
    }
    const Dim skip = t * run.h_stride + sequence * run.h_row_stride + unit;
    if (run.h != nullptr) run.h += skip;
    if (run.dy != nullptr) run.dy += skip;
    if (run.h_before != nullptr) run.h_before += skip;
    return run;
  }
  [[nodiscard]] Dim carry_at(Dim strip) const {
    return strip / a_row * rows * job.units + strip % a_row * width;
  }
  [[nodiscard]] Dim lanes(Dim strip) const {
    const ScanRun<T> run = at(strip, 0);
    return run.rows * run.units;
  }

  const ScanJob<T>& job;
  Dim width = 0, rows = 1, a_row = 0, count = 0, blocks = 0;
};

template <class T>
void start_summary(ScanRun<T>& run, T* product, T* local) {
  run.product = product;
  run.local = local;
  std::fill_n(product, run.rows * run.units, T(1));
  std::fill_n(local, run.rows * run.units, T(0));
}

// carry = product·carry + local, as every path computes it.
template <class T>
void next_carry(Dim lanes, const T* product, const T* local, T* carry) {
  for (Dim u = 0; u < lanes; ++u) carry[u] = kernels<T>().fma1(product[u], carry[u], local[u]);
}

template <class T>
void one_strip(const Strips<T>& s, Dim strip) {
  const ScanKernels<T>& k = kernels<T>().scan[static_cast<int>(s.job.cell)];
  T product[kStripMax], local[kStripMax], start[kStripMax];
  T* carry = s.job.carry + s.carry_at(strip);
  const Dim lanes = s.lanes(strip);
  std::copy_n(carry, lanes, start);
  for (Dim n = 0; n < s.blocks; ++n) {
    ScanRun<T> run = s.at(strip, n);
    std::copy_n(start, lanes, carry);
    run.carry = carry;
    if (n + 1 < s.blocks) start_summary(run, product, local);
    (s.job.backward ? k.backward : k.forward)(run);
    kernels<T>().fence();
    if (n + 1 < s.blocks) next_carry(lanes, product, local, start);
  }
}

template <class T>
void all_blocks(const Executor& executor, const Strips<T>& s, Tensor<T>& scratch) {
  const ScanKernels<T>& k = kernels<T>().scan[static_cast<int>(s.job.cell)];
  const int parts = static_cast<int>(s.count * s.blocks);
  ensure(scratch, Dim{parts} * 3 * s.width);   // fewer strips than threads: rows is 1
  const auto buffer = [&](Dim part, Dim which) {
    return scratch.data() + (part * 3 + which) * s.width;
  };
  executor.run(parts, [&](int part) {
    ScanRun<T> run = s.at(part / s.blocks, part % s.blocks);
    start_summary(run, buffer(part, 0), buffer(part, 1));
    (s.job.backward ? k.back_summary : k.summary)(run);
  });
  for (Dim strip = 0; strip < s.count; ++strip) {
    const Dim units = s.at(strip, 0).units, first = strip * s.blocks;
    std::copy_n(s.job.carry + s.carry_at(strip), units, buffer(first, 2));
    for (Dim part = first; part + 1 < first + s.blocks; ++part) {
      std::copy_n(buffer(part, 2), units, buffer(part + 1, 2));
      next_carry(units, buffer(part, 0), buffer(part, 1), buffer(part + 1, 2));
    }
  }
  executor.run(parts, [&](int part) {
    ScanRun<T> run = s.at(part / s.blocks, part % s.blocks);
    run.raw = false;   // the first pass opened the gates
    run.carry = buffer(part, 2);
    (s.job.backward ? k.backward : k.forward)(run);
    kernels<T>().fence();
    if (part % s.blocks == s.blocks - 1)
      std::copy_n(run.carry, run.units, s.job.carry + s.carry_at(part / s.blocks));
  });
}

}  // namespace

template <class T>
void run_scan(const Executor& executor, const ScanJob<T>& job, Tensor<T>& scratch) {
  const Strips<T> strips(job, executor.threads());
  if (strips.count < executor.threads() && strips.blocks > 1)
    return all_blocks(executor, strips, scratch);
  executor.run(static_cast<int>(strips.count), [&](int strip) { one_strip(strips, strip); });
}

template <class T>
void linear_scan_forward(const Executor& executor, In<T> a, In<T> b, View<T> h,
                         Tensor<T>& scratch) {
  const Dim steps = a.dim(0), lanes = steps > 0 ? a.count() / steps : 0;
  OPS_CHECK(a.count() == steps * lanes && lanes > 0 && b.count() == a.count());
  OPS_CHECK(h.count() == (steps + 1) * lanes);
  Tensor<T> carry({lanes});
  std::copy_n(h.data(), lanes, carry.data());
  ScanJob<T> job{.steps = steps, .batch = 1, .units = lanes, .carry = carry.data()};
  job.run = {.stride = lanes, .in = {a.data(), b.data()}, .h = h.data() + lanes,
             .h_stride = lanes};
  job.run.stream = is_streamed(job.run.h, b.count(), lanes);
  run_scan(executor, job, scratch);
}

template <class T>
void linear_scan_backward(const Executor& executor, const LinearScanBackward<T>& b,
                          Tensor<T>& scratch) {
  const Dim lanes = b.carry.count(), steps = lanes > 0 ? b.a.count() / lanes : 0;
  OPS_CHECK(b.a.count() == steps * lanes && steps > 0 && b.dh.count() == b.a.count());
  OPS_CHECK(b.h.count() == (steps + 1) * lanes);
  OPS_CHECK(b.da.count() == b.a.count() && b.db.count() == b.a.count());
  ScanJob<T> job{.backward = true, .steps = steps, .batch = 1, .units = lanes,
                 .carry = b.carry.data()};
  job.run = {.stride = lanes, .in = {b.a.data()}, .out = {b.da.data(), b.db.data()},
             .dy = b.dh.data(), .h_before = b.h.data(), .h_stride = lanes};
  job.run.stream = b.da.data() != b.a.data() && b.db.data() != b.dh.data() &&
                   is_streamed(b.da.data(), b.a.count(), lanes) &&
                   is_streamed(b.db.data(), b.a.count(), lanes);
  run_scan(executor, job, scratch);
}

#define RONDO_INSTANTIATE(T)                                                                     \
  template void run_scan(const Executor&, const ScanJob<T>&, Tensor<T>&);                        \
  template void linear_scan_forward(const Executor&, In<T>, In<T>, View<T>, Tensor<T>&);         \
  template void linear_scan_backward(const Executor&, const LinearScanBackward<T>&, Tensor<T>&);
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
