#include "harness.h"

#include <cmath>
#include <cstring>

namespace rondo::ops::gpu_check {
namespace {

// Infinite where a NaN or an unequal shape is.
double distance(const Output& o) {
  if (o.got.count() != o.wanted.count()) return INFINITY;
  double error = 0, size = 0;
  for (Dim i = 0; i < o.got.count(); ++i) {
    const double e = static_cast<double>(o.got[i]) - o.wanted[i];
    error += e * e;
    size += o.wanted[i] * o.wanted[i];
  }
  if (!std::isfinite(error)) return INFINITY;
  return size > 0 ? std::sqrt(error / size) : std::sqrt(error);
}

bool same_bits(const Tensor<float>& a, const Tensor<float>& b) {
  return a.count() == b.count() &&
         (a.count() == 0 || std::memcmp(a.data(), b.data(),
                                        static_cast<std::size_t>(a.count()) * sizeof(float)) == 0);
}

}  // namespace

bool Harness::wanted(const std::string& name) const {
  if (name.find(options_.filter) == std::string::npos) return false;
  if (options_.one_in == 1 || !(name.starts_with("recurrent") || name.starts_with("wavefront")))
    return true;
  std::uint32_t hash = 2166136261U;   // FNV-1a
  for (const char c : name.substr(0, name.find(": ")))
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash % static_cast<std::uint32_t>(options_.one_in) == 0;
}

void Harness::check(const std::string& name, double tolerance,
                    const std::function<std::vector<Output>()>& outputs) {
  if (!wanted(name)) return;
  std::vector<Output> first, second;
  attempt(name, [&] { first = outputs(), second = outputs(); });
  if (second.size() != first.size()) return;
  for (std::size_t k = 0; k < first.size(); ++k) {
    const double error = distance(first[k]);
    const bool same = same_bits(first[k].got, second[k].got);
    ++checks_;
    if (error / tolerance > worst_) {
      worst_ = error / tolerance;
      worst_name_ = name + " " + first[k].name;
    }
    if (error <= tolerance && same) continue;
    ++failures_;
    std::printf("FAILED %s, %s: error %.3g of at most %.3g%s\n", name.c_str(),
                first[k].name.c_str(), error, tolerance, same ? "" : "; two runs differ in bits");
  }
}

void Harness::claim(const std::string& name, bool holds) {
  if (!wanted(name)) return;
  ++checks_;
  if (holds) return;
  ++failures_;
  std::printf("FAILED %s\n", name.c_str());
}

void Harness::attempt(const std::string& name, const std::function<void()>& run) {
  try {
    run();
  } catch (const std::runtime_error& fault) {
    ++checks_, ++failures_;
    std::printf("FAILED %s: %s\n", name.c_str(), fault.what());
  }
}

int Harness::finish() const {
  std::printf("%d tensors checked against double, %d failed; the nearest to its tolerance: %s "
              "(%.3g of it); seed %llu\n", checks_, failures_, worst_name_.c_str(), worst_,
              static_cast<unsigned long long>(options_.seed));
  return failures_ == 0 && checks_ > 0 ? 0 : 1;
}

Tensor<double> widened(const Tensor<float>& from) {
  Tensor<double> to(from.shape());
  for (Dim i = 0; i < from.count(); ++i) to[i] = static_cast<double>(from[i]);
  return to;
}

void round_to_bf16(Tensor<float>& t) {
  for (Dim i = 0; i < t.count(); ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &t[i], sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000U;
    std::memcpy(&t[i], &bits, sizeof bits);
  }
}

}  // namespace rondo::ops::gpu_check
