#include <rondo/ops/scan.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cases.h"

namespace rondo::ops {
namespace {

template <class T>
struct Scan {
  Scan(Dim t, Dim m) : steps(t), lanes(m) {
    cases::draw(a, {t, m}, 1, 1, 0);
    cases::draw(b, {t, m}, 1, 1, 1);
    cases::draw(h, {t + 1, m}, 1, 1, 2);
    cases::draw(dh, {t, m}, 1, 1, 3);
    cases::draw(carry, {m}, 1, 1, 4);
    da = Tensor<T>(a.shape()), db = Tensor<T>(a.shape());
  }
  void run(const Executor& executor) {
    linear_scan_forward<T>(executor, a, b, h, scratch);
    const Tensor<T> old = carry;
    linear_scan_backward<T>(executor, {a, h, dh, da, db, carry}, scratch);
    dfirst = carry;
    carry = old;
  }
  Dim steps, lanes;
  Tensor<T> a, b, h, dh, carry, da, db, dfirst, scratch;
};

struct Size {
  Dim steps, lanes;
};
class ScanTest : public testing::TestWithParam<Size> {};

TEST_P(ScanTest, FollowsTheLoopForwardAndBackward) {
  const auto [steps, lanes] = GetParam();
  for (const int threads : {1, 2}) {
    Scan<double> s(steps, lanes);
    s.run(Executor(threads));
    Tensor<double> h({lanes}), carry = s.carry;
    std::copy_n(s.h.data(), lanes, h.data());
    for (Dim i = 0; i < steps * lanes; ++i) {
      const Dim lane = i % lanes;
      h[lane] = s.a[i] * h[lane] + s.b[i];
      ASSERT_NEAR(s.h[i + lanes], h[lane], 1e-12) << i;
    }
    for (Dim i = steps * lanes - 1; i >= 0; --i) {
      const Dim lane = i % lanes;
      const double g = s.dh[i] + carry[lane];
      ASSERT_NEAR(s.db[i], g, 1e-12) << i;
      ASSERT_NEAR(s.da[i], g * s.h[i], 1e-12) << i;
      carry[lane] = s.a[i] * g;
    }
    for (Dim lane = 0; lane < lanes; ++lane) ASSERT_NEAR(s.dfirst[lane], carry[lane], 1e-12);
  }
}

// One strip among three threads takes the path by blocks, many strips the other one.
TEST_P(ScanTest, EveryNumberOfThreadsGivesTheSameBits) {
  const auto [steps, lanes] = GetParam();
  Scan<float> one(steps, lanes);
  one.run(Executor(1));
  for (const int threads : {2, 3}) {
    Scan<float> more(steps, lanes);
    more.run(Executor(threads));
    for (const auto& [x, y] : {std::pair{&one.h, &more.h}, {&one.da, &more.da},
                               {&one.db, &more.db}, {&one.dfirst, &more.dfirst}})
      EXPECT_EQ(0, std::memcmp(x->data(), y->data(),
                               static_cast<std::size_t>(x->count()) * sizeof(float)));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ScanTest,
                         testing::Values(Size{1, 1}, Size{5, 3}, Size{256, 16}, Size{257, 7},
                                         Size{1000, 1}, Size{1025, 40}, Size{700, 600}));

// The product of the factors underflows after a few steps; what remains is the recent past.
TEST(ScanTest, FactorsNearZeroNeedNoLogarithms) {
  Scan<float> s(2000, 4);
  s.a.fill(1e-6F);
  s.b.fill(0.5F);
  s.run(Executor(2));
  for (Dim i = 4; i < s.h.count(); ++i) ASSERT_NEAR(s.h[i], 0.5F, 1e-5);
}

}  // namespace
}  // namespace rondo::ops
