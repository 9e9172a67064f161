#include <rondo/ops/bidirectional.h>

#include <algorithm>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/elementwise.h>

namespace rondo::ops {
namespace {

Shape y_shape(const RecurrentSpec& spec, const Lengths& lengths) {
  const Dim width = 2 * spec.state();
  if (lengths.equal()) return {lengths.steps(), lengths.batch(), width};
  return {lengths.rows(), width};
}

// Copies `rows` rows of `width` elements between buffers of any two row strides.
template <class T>
struct Rows {
  const T* from;
  Dim from_stride;
  T* to;
  Dim to_stride;
};

template <class T>
void copy_rows(const Executor& executor, Dim rows, Dim width, const Rows<T>& c) {
  constexpr Dim kRows = 256;
  executor.run(static_cast<int>((rows + kRows - 1) / kRows), [&](int part) {
    for (Dim row = part * kRows; row < std::min(rows, (part + 1) * kRows); ++row)
      std::copy_n(c.from + row * c.from_stride, width, c.to + row * c.to_stride);
  });
}

}  // namespace

template <class T>
struct BidirectionalLayer<T>::Impl {
  Impl(const RecurrentSpec& s, const Executor& e)
      : spec(s), executor(e), forward(s, e), reverse(s, e) {}
  const RecurrentSpec spec;
  const Executor& executor;
  RecurrentLayer<T> forward, reverse;
  Tensor<T> one_way, one_way_reversed;   // [rows,S]: half of y or dy
  Tensor<T> dx_reverse, dx_turned;       // [rows,I]
};

template <class T>
BidirectionalActivations<T>::BidirectionalActivations(const RecurrentSpec& spec,
                                                      const Lengths& lengths)
    : forward_(spec, lengths), reverse_(spec, lengths), y_(y_shape(spec, lengths)) {
  if (spec.ids) {
    ids_reversed_ = Tensor<std::int32_t>({lengths.rows()});
  } else {
    x_reversed_ = Tensor<T>({lengths.rows(), spec.inputs});
  }
}

template <class T>
BidirectionalLayer<T>::BidirectionalLayer(const RecurrentSpec& spec, const Executor& executor)
    : impl_(std::make_unique<Impl>(spec, executor)) {}
template <class T>
BidirectionalLayer<T>::~BidirectionalLayer() = default;

template <class T>
void BidirectionalLayer<T>::pack(const BothWays<RecurrentParams<const T>>& weights, PackFor use) {
  impl_->forward.pack(weights.forward, use);
  impl_->reverse.pack(weights.reverse, use);
}

template <class T>
void BidirectionalLayer<T>::forward(const RecurrentInput<T>& x,
                                    const BothWays<RecurrentState<const T>>& first,
                                    BidirectionalActivations<T>& a,
                                    const BothWays<RecurrentState<T>>& last) {
  Impl& m = *impl_;
  const Lengths& l = a.lengths();
  const Dim rows = l.rows(), state = m.spec.state();
  OPS_CHECK(a.y_.count() == rows * 2 * state);
  if (m.spec.ids) {
    reverse_rows<std::int32_t>(m.executor, l, x.ids, a.ids_reversed_);
  } else {
    reverse_rows<T>(m.executor, l, x.dense, a.x_reversed_);
  }
  m.forward.forward(x, first.forward, a.forward_, last.forward);
  m.reverse.forward({a.x_reversed_.view(), a.ids_reversed_.view()}, first.reverse, a.reverse_,
                    last.reverse);
  ensure(m.one_way, rows * state);
  const View<T> turned(m.one_way.data(), {rows, state});
  reverse_rows<T>(m.executor, l, a.reverse_.y(), turned);
  copy_rows<T>(m.executor, rows, state, {a.forward_.y().data(), state, a.y_.data(), 2 * state});
  copy_rows<T>(m.executor, rows, state, {turned.data(), state, a.y_.data() + state, 2 * state});
}

template <class T>
void BidirectionalLayer<T>::backward(const Backward& b, BidirectionalActivations<T>& a) {
  Impl& m = *impl_;
  const Lengths& l = a.lengths();
  const Dim rows = l.rows(), state = m.spec.state(), inputs = m.spec.inputs;
  OPS_CHECK(b.dy.count() == rows * 2 * state);
  OPS_CHECK(b.dx.empty() || (!m.spec.ids && b.dx.count() == rows * inputs));
  ensure(m.one_way, rows * state), ensure(m.one_way_reversed, rows * state);
  const View<T> half(m.one_way.data(), {rows, state});
  const View<T> turned(m.one_way_reversed.data(), {rows, state});
  copy_rows<T>(m.executor, rows, state, {b.dy.data(), 2 * state, half.data(), state});
  m.forward.backward({.x = b.x, .dy = half, .dlast = b.dlast.forward, .dx = b.dx,
                      .dfirst = b.dfirst.forward, .grads = b.grads.forward, .mode = b.mode},
                     a.forward_);
  copy_rows<T>(m.executor, rows, state, {b.dy.data() + state, 2 * state, half.data(), state});
  reverse_rows<T>(m.executor, l, half, turned);
  View<T> dx;
  if (!b.dx.empty()) {
    ensure(m.dx_reverse, rows * inputs), ensure(m.dx_turned, rows * inputs);
    dx = View<T>(m.dx_reverse.data(), {rows, inputs});
  }
  m.reverse.backward({.x = {a.x_reversed_.view(), a.ids_reversed_.view()}, .dy = turned,
                      .dlast = b.dlast.reverse, .dx = dx, .dfirst = b.dfirst.reverse,
                      .grads = b.grads.reverse, .mode = b.mode},
                     a.reverse_);
  if (dx.empty()) return;
  const View<T> dx_turned(m.dx_turned.data(), {rows, inputs});
  reverse_rows<T>(m.executor, l, dx, dx_turned);
  add<T>(m.executor, b.dx, dx_turned, b.dx);
}

template class BidirectionalActivations<float>;
template class BidirectionalActivations<double>;
template class BidirectionalLayer<float>;
template class BidirectionalLayer<double>;

}  // namespace rondo::ops
