#include <rondo/ops/gemm.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include <rondo/ops/random.h>

namespace rondo::ops {
namespace {

Tensor<float> drawn(Dim count, std::uint32_t number) {
  Tensor<float> t(Shape{count});
  fill_uniform<float>({3, 0, 0, number}, -1, 1, t);
  return t;
}

// The definition: one fmaf after another, depth ascending.
void chain(const GemmShape& s, Dim rows, const float* a, const float* b, float* c) {
  for (Dim r = 0; r < rows; ++r) {
    for (Dim m = 0; m < s.columns; ++m) {
      float sum = s.accumulate ? c[r * s.ldc + m] : 0.0F;
      for (Dim k = 0; k < s.depth; ++k)
        sum = std::fmaf(a[k * s.lda + m], s.b_by_depth ? b[k * s.ldb + r] : b[r * s.ldb + k], sum);
      c[r * s.ldc + m] = sum;
    }
  }
}

void expect_chain(const GemmShape& s, Dim rows) {
  const Tensor<float> a = drawn(s.depth * s.lda, 1);
  const Tensor<float> b = drawn((s.b_by_depth ? s.depth : rows) * s.ldb, 2);
  Tensor<float> c = drawn(rows * s.ldc, 3), wanted = c;
  const GemmKernel<float> kernel(s);
  kernel(rows, a.data(), b.data(), c.data());
  chain(s, rows, a.data(), b.data(), wanted.data());
  ASSERT_EQ(0, std::memcmp(c.data(), wanted.data(),
                           static_cast<std::size_t>(c.count()) * sizeof(float)))
      << "columns " << s.columns << " depth " << s.depth << " rows " << rows << " by depth "
      << s.b_by_depth << " accumulate " << s.accumulate;
}

TEST(GemmTest, EveryOutputIsOneChainOfFusedMultiplyAdds) {
  for (const Dim columns : {32, 48, 64}) {
    for (const Dim depth : {1, 3, 16, 47, 64, 100, 256}) {
      for (const Dim rows : {1, 2, 3, 4, 5, 7, 8, 13, 16, 25, 31, 32, 50, 64, 65, 130}) {
        for (const bool accumulate : {false, true}) {
          expect_chain({columns, depth, columns, depth, columns, false, accumulate, false}, rows);
          expect_chain({columns, depth, 64, depth + 3, 80, false, accumulate, false}, rows);
          expect_chain({columns, depth, 64, rows + 5, columns, true, accumulate, false}, rows);
        }
      }
    }
  }
}

TEST(GemmTest, ADepthInBlocksIsTheSameChain) {
  const Dim depth = 48, blocks = 5, rows = 29;
  const Tensor<float> a = drawn(blocks * depth * 64, 1), b = drawn(blocks * rows * 64, 2);
  std::vector<std::uint64_t> a_offsets, b_offsets;
  for (Dim i = 0; i < blocks; ++i) {
    a_offsets.push_back(static_cast<std::uint64_t>(i * depth * 64) * sizeof(float));
    b_offsets.push_back(static_cast<std::uint64_t>(i * rows * 64) * sizeof(float));
  }
  for (const bool accumulate : {false, true}) {
    Tensor<float> batched = drawn(rows * 64, 3), stepwise = batched, wanted = batched;
    const GemmShape whole{64, depth, 64, 64, 64, false, accumulate, true};
    GemmKernel<float>(whole).batch(rows, a.data(), b.data(), batched.data(), blocks,
                                   a_offsets.data(), b_offsets.data());
    for (Dim i = 0; i < blocks; ++i) {
      GemmShape step = whole;
      step.batched = false;
      step.accumulate = accumulate || i > 0;
      const float* block_a = a.data() + i * depth * 64;
      const float* block_b = b.data() + i * rows * 64;
      const GemmKernel<float> kernel(step);
      kernel(rows, block_a, block_b, stepwise.data());
      chain(step, rows, block_a, block_b, wanted.data());
    }
    for (Dim i = 0; i < wanted.count(); ++i) {
      ASSERT_EQ(batched[i], wanted[i]);
      ASSERT_EQ(stepwise[i], wanted[i]);
    }
  }
}

}  // namespace
}  // namespace rondo::ops
