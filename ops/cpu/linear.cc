#include <rondo/ops/linear.h>

#include <algorithm>

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/cpu/panel_product.h>

namespace rondo::ops {

template <class T>
struct LinearLayer<T>::Impl {
  Impl(Dim i, Dim o, const Executor& e) : inputs(i), outputs(o), executor(e), y(i, o), dx(o, i) {}

  void weight_block(Dim rows, const T* x, const T* d, Dim first, T* sums, T* panel) const;
  void gradients(Dim rows, const T* x, const T* d, const LinearParams<T>&, GradientMode);
  void bias_block(Dim rows, const T* d, Dim first, T* to, GradientMode) const;
  void prepare(Dim rows);
  const T* spread(Dim rows, const T* d);

  static constexpr Dim kDepthChunk = 256;
  const Dim inputs, outputs;
  const Executor& executor;
  PanelProduct<T> y, dx;
  Tensor<T> bias, sums, x_panels, d_copy;
  GemmKernel<T> chunk, rest;
  Dim rest_depth = -1, d_stride = outputs;
  bool packed = false, packed_for_training = false;
};

template <class T>
LinearLayer<T>::LinearLayer(Dim inputs, Dim outputs, const Executor& executor)
    : impl_(std::make_unique<Impl>(inputs, outputs, executor)) {
  impl_->bias = Tensor<T>(Shape{outputs});
}
template <class T>
LinearLayer<T>::~LinearLayer() = default;

template <class T>
void LinearLayer<T>::pack(const LinearParams<const T>& w, PackFor use) {
  Impl& m = *impl_;
  OPS_CHECK(w.weight.count() == m.inputs * m.outputs && w.bias.count() == m.outputs);
  m.y.pack(m.executor, w.weight.data(), 1, m.inputs);
  std::copy_n(w.bias.data(), m.outputs, m.bias.data());
  m.packed = true;
  m.packed_for_training = use == PackFor::kTraining;
  if (m.packed_for_training) m.dx.pack(m.executor, w.weight.data(), m.inputs, 1);
}

template <class T>
void LinearLayer<T>::forward(View<const T> x, View<T> y) {
  Impl& m = *impl_;
  const Dim rows = x.count() / m.inputs;
  OPS_CHECK(m.packed && x.count() == rows * m.inputs && y.count() == rows * m.outputs);
  m.y.run(m.executor, rows, x.data(), m.bias.data(), y.data());
}

template <class T>
void LinearLayer<T>::forward_here(View<const T> x, View<T> y) const {
  const Impl& m = *impl_;
  const Dim rows = x.count() / m.inputs;
  OPS_CHECK(m.packed && y.count() == rows * m.outputs);
  m.y.run_here(rows, x.data(), m.bias.data(), y.data());
}

template <class T>
void LinearLayer<T>::input_gradient_here(View<const T> dy, View<T> dx) const {
  const Impl& m = *impl_;
  const Dim rows = dy.count() / m.outputs;
  OPS_CHECK(m.packed_for_training && dx.count() == rows * m.inputs);
  m.dx.run_here(rows, dy.data(), nullptr, dx.data());
}

template <class T>
void LinearLayer<T>::Impl::prepare(Dim rows) {
  const Dim panels = (inputs + kTile - 1) / kTile;
  d_stride = stride_apart<T>(outputs);
  ensure(sums, panels * outputs * kTile);
  ensure(x_panels, panels * kDepthChunk * kTile);
  if (d_stride != outputs) ensure(d_copy, rows * d_stride);
  const Dim depth = rows % kDepthChunk;
  GemmShape shape{.columns = kTile, .depth = kDepthChunk, .lda = kTile, .ldb = d_stride,
                  .ldc = kTile, .b_by_depth = true, .accumulate = true};
  if (chunk.shape().depth == 0) chunk.reset(shape);
  if (depth == rest_depth) return;
  shape.depth = rest_depth = depth;
  if (depth > 0) rest.reset(shape);
}

template <class T>
const T* LinearLayer<T>::Impl::spread(Dim rows, const T* d) {
  if (d_stride == outputs) return d;
  constexpr Dim kRows = 64;
  executor.run(static_cast<int>((rows + kRows - 1) / kRows), [&](int part) {
    for (Dim row = part * kRows; row < std::min(rows, (part + 1) * kRows); ++row)
      std::copy_n(d + row * outputs, outputs, d_copy.data() + row * d_stride);
  });
  return d_copy.data();
}

// to[o][i] = Σ over rows of d[row][o]·x[row][first + i], i < 64, rows ascending; a chunk of x's
// columns is copied into `panel` first, where its rows lie one after another.
template <class T>
void LinearLayer<T>::Impl::weight_block(Dim rows, const T* x, const T* d, Dim first, T* to,
                                        T* panel) const {
  const Dim width = std::min(kTile, inputs - first);
  std::fill_n(to, outputs * kTile, T(0));
  for (Dim row = 0; row < rows; row += kDepthChunk) {
    const Dim n = std::min(kDepthChunk, rows - row);
    for (Dim i = 0; i < n; ++i) {
      std::copy_n(x + (row + i) * inputs + first, width, panel + i * kTile);
      std::fill_n(panel + i * kTile + width, kTile - width, T(0));
    }
    (n == kDepthChunk ? chunk : rest)(outputs, panel, d + row * d_stride, to);
  }
}

// Columns [first, first + 64) of the gradient of the bias: sums over ascending rows.
template <class T>
void LinearLayer<T>::Impl::bias_block(Dim rows, const T* d, Dim first, T* to,
                                      GradientMode mode) const {
  const Dim n = std::min(kTile, outputs - first);
  alignas(64) T total[kTile] = {};
  if (n == kTile) {
    kernels<T>().column_sums(d + first, rows, outputs, total);
  } else {
    for (Dim row = 0; row < rows; ++row)
      for (Dim o = 0; o < n; ++o) total[o] = total[o] + d[row * outputs + first + o];
  }
  for (Dim o = 0; o < n; ++o)
    to[first + o] = mode == GradientMode::kAdd ? to[first + o] + total[o] : total[o];
}

template <class T>
void LinearLayer<T>::Impl::gradients(Dim rows, const T* x, const T* dy,
                                     const LinearParams<T>& grads, GradientMode mode) {
  prepare(rows);
  const T* d = spread(rows, dy);
  const Dim panels = (inputs + kTile - 1) / kTile, bias_parts = (outputs + kTile - 1) / kTile;
  executor.run(static_cast<int>(panels + bias_parts), [&](int part) {
    if (part >= panels)
      return bias_block(rows, dy, (part - panels) * kTile, grads.bias.data(), mode);
    const Dim first = part * kTile, n = std::min(kTile, inputs - first);
    T* from = sums.data() + part * outputs * kTile;
    weight_block(rows, x, d, first, from, x_panels.data() + part * kDepthChunk * kTile);
    for (Dim o = 0; o < outputs; ++o) {
      T* to = grads.weight.data() + o * inputs + first;
      for (Dim i = 0; i < n; ++i)
        to[i] = mode == GradientMode::kAdd ? to[i] + from[o * kTile + i] : from[o * kTile + i];
    }
  });
}

template <class T>
void LinearLayer<T>::backward(View<const T> x, View<const T> dy, View<T> dx,
                              const LinearParams<T>& grads, GradientMode mode) {
  Impl& m = *impl_;
  const Dim rows = x.count() / m.inputs;
  OPS_CHECK(m.packed_for_training && x.count() == rows * m.inputs);
  OPS_CHECK(dy.count() == rows * m.outputs && (dx.empty() || dx.count() == x.count()));
  OPS_CHECK(grads.weight.count() == m.inputs * m.outputs && grads.bias.count() == m.outputs);
  if (!dx.empty()) m.dx.run(m.executor, rows, dy.data(), nullptr, dx.data());
  m.gradients(rows, x.data(), dy.data(), grads, mode);
}

template class LinearLayer<float>;
template class LinearLayer<double>;

}  // namespace rondo::ops
