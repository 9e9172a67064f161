#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/dropout.h>
#include <rondo/ops/elementwise.h>
#include <rondo/ops/embedding.h>
#include <rondo/ops/layer_norm.h>
#include <rondo/ops/loss.h>
#include <rondo/ops/optimizer.h>
#include <rondo/ops/scan.h>

// Large results go past the caches. They must be those of the ordinary stores, which an op takes
// when its result does not begin on a cache line.

namespace rondo::ops {
namespace {

constexpr Dim kRows = 4099, kWidth = 1024, kCount = kRows * kWidth;

Tensor<float> drawn(Shape shape, std::uint32_t number) {
  Tensor<float> t(shape);
  fill_uniform<float>({11, 0, 0, number}, -0.9, 0.9, t);
  return t;
}

// Room for a result of `count` at a line's beginning or one element after it.
struct Result {
  explicit Result(Dim count, Shape s) : shape(s), room({count + 1}) {}
  View<float> at(int offset) { return {room.data() + offset, shape}; }
  Shape shape;
  Tensor<float> room;
};

// run(first, second, offset) writes up to two results.
void expect_same(const std::function<void(View<float>, View<float>)>& run,
                 Shape shape = {kRows, kWidth}) {
  const Dim count = shape.count();
  Result a(count, shape), b(count, shape), c(count, shape), d(count, shape);
  ASSERT_TRUE(is_streamed(a.at(0).data(), count));
  ASSERT_FALSE(is_streamed(c.at(1).data(), count));
  run(a.at(0), b.at(0));
  run(c.at(1), d.at(1));
  const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
  EXPECT_EQ(0, std::memcmp(a.at(0).data(), c.at(1).data(), bytes));
  EXPECT_EQ(0, std::memcmp(b.at(0).data(), d.at(1).data(), bytes));
}

class StreamedTest : public testing::TestWithParam<int> {
 protected:
  const Executor executor{GetParam()};
  const Tensor<float> x = drawn({kRows, kWidth}, 1), y = drawn({kRows, kWidth}, 2);
};

TEST_P(StreamedTest, ElementwiseOpsAndLossesHaveTheBitsOfOrdinaryStores) {
  expect_same([&](View<float> a, View<float> b) {
    add<float>(executor, x, y, a);
    scale<float>(executor, x, 1.7, b);
  });
  Tensor<float> losses({kRows});
  Tensor<std::int32_t> targets({kRows});
  for (Dim i = 0; i < kRows; ++i) targets[i] = static_cast<std::int32_t>(i * 31 % kWidth);
  double error[2], loss[2];
  int n = 0;
  expect_same([&](View<float> a, View<float> b) {
    error[n] = squared_error<float>(executor, x, y, 0.3, a);
    loss[n++] = softmax_cross_entropy<float>(executor, x, targets, 1e-3, losses, b);
  });
  EXPECT_EQ(error[0], error[1]);
  EXPECT_EQ(loss[0], loss[1]);
  expect_same([&](View<float> a, View<float> b) {
    clip_value<float>(executor, x, 0.5, a);
    dropout<float>(executor, {.probability = 0.4, .key = {1, 2, 3, 4}}, x, b);
  });
}

TEST_P(StreamedTest, LayerNormHasTheBitsOfOrdinaryStores) {
  const Tensor<float> weight = drawn({kWidth}, 3), bias = drawn({kWidth}, 4);
  Tensor<float> mean({kRows}), inverse({kRows}), dw({kWidth}), db({kWidth}), scratch;
  expect_same([&](View<float> a, View<float> b) {
    layer_norm_forward<float>(executor, {weight, bias}, 1e-5, x, a, {mean, inverse});
    layer_norm_backward<float>(executor,
                               {.params = {weight, bias}, .rows = {mean, inverse}, .x = x,
                                .dy = y, .dx = b, .grads = {dw, db}},
                               scratch);
  });
}

TEST_P(StreamedTest, ScansHaveTheBitsOfOrdinaryStores) {
  Tensor<float> h({kRows + 1, kWidth}), scratch, carry({kWidth});
  Tensor<float> room({(kRows + 1) * kWidth + 1});
  h.fill(0), room.fill(0);
  linear_scan_forward<float>(executor, x, y, h, scratch);
  const View<float> apart(room.data() + 1, {kRows + 1, kWidth});
  linear_scan_forward<float>(executor, x, y, apart, scratch);
  EXPECT_EQ(0, std::memcmp(h.data(), apart.data(),
                           static_cast<std::size_t>(h.count()) * sizeof(float)));
  expect_same([&](View<float> a, View<float> b) {
    carry.fill(0);
    linear_scan_backward<float>(executor, {x, h, y, a, b, carry}, scratch);
  });
}

TEST_P(StreamedTest, OptimizersAndEmbeddingsHaveTheBitsOfOrdinaryStores) {
  for (const Optimizer rule : {Optimizer::kSgd, Optimizer::kRmsprop, Optimizer::kAdam}) {
    Tensor<float> squares(x.shape());
    add<float>(executor, x, x, squares);
    for (Dim i = 0; i < kCount; ++i) squares[i] *= squares[i];
    Tensor<float> more(x.shape());
    expect_same([&](View<float> a, View<float> b) {
      optimizer_step<float>(executor, {.rule = rule, .step = 5},
                            {x, y, squares, squares, a, b, more});
      if (rule == Optimizer::kSgd) scale<float>(executor, x, 1, b);
    });
  }
  Tensor<std::int32_t> ids({kRows});   // some words never, one eleven times
  for (Dim i = 0; i < kRows; ++i)
    ids[i] = static_cast<std::int32_t>(i % 400 == 0 ? 7 : i * 30 % kRows);
  expect_same([&](View<float> a, View<float> b) {
    embedding_forward<float>(executor, x, ids, a);
    embedding_backward<float>(executor, y, ids, b);
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, StreamedTest, testing::Values(1, 2));

}  // namespace
}  // namespace rondo::ops
