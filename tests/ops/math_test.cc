#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {
namespace {

enum Function { kExp, kTanh, kLogistic, kLog };

double exact(Function f, double x) {
  if (f == kExp) return std::exp(x);
  if (f == kTanh) return std::tanh(x);
  return f == kLogistic ? 1 / (1 + std::exp(-x)) : std::log(x);
}

std::vector<float> evaluated(Isa isa, Function f, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  kernel_table(isa).map(f, x.data(), static_cast<std::int64_t>(x.size()), y.data());
  return y;
}

std::vector<float> points(double low, double high, int count) {
  std::vector<float> x;
  for (int i = 0; i <= count; ++i)
    x.push_back(static_cast<float>(low + (high - low) * i / count));
  for (double tiny = 1e-1; tiny > 1e-30; tiny *= 0.37)
    for (const double v : {tiny, -tiny})
      if (v >= low && v <= high) x.push_back(static_cast<float>(v));
  return x;
}

// The largest error in units of the last place of the exact value, rounded to float.
double worst_ulp(Function f, double low, double high) {
  const auto x = points(low, high, 400000);
  const auto y = evaluated(isa_in_use(), f, x);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double e = exact(f, static_cast<double>(x[i]));
    const float rounded = std::abs(static_cast<float>(e));
    const auto ulp = static_cast<double>(std::nextafter(rounded, 1e38F) - rounded);
    worst = std::max(worst, std::abs(static_cast<double>(y[i]) - e) / ulp);
  }
  return worst;
}

TEST(MathTest, ErrorsStayBelowWhatTheHeaderStates) {
  EXPECT_LE(worst_ulp(kExp, -87, 87), 1.1);
  EXPECT_LE(worst_ulp(kTanh, -10, 10), 2.6);
  EXPECT_LE(worst_ulp(kLogistic, -80, 80), 2.5);
  EXPECT_LE(worst_ulp(kLog, 1, 1e6), 2);
  EXPECT_LE(worst_ulp(kLog, 1e-6, 2), 2);
  std::printf("ulp: exp %.3f tanh %.3f logistic %.3f log %.3f %.3f\n", worst_ulp(kExp, -87, 87),
              worst_ulp(kTanh, -10, 10), worst_ulp(kLogistic, -80, 80), worst_ulp(kLog, 1, 1e6),
              worst_ulp(kLog, 1e-6, 2));
}

TEST(MathTest, EveryInstructionSetGivesTheSameBits) {
  auto x = points(-100, 100, 30000);
  for (const float special : {0.0F, -0.0F, 1e30F, -1e30F, 1e-40F, HUGE_VALF, -HUGE_VALF})
    x.push_back(special);
  for (const Function f : {kExp, kTanh, kLogistic, kLog}) {
    auto in = x;
    if (f == kLog)
      for (float& v : in) v = std::max(std::abs(v), 1e-30F);
    const auto wanted = evaluated(Isa::kGeneric, f, in);
    for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
      if (!isa_runs_here(isa)) continue;
      EXPECT_EQ(0, std::memcmp(evaluated(isa, f, in).data(), wanted.data(),
                               wanted.size() * sizeof(float)))
          << f << " " << kernel_table(isa).name;
    }
  }
}

TEST(MathTest, NotANumberTravelsAndEndsSaturate) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x = {nan, 1000, -1000, HUGE_VALF, -HUGE_VALF, 0};
  for (const Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    if (!isa_runs_here(isa)) continue;
    for (const Function f : {kExp, kTanh, kLogistic})
      EXPECT_TRUE(std::isnan(evaluated(isa, f, x)[0])) << kernel_table(isa).name;
    EXPECT_EQ(evaluated(isa, kTanh, x)[1], 1.0F);
    EXPECT_EQ(evaluated(isa, kTanh, x)[4], -1.0F);
    EXPECT_EQ(evaluated(isa, kTanh, x)[5], 0.0F);
    EXPECT_EQ(evaluated(isa, kExp, x)[5], 1.0F);
    EXPECT_EQ(evaluated(isa, kLogistic, x)[3], 1.0F);
    EXPECT_LT(evaluated(isa, kLogistic, x)[2], 1e-37F);
    EXPECT_TRUE(std::isfinite(evaluated(isa, kExp, x)[3]));
  }
}

}  // namespace
}  // namespace rondo::ops
