#pragma once

// What the GPU checks and the GPU benchmark share: device memory with an owner, tensors to and from
// the device, and the comparison with a reference in double.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <rondo/ops/gpu.h>
#include <rondo/ops/tensor.h>

namespace rondo::ops::gpu_check {

using cuda::Entries;
using cuda::Precision;

// A fault of the GPU ends the check that met it.
inline void must(cuda::Fault fault) {
  if (fault != nullptr) throw std::runtime_error(fault);
}

// Device memory. Fresh memory is filled with ones in all bits: as floats, NaN.
class Buffer {
 public:
  Buffer(Gpu& gpu, std::size_t bytes) : gpu_(gpu), bytes_(bytes) {
    must(gpu.entries().allocate(gpu.context(), bytes, &data_));
    poison();
  }
  template <class T>
  Buffer(Gpu& gpu, const Tensor<T>& from) : Buffer(gpu, bytes_of(from)) {
    set(from);
  }
  ~Buffer() { (void)gpu_.entries().release(gpu_.context(), data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void poison() { must(gpu_.entries().fill(gpu_.context(), data_, 0xff, bytes_)); }
  template <class T>
  void set(const Tensor<T>& from) {
    if (from.count() > 0)
      must(gpu_.entries().copy_in(gpu_.context(), data_, from.data(), bytes_of(from)));
  }
  template <class T>
  [[nodiscard]] Tensor<T> get(Shape shape) const {
    Tensor<T> to(shape);
    if (to.count() > 0)
      must(gpu_.entries().copy_out(gpu_.context(), to.data(), data_, bytes_of(to)));
    return to;
  }
  [[nodiscard]] float* f() const { return static_cast<float*>(data_); }
  [[nodiscard]] double* d() const { return static_cast<double*>(data_); }
  [[nodiscard]] std::int32_t* i() const { return static_cast<std::int32_t*>(data_); }
  [[nodiscard]] void* raw() const { return data_; }

 private:
  template <class T>
  static std::size_t bytes_of(const Tensor<T>& t) {
    return static_cast<std::size_t>(t.count()) * sizeof(T);
  }
  Gpu& gpu_;
  std::size_t bytes_;
  void* data_ = nullptr;
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
  };
  Harness(Gpu& gpu, const Options& options) : gpu_(gpu), options_(options) {}
  [[nodiscard]] Gpu& gpu() const { return gpu_; }
  [[nodiscard]] const Entries& api() const { return gpu_.entries(); }
  [[nodiscard]] cuda::Context* context() const { return gpu_.context(); }
  [[nodiscard]] std::uint64_t seed() const { return options_.seed; }
  [[nodiscard]] bool small() const { return options_.small; }
  [[nodiscard]] bool wanted(const std::string& name) const {
    return name.find(options_.filter) != std::string::npos;
  }

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

}  // namespace rondo::ops::gpu_check
