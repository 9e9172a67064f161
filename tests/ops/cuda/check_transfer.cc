// Copies beside the line, and two values a number at a time.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "../cases.h"
#include "harness.h"

namespace rondo::ops::gpu_check {
namespace {

// Pinned host memory.
class Pinned {
 public:
  Pinned(Gpu& gpu, Dim count) : gpu_(gpu) {
    must(gpu.entries().allocate_host(gpu.context(), bytes(count), &data_));
    std::memset(data_, 0xff, bytes(count));
  }
  ~Pinned() { (void)gpu_.entries().release_host(gpu_.context(), data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  [[nodiscard]] float* f() const { return static_cast<float*>(data_); }
  static std::size_t bytes(Dim count) { return static_cast<std::size_t>(count) * sizeof(float); }

 private:
  Gpu& gpu_;
  void* data_ = nullptr;
};

// A copy takes what the line has made before it, also when it runs later, and what the line does
// after it does not show in it.
void copies(Harness& h, Dim count) {
  const std::string name = "copy_out_later_" + std::to_string(count);
  if (!h.wanted(name)) return;
  Tensor<float> numbers;
  cases::draw(numbers, {count}, 1, h.seed(), 1);
  const Buffer from(h.gpu(), numbers), other(h.gpu(), numbers);
  const Pinned first(h.gpu(), count), second(h.gpu(), count);
  const auto all = Pinned::bytes(count);
  must(h.api().scale(h.context(), from.f(), 2, count, other.f()));
  must(h.api().copy_out_later(h.context(), first.f(), other.f(), all));
  must(h.api().scale(h.context(), from.f(), 3, count, from.f()));   // the line goes on beside it
  must(h.api().after_copies(h.context()));
  must(h.api().scale(h.context(), from.f(), 1, count, other.f()));
  must(h.api().copy_out_later(h.context(), second.f(), other.f(), all));
  std::uint64_t number = 0;
  must(h.api().copies_begun(h.context(), &number));
  must(h.api().wait_for_copy(h.context(), number));
  bool twice = true, thrice = true;
  for (Dim i = 0; i < count; ++i) {
    twice = twice && first.f()[i] == 2 * numbers[i];
    thrice = thrice && second.f()[i] == 3 * numbers[i];
  }
  h.claim(name + "_first", twice);
  h.claim(name + "_second", thrice);
  int idle = 0;
  must(h.api().wait(h.context()));
  must(h.api().idle(h.context(), &idle));
  h.claim(name + "_idle", idle == 1);
}

template <class T>
void combined(Harness& h, cuda::Number number) {
  const std::string name = std::string("combine_") + (sizeof(T) == 4 ? "float32" : "float64");
  if (!h.wanted(name)) return;
  const Dim count = 1003;
  Tensor<T> left, right;
  cases::draw(left, {count}, 1, h.seed(), 2);
  cases::draw(right, {count}, 1, h.seed(), 3);
  left[5] = NAN, right[6] = NAN;
  const Buffer a(h.gpu(), left), b(h.gpu(), right), out(h.gpu(), left);
  for (const cuda::Joined how : {cuda::Joined::kSum, cuda::Joined::kMax}) {
    const cuda::Combine both{number, how, count, a.raw(), b.raw(), out.raw()};
    must(h.api().combine(h.context(), &both));
    const Tensor<T> got = out.get<T>({count});
    const bool sum = how == cuda::Joined::kSum;
    bool same = std::isnan(got[5]) && std::isnan(got[6]);
    for (Dim i = 7; i < count; ++i)
      same = same && got[i] == (sum ? left[i] + right[i] : std::max(left[i], right[i]));
    h.claim(name + (sum ? "_sum" : "_max"), same);
  }
}

}  // namespace

void check_transfer(Harness& h) {
  copies(h, 3);
  copies(h, h.small() ? 10'000 : 1 << 24);
  combined<float>(h, cuda::Number::kFloat32);
  combined<double>(h, cuda::Number::kFloat64);
}

}  // namespace rondo::ops::gpu_check
