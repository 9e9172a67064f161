#include <rondo/ops/random.h>

#include <gtest/gtest.h>

namespace rondo::ops {
namespace {

// The known answers that come with Random123.
TEST(RandomTest, PhiloxGivesTheKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<std::uint32_t, 4>{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}));
  EXPECT_EQ(philox4x32({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U},
                       {0xa4093822U, 0x299f31d0U}),
            (std::array<std::uint32_t, 4>{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U}));
}

TEST(RandomTest, EveryPartOfTheKeyChangesTheNumbers) {
  const RandomKey base{5, 6, 7, 8};
  for (const RandomKey other : {RandomKey{4, 6, 7, 8}, RandomKey{5, 5, 7, 8}, RandomKey{5, 6, 6, 8},
                                RandomKey{5, 6, 7, 7}, RandomKey{5 + (1ULL << 40), 6, 7, 8}})
    EXPECT_NE(random_bits(base, 3), random_bits(other, 3));
}

TEST(RandomTest, UniformFillsItsRangeEvenly) {
  Tensor<float> t(Shape{100000});
  fill_uniform<float>({1, 0, 0, 0}, -0.08, 0.08, t);
  double sum = 0, squares = 0;
  for (const float v : t.view().span()) {
    ASSERT_GE(v, -0.08F);
    ASSERT_LE(v, 0.08F);
    sum += v;
    squares += static_cast<double>(v) * v;
  }
  EXPECT_NEAR(sum / 1e5, 0, 6e-4);                          // four standard deviations
  EXPECT_NEAR(squares / 1e5, 0.08 * 0.08 / 3, 3e-5);
}

TEST(RandomTest, NormalHasMeanZeroAndVarianceOne) {
  double sum = 0, squares = 0;
  for (std::uint64_t i = 0; i < 50000; ++i) {
    const double v = random_normal({2, 0, 0, 0}, i);
    sum += v;
    squares += v * v;
  }
  EXPECT_NEAR(sum / 5e4, 0, 0.02);
  EXPECT_NEAR(squares / 5e4, 1, 0.03);
}

TEST(RandomTest, FloatIsTheRoundedDouble) {
  Tensor<float> f(Shape{1000});
  Tensor<double> d(Shape{1000});
  fill_uniform<float>({9, 1, 2, 3}, -1, 3, f);
  fill_uniform<double>({9, 1, 2, 3}, -1, 3, d);
  for (Dim i = 0; i < f.count(); ++i) EXPECT_EQ(f[i], static_cast<float>(d[i]));
}

}  // namespace
}  // namespace rondo::ops
