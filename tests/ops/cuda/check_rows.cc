#include <cmath>
#include <cstring>

#include <rondo/ops/dropout.h>
#include <rondo/ops/embedding.h>
#include <rondo/ops/executor.h>

#include "../cases.h"
#include "harness.h"

namespace rondo::ops::gpu_check {
namespace {

const Executor one(1);

std::size_t floats(Dim count) { return static_cast<std::size_t>(count) * sizeof(float); }

void layer_norm(Harness& h, const cases::RowCase& c) {
  const cases::RowProblem<float> f(c, h.seed());
  cases::RowProblem<double> d(c, h.seed());
  d.x = widened(f.x), d.weight = widened(f.weight), d.bias = widened(f.bias);
  d.dy = widened(f.dy);
  d.layer_norm(one);
  h.check("layer_norm_" + c.name, kFloatTolerance, [&]() -> std::vector<Output> {
    const Buffer x(h.gpu(), f.x), w(h.gpu(), f.weight), b(h.gpu(), f.bias), dy(h.gpu(), f.dy);
    const Buffer y(h.gpu(), floats(f.x.count())), dx(h.gpu(), floats(f.x.count()));
    const Buffer dw(h.gpu(), floats(c.features)), db(h.gpu(), floats(c.features));
    const Buffer mean(h.gpu(), floats(c.rows)), inverse(h.gpu(), floats(c.rows));
    const cuda::LayerNorm forward{c.rows, c.features, static_cast<float>(kLayerNormEpsilon),
                                  w.f(), b.f(), x.f(), y.f(), mean.f(), inverse.f()};
    must(h.api().layer_norm(h.context(), &forward));
    const cuda::LayerNormBackward back{c.rows, c.features, w.f(), x.f(), dy.f(), mean.f(),
                                       inverse.f(), dx.f(), dw.f(), db.f(), 0};
    must(h.api().layer_norm_backward(h.context(), &back));
    std::vector<Output> all = {{"y", y.get<float>(f.x.shape()), d.y},
                               {"dweight", dw.get<float>({c.features}), d.dweight},
                               {"dbias", db.get<float>({c.features}), d.dbias}};
    // One feature: dx is 0, and what is left of it is rounding.
    if (c.features > 1) all.push_back({"dx", dx.get<float>(f.x.shape()), d.dx});
    return all;
  });
}

void wide_norm(Harness& h) { layer_norm(h, {"block_a_row", 9, 1500}); }

void dropout_equals_cpu(Harness& h, const Shape& shape) {
  Tensor<float> x, want(shape);
  cases::draw(x, shape, 1, h.seed(), 1);
  const DropoutOptions options{.probability = 0.3, .key = {h.seed(), 4, 11, 2}, .first_time = 5};
  dropout<float>(one, options, x, want);
  const Buffer in(h.gpu(), x), out(h.gpu(), floats(x.count()));
  const cuda::Dropout p{shape[0], shape[1], shape[2], 5, 0.3, h.seed(), 4, 11, 2, in.f(), out.f()};
  must(h.api().dropout(h.context(), &p));
  const Tensor<float> got = out.get<float>(shape);
  h.claim("dropout_has_the_bits_of_the_cpu",
          std::memcmp(got.data(), want.data(), floats(x.count())) == 0);
}

void embedding(Harness& h, Dim words, Dim width, Dim count) {
  Tensor<float> table, dy, start;
  cases::draw(table, {words, width}, 1, h.seed(), 1);
  cases::draw(dy, {count, width}, 1, h.seed(), 2);
  cases::draw(start, {words, width}, 1, h.seed(), 3);
  Tensor<std::int32_t> ids({count});
  for (Dim i = 0; i < count; ++i)
    ids[i] = static_cast<std::int32_t>(random_bits({h.seed(), 0, 0, 9},
                                                   static_cast<std::uint64_t>(i)) %
                                       static_cast<std::uint32_t>(words));
  Tensor<double> y({count, width}), d({words, width}), added = widened(start);
  embedding_forward<double>(one, widened(table), ids, y);
  embedding_backward<double>(one, widened(dy), ids, d);
  embedding_backward<double>(one, widened(dy), ids, added, GradientMode::kAdd);
  h.check("embedding_" + std::to_string(words), kFloatTolerance, [&]() -> std::vector<Output> {
    const Buffer t(h.gpu(), table), g(h.gpu(), dy), n(h.gpu(), ids), more(h.gpu(), start);
    const Buffer to(h.gpu(), floats(dy.count())), dt(h.gpu(), floats(table.count()));
    const cuda::Embedding forward{words, width, count, n.i(), t.f(), to.f(), 0};
    must(h.api().embedding(h.context(), &forward));
    cuda::Embedding back{words, width, count, n.i(), g.f(), dt.f(), 0};
    must(h.api().embedding_backward(h.context(), &back));
    back.to = more.f(), back.add = 1;
    must(h.api().embedding_backward(h.context(), &back));
    return {{"y", to.get<float>({count, width}), y},
            {"dtable", dt.get<float>({words, width}), d},
            {"dtable added", more.get<float>({words, width}), added}};
  });
}

struct ProductCase {
  Dim rows, columns, depth;
  bool a_transposed, b_transposed, add;
};

// Plain sums in double. Strides are three wider than the matrices, as in slices of the gates.
void product(Harness& h, const ProductCase& c, Precision precision) {
  constexpr Dim kGap = 8;
  const Dim a_rows = c.a_transposed ? c.depth : c.rows, a_cols = c.a_transposed ? c.rows : c.depth;
  const Dim b_rows = c.b_transposed ? c.columns : c.depth;
  const Dim b_cols = c.b_transposed ? c.depth : c.columns;
  Tensor<float> a, b, start;
  cases::draw(a, {a_rows, a_cols + kGap}, 1, h.seed(), 1);
  cases::draw(b, {b_rows, b_cols + kGap}, 1, h.seed(), 2);
  cases::draw(start, {c.rows, c.columns + kGap}, 1, h.seed(), 3);
  if (precision == Precision::kBf16) round_to_bf16(a), round_to_bf16(b);
  Tensor<double> want = widened(start);
  const auto at = [](const Tensor<float>& m, bool t, Dim r, Dim k) {
    return static_cast<double>(t ? m[k * m.shape()[1] + r] : m[r * m.shape()[1] + k]);
  };
  for (Dim r = 0; r < c.rows; ++r) {
    for (Dim q = 0; q < c.columns; ++q) {
      double sum = 0;
      for (Dim k = 0; k < c.depth; ++k)
        sum += at(a, c.a_transposed, r, k) * at(b, c.b_transposed, k, q);
      double& to = want[r * (c.columns + kGap) + q];
      to = c.add ? to + sum : sum;
    }
  }
  const char* names[] = {"float32", "tf32", "bf16"};
  const std::string name = std::string("product_") + names[static_cast<int>(precision)] + "_" +
                           std::to_string(c.rows) + "x" + std::to_string(c.columns);
  h.check(name, tolerance_of(precision), [&]() -> std::vector<Output> {
    const Buffer fa(h.gpu(), a), fb(h.gpu(), b), out(h.gpu(), start);
    const Buffer ra(h.gpu(), floats(a.count())), rb(h.gpu(), floats(b.count()));
    const bool rounded = precision == Precision::kBf16;
    if (rounded) {
      must(h.api().to_bf16(h.context(), fa.f(), a.count(), ra.raw()));
      must(h.api().to_bf16(h.context(), fb.f(), b.count(), rb.raw()));
    }
    const cuda::Product p{c.rows, c.columns, c.depth, rounded ? ra.raw() : fa.raw(),
                          a_cols + kGap, c.a_transposed, rounded ? rb.raw() : fb.raw(),
                          b_cols + kGap, c.b_transposed, out.f(), c.columns + kGap, c.add,
                          precision};
    must(h.api().product(h.context(), &p));
    return {{"c", out.get<float>(want.shape()), want}};
  });
}

void column_sums(Harness& h, Dim rows, Dim columns) {
  Tensor<float> x, bias;
  cases::draw(x, {rows, columns}, 1, h.seed(), 1);
  cases::draw(bias, {columns}, 1, h.seed(), 2);
  Tensor<double> sums({columns}), moved({rows, columns});
  for (Dim i = 0; i < x.count(); ++i) {
    sums[i % columns] += static_cast<double>(x[i]);
    moved[i] = static_cast<double>(x[i]) + static_cast<double>(bias[i % columns]);
  }
  h.check("column_sums_" + std::to_string(rows), kFloatTolerance, [&]() -> std::vector<Output> {
    const Buffer in(h.gpu(), x), b(h.gpu(), bias), out(h.gpu(), floats(columns));
    must(h.api().column_sums(h.context(), in.f(), rows, columns, out.f(), 0));
    must(h.api().add_bias(h.context(), in.f(), b.f(), rows, columns));
    return {{"sums", out.get<float>({columns}), sums},
            {"with bias", in.get<float>({rows, columns}), moved}};
  });
}

}  // namespace

void check_rows(Harness& h) {
  for (const cases::RowCase& c : cases::row_cases()) layer_norm(h, c);
  wide_norm(h);
  for (const Shape& shape : {Shape{3, 4, 17}, Shape{1, 1, 1}, Shape{7, 5, 256}})
    dropout_equals_cpu(h, shape);
  embedding(h, 65, 300, 700);
  embedding(h, 3, 5, 1);
  for (const Dim rows : {Dim{1}, Dim{700}}) column_sums(h, rows, 300);
}

void check_products(Harness& h) {
  for (const Precision p : {Precision::kFloat32, Precision::kTf32, Precision::kBf16}) {
    for (const bool add_to : {false, true}) {
      product(h, {64, 96, 80, false, true, add_to}, p);    // forward
      product(h, {33, 50, 17, false, true, add_to}, p);
      product(h, {48, 40, 200, true, false, add_to}, p);   // weight gradients
      product(h, {24, 72, 56, false, false, add_to}, p);   // input gradients
      product(h, {1, 1, 1, false, true, add_to}, p);
    }
  }
}

}  // namespace rondo::ops::gpu_check
