#include <rondo/ops/linear.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include <rondo/ops/embedding.h>
#include <rondo/ops/random.h>

namespace rondo::ops {
namespace {

template <class T>
Tensor<T> drawn(Shape shape, std::uint32_t number) {
  Tensor<T> t(shape);
  fill_uniform<T>({7, 0, 0, number}, -1, 1, t);
  return t;
}

double product(float a, float b) { return static_cast<double>(a) * static_cast<double>(b); }

struct Size {
  Dim rows, inputs, outputs;
};

class LinearTest : public testing::TestWithParam<Size> {};

// y and all gradients are products, so the exact sums in double are their definition.
TEST_P(LinearTest, FollowsTheDefinition) {
  const auto [rows, inputs, outputs] = GetParam();
  const Executor executor(1);
  const auto x = drawn<float>({rows, inputs}, 1), w = drawn<float>({outputs, inputs}, 2),
             b = drawn<float>({outputs}, 3), dy = drawn<float>({rows, outputs}, 4);
  Tensor<float> y({rows, outputs}), dx({rows, inputs}), dw({outputs, inputs}), db({outputs});
  LinearLayer<float> layer(inputs, outputs, executor);
  layer.pack({w, b});
  layer.forward(x, y);
  layer.backward(x, dy, dx, {dw, db});
  const auto near = [](double got, double sum, Dim addends) {
    ASSERT_NEAR(got, sum, 1e-7 * static_cast<double>(addends) + 1e-6);
  };
  for (Dim r = 0; r < rows; ++r) {
    for (Dim o = 0; o < outputs; ++o) {
      double sum = b[o];
      for (Dim i = 0; i < inputs; ++i) sum += product(x[r * inputs + i], w[o * inputs + i]);
      near(y[r * outputs + o], sum, inputs);
    }
    for (Dim i = 0; i < inputs; ++i) {
      double sum = 0;
      for (Dim o = 0; o < outputs; ++o) sum += product(dy[r * outputs + o], w[o * inputs + i]);
      near(dx[r * inputs + i], sum, outputs);
    }
  }
  for (Dim o = 0; o < outputs; ++o) {
    double bias = 0;
    for (Dim r = 0; r < rows; ++r) bias += dy[r * outputs + o];
    near(db[o], bias, rows);
    for (Dim i = 0; i < inputs; ++i) {
      double sum = 0;
      for (Dim r = 0; r < rows; ++r) sum += product(dy[r * outputs + o], x[r * inputs + i]);
      near(dw[o * inputs + i], sum, rows);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, LinearTest,
                         testing::Values(Size{1, 1, 1}, Size{5, 3, 2}, Size{70, 128, 65},
                                         Size{300, 65, 130}, Size{256, 64, 64}, Size{33, 20, 1}));

TEST(LinearTest, AddsToGradientsThatAreThere) {
  const Executor executor(1);
  const auto x = drawn<float>({9, 20}, 1), w = drawn<float>({7, 20}, 2), b = drawn<float>({7}, 3),
             dy = drawn<float>({9, 7}, 4);
  Tensor<float> dw({7, 20}), db({7});
  LinearLayer<float> layer(20, 7, executor);
  layer.pack({w, b});
  layer.backward(x, dy, {}, {dw, db});
  const Tensor<float> once = dw, bias = db;
  layer.backward(x, dy, {}, {dw, db}, GradientMode::kAdd);
  for (Dim i = 0; i < dw.count(); ++i) ASSERT_EQ(dw[i], once[i] + once[i]);
  for (Dim i = 0; i < db.count(); ++i) ASSERT_EQ(db[i], bias[i] + bias[i]);
}

TEST(EmbeddingTest, GathersRowsAndScattersTheirGradients) {
  const Dim words = 5, width = 70, rows = 40;
  const auto table = drawn<float>({words, width}, 1), dy = drawn<float>({rows, width}, 2);
  Tensor<std::int32_t> ids(Shape{rows});
  for (Dim r = 0; r < rows; ++r) ids[r] = static_cast<std::int32_t>(r * r % 4);   // never 4
  const Executor one(1), two(2);
  Tensor<float> y({rows, width}), d({words, width}), d2({words, width});
  embedding_forward<float>(one, table, ids, y);
  embedding_backward<float>(one, dy, ids, d);
  embedding_backward<float>(two, dy, ids, d2);
  const auto bytes = static_cast<std::size_t>(d.count()) * sizeof(float);
  EXPECT_EQ(0, std::memcmp(d.data(), d2.data(), bytes));
  for (Dim c = 0; c < width; ++c) {
    for (Dim r = 0; r < rows; ++r) ASSERT_EQ(y[r * width + c], table[ids[r] * width + c]);
    for (Dim word = 0; word < words; ++word) {
      float sum = 0;
      for (Dim r = 0; r < rows; ++r)
        if (ids[r] == word) sum += dy[r * width + c];
      ASSERT_EQ(d[word * width + c], sum);
    }
  }
  embedding_backward<float>(one, dy, ids, d2, GradientMode::kAdd);
  for (Dim i = 0; i < d.count(); ++i) ASSERT_EQ(d2[i], d[i] + d[i]);
}

}  // namespace
}  // namespace rondo::ops
