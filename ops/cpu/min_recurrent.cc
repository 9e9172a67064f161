#include <rondo/ops/min_recurrent.h>

#include <algorithm>
#include <optional>

#include <rondo/ops/cpu/scan_driver.h>
#include <rondo/ops/embedding.h>
#include <rondo/ops/linear.h>

namespace rondo::ops {

int gate_count(MinCell cell) { return cell == MinCell::kMinGru ? 2 : 3; }

template <class T>
struct MinLayer<T>::Impl {
  Impl(const MinSpec& s, const Executor& e)
      : spec(s), executor(e) {
    if (!s.ids) product.emplace(s.inputs, gate_count(s.cell) * s.hidden, e);
  }
  [[nodiscard]] ScanJob<T> job(SequenceShape, T* gates) const;
  void pack_table(const MinParams<const T>&);
  void scan_forward(View<const T> first, MinActivations<T>&, View<T> last);
  void table_gradient(View<const std::int32_t> ids, View<const T> dgates, const MinParams<T>& to,
                      GradientMode);

  const MinSpec spec;
  const Executor& executor;
  std::optional<LinearLayer<T>> product;   // without ids
  Tensor<T> carry, scratch;
  Tensor<T> table, dtable;   // with ids [I,G·H]: the weight's columns with the bias; their gradient
};

template <class T>
MinActivations<T>::MinActivations(const MinSpec& spec, SequenceShape shape)
    : shape_(shape),
      gates_({shape.steps, shape.batch, gate_count(spec.cell) * spec.hidden}),
      h_({shape.steps + 1, shape.batch, spec.hidden}) {
  OPS_CHECK(shape.steps > 0 && shape.batch > 0);
}

template <class T>
View<const T> MinActivations<T>::y() const {
  const Dim hidden = h_.shape()[2];
  return {h_.data() + shape_.batch * hidden, {shape_.steps, shape_.batch, hidden}};
}

template <class T>
MinLayer<T>::MinLayer(const MinSpec& spec, const Executor& executor)
    : impl_(std::make_unique<Impl>(spec, executor)) {}
template <class T>
MinLayer<T>::~MinLayer() = default;

template <class T>
void MinLayer<T>::pack(const MinParams<const T>& w, PackFor use) {
  if (impl_->spec.ids) return impl_->pack_table(w);
  impl_->product->pack({w.weight, w.bias}, use);
}

template <class T>
void MinLayer<T>::Impl::pack_table(const MinParams<const T>& w) {
  const Dim width = gate_count(spec.cell) * spec.hidden;
  OPS_CHECK(w.weight.count() == width * spec.inputs && w.bias.count() == width);
  if (table.count() == 0) table = Tensor<T>({spec.inputs, width});
  for (Dim id = 0; id < spec.inputs; ++id)
    for (Dim column = 0; column < width; ++column)
      table[id * width + column] = w.weight[column * spec.inputs + id] + w.bias[column];
}

template <class T>
void MinLayer<T>::Impl::table_gradient(View<const std::int32_t> ids, View<const T> dgates,
                                       const MinParams<T>& to, GradientMode mode) {
  const Dim width = gate_count(spec.cell) * spec.hidden;
  OPS_CHECK(to.weight.count() == width * spec.inputs && to.bias.count() == width);
  if (dtable.count() == 0) dtable = Tensor<T>({spec.inputs, width});
  embedding_backward<T>(executor, dgates, ids, dtable);
  const auto put = [mode](T sum, T& out) { out = mode == GradientMode::kAdd ? out + sum : sum; };
  for (Dim column = 0; column < width; ++column) {
    T bias = 0;
    for (Dim id = 0; id < spec.inputs; ++id) {
      const T sum = dtable[id * width + column];
      bias = bias + sum;
      put(sum, to.weight[column * spec.inputs + id]);
    }
    put(bias, to.bias[column]);
  }
}

template <class T>
ScanJob<T> MinLayer<T>::Impl::job(SequenceShape shape, T* gates) const {
  const Dim width = gate_count(spec.cell) * spec.hidden;
  ScanJob<T> job{.cell = spec.cell == MinCell::kMinGru ? ScanCell::kMinGru : ScanCell::kMinLstm,
                 .steps = shape.steps, .batch = shape.batch, .units = spec.hidden};
  job.run.stride = shape.batch * width;
  job.run.row_stride = width;
  job.run.h_stride = shape.batch * spec.hidden;
  job.run.h_row_stride = spec.hidden;
  for (int slot = 0; slot < gate_count(spec.cell); ++slot)
    job.run.in[slot] = job.run.out[slot] = gates + slot * spec.hidden;
  return job;
}

template <class T>
void MinLayer<T>::forward(View<const T> x, View<const T> first, MinActivations<T>& a,
                          View<T> last) {
  Impl& m = *impl_;
  OPS_CHECK(!m.spec.ids && x.count() == a.shape_.steps * a.shape_.batch * m.spec.inputs);
  m.product->forward(x, a.gates_);
  m.scan_forward(first, a, last);
}

template <class T>
void MinLayer<T>::forward_ids(View<const std::int32_t> ids, View<const T> first,
                              MinActivations<T>& a, View<T> last) {
  Impl& m = *impl_;
  OPS_CHECK(m.spec.ids && m.table.count() > 0 && ids.count() == a.shape_.steps * a.shape_.batch);
  embedding_forward<T>(m.executor, m.table, ids, a.gates_);
  m.scan_forward(first, a, last);
}

template <class T>
void MinLayer<T>::Impl::scan_forward(View<const T> first, MinActivations<T>& a, View<T> last) {
  const Dim state = a.shape_.batch * spec.hidden;
  OPS_CHECK(a.h_.count() == (a.shape_.steps + 1) * state);
  OPS_CHECK(first.empty() || first.count() == state);
  if (first.empty()) {
    std::fill_n(a.h_.data(), state, T(0));
  } else {
    std::copy_n(first.data(), state, a.h_.data());
  }
  ensure(carry, state);
  std::copy_n(a.h_.data(), state, carry.data());
  ScanJob<T> work = job(a.shape_, a.gates_.data());
  work.carry = carry.data();
  work.run.raw = true;
  work.run.h = a.h_.data() + state;
  run_scan(executor, work, scratch);
  if (last.empty()) return;
  OPS_CHECK(last.count() == state);
  std::copy_n(a.h_.data() + a.shape_.steps * state, state, last.data());
}

template <class T>
void MinLayer<T>::backward(const Backward& b, MinActivations<T>& a) {
  Impl& m = *impl_;
  const Dim state = a.shape_.batch * m.spec.hidden;
  OPS_CHECK(b.dy.count() == a.shape_.steps * state);
  OPS_CHECK(b.dlast.empty() || b.dlast.count() == state);
  ensure(m.carry, state);
  if (b.dlast.empty()) {
    std::fill_n(m.carry.data(), state, T(0));
  } else {
    std::copy_n(b.dlast.data(), state, m.carry.data());
  }
  ScanJob<T> job = m.job(a.shape_, a.gates_.data());
  job.backward = true;
  job.carry = m.carry.data();
  job.run.dy = b.dy.data();
  job.run.h_before = a.h_.data();
  run_scan(m.executor, job, m.scratch);
  if (!b.dfirst.empty()) {
    OPS_CHECK(b.dfirst.count() == state);
    std::copy_n(m.carry.data(), state, b.dfirst.data());
  }
  if (m.spec.ids) {
    OPS_CHECK(b.dx.empty() && b.ids.count() == a.shape_.steps * a.shape_.batch);
    return m.table_gradient(b.ids, a.gates_, b.grads, b.mode);
  }
  m.product->backward(b.x, a.gates_.view(), b.dx, {b.grads.weight, b.grads.bias}, b.mode);
}

template class MinActivations<float>;
template class MinActivations<double>;
template class MinLayer<float>;
template class MinLayer<double>;

}  // namespace rondo::ops
