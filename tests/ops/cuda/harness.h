#pragma once

// What the GPU checks and the GPU benchmark share: device memory with an owner, tensors to and from
// the device, and the comparison with a reference in double.

#include <cstdint>
#include <cstdio>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <rondo/ops/gpu_buffer.h>
#include <rondo/ops/tensor.h>

namespace rondo::ops::gpu_check {

using cuda::Entries;
using cuda::Precision;

// A GpuFault ends the check that met it.

// Device memory. Fresh memory is filled with ones in all bits: as floats, NaN.
class Buffer : public GpuBuffer {
 public:
  Buffer(Gpu& gpu, std::size_t bytes) : GpuBuffer(gpu, bytes) { poison(); }
  template <class T>
  Buffer(Gpu& gpu, const Tensor<T>& from)
      : Buffer(gpu, static_cast<std::size_t>(from.count()) * sizeof(T)) {
    set(from);
  }

  void poison() { fill(0xff); }
  template <class T>
  void set(const Tensor<T>& from) {
    GpuBuffer::set(std::span<const T>(from.data(), static_cast<std::size_t>(from.count())));
  }
  template <class T>
  [[nodiscard]] Tensor<T> get(Shape shape) const {
    Tensor<T> to(shape);
    GpuBuffer::get(std::span<T>(to.data(), static_cast<std::size_t>(to.count())));
    return to;
  }
};

struct Output {
  std::string name;
  Tensor<float> got;
  Tensor<double> wanted;
};

// Counts checks. A check computes its outputs anew each time it is asked; it is asked twice, and
// the two must have the same bits. ‖got − wanted‖ / ‖wanted‖ must not exceed the tolerance.
class Harness {
 public:
  struct Options {
    std::uint64_t seed = 0;
    std::string filter;    // part of the names of the checks that run
    bool small = false;    // without large layers: for a device that is emulated
    int one_in = 1;        // of the recurrent layers' checks, chosen by their names
  };
  Harness(Gpu& gpu, const Options& options) : gpu_(gpu), options_(options) {}
  [[nodiscard]] Gpu& gpu() const { return gpu_; }
  [[nodiscard]] const Entries& api() const { return gpu_.entries(); }
  [[nodiscard]] cuda::Context* context() const { return gpu_.context(); }
  [[nodiscard]] std::uint64_t seed() const { return options_.seed; }
  [[nodiscard]] bool small() const { return options_.small; }
  [[nodiscard]] bool wanted(const std::string& name) const;

  void check(const std::string& name, double tolerance,
             const std::function<std::vector<Output>()>& outputs);
  void claim(const std::string& name, bool holds);
  // Runs one case; a fault is its failure, and the next case runs.
  void attempt(const std::string& name, const std::function<void()>& run);
  int finish() const;   // prints the summary; 0 if all held

 private:
  Gpu& gpu_;
  Options options_;
  int checks_ = 0, failures_ = 0;
  double worst_ = 0;   // of error / tolerance
  std::string worst_name_;
};

inline constexpr double kFloatTolerance = 1e-5;   // of whole tensors, by norm
inline constexpr double kTf32Tolerance = 2e-3;    // products of 10-bit mantissas
inline constexpr double kBf16Tolerance = 1e-2;
inline double tolerance_of(Precision p) {
  if (p == Precision::kFloat32) return kFloatTolerance;
  return p == Precision::kTf32 ? kTf32Tolerance : kBf16Tolerance;
}

Tensor<double> widened(const Tensor<float>&);
void round_to_bf16(Tensor<float>&);

void check_flat(Harness&);
void check_losses(Harness&);
void check_rows(Harness&);
void check_products(Harness&);
void check_recurrent(Harness&);
void check_scans(Harness&);
void check_wavefronts(Harness&);
void check_transfer(Harness&);

}  // namespace rondo::ops::gpu_check
