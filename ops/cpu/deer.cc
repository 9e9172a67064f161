#include <rondo/ops/deer.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <rondo/ops/cpu/deer_impl.h>

// Forward and backward: Newton's iterations around the solvers. f at all steps is one step of the
// ordinary layer over a batch of T·N rows, and so is the last part of backward.

namespace rondo::ops {
namespace {

template <class T>
void copy_or_zero(View<const T> from, Dim count, T* to) {
  OPS_CHECK(from.empty() || from.count() == count);
  if (from.empty()) {
    std::fill_n(to, count, T(0));
  } else {
    std::copy_n(from.data(), count, to);
  }
}

std::string failure(const char* pass, const DeerReport& r) {
  char text[160];
  std::snprintf(text, sizeof text,
                "DEER's %s did not converge: residual %.3g after %d iterations; "
                "the loop ran instead",
                pass, r.residual, r.iterations);
  return text;
}

}  // namespace

template <class T>
DeerActivations<T>::Storage::Storage(const RecurrentSpec& spec, SequenceShape s)
    : shape(s), all(spec, {1, s.steps * s.batch}) {
  const Dim rows = s.steps * s.batch, hidden = spec.hidden;
  h = Tensor<T>({s.steps + 1, s.batch, hidden});
  slopes = Tensor<T>({rows, gate_count(spec.cell), hidden});
  direct = Tensor<T>({rows, hidden});
  if (spec.cell != Cell::kLstm) return;
  c = Tensor<T>(h.shape());
  c_new = Tensor<T>({rows, hidden});
  through = Tensor<T>({rows, hidden});
}

template <class T>
DeerActivations<T>::DeerActivations(const RecurrentSpec& spec, SequenceShape shape) {
  OPS_CHECK(shape.steps > 0 && shape.batch > 0);
  storage_ = std::make_unique<Storage>(spec, shape);
}
template <class T>
DeerActivations<T>::~DeerActivations() = default;
template <class T>
DeerActivations<T>::DeerActivations(DeerActivations&&) noexcept = default;

template <class T>
View<const T> DeerActivations<T>::y() const {
  const Storage& s = *storage_;
  if (s.loop) return s.loop->y();
  const Dim hidden = s.h.shape()[2];
  return {s.h.data() + s.shape.batch * hidden, {s.shape.steps, s.shape.batch, hidden}};
}

template <class T>
DeerLayer<T>::Impl::Impl(const RecurrentSpec& s, const Executor& e, const DeerOptions& o)
    : spec(s),
      executor(e),
      options(o),
      full(o.form == DeerForm::kFull || (o.form == DeerForm::kAuto && s.hidden <= 64)),
      lstm(s.cell == Cell::kLstm),
      gates(gate_count(s.cell)),
      hidden(s.hidden),
      layer(s, e),
      dense(lstm ? 2 * hidden : hidden, e),
      back(gates * hidden, hidden) {
  OPS_CHECK(spec.projection == 0 && options.iterations > 0 && options.tolerance > 0);
}

template <class T>
DeerLayer<T>::DeerLayer(const RecurrentSpec& spec, const Executor& executor,
                        const DeerOptions& options)
    : impl_(std::make_unique<Impl>(spec, executor, options)) {}
template <class T>
DeerLayer<T>::~DeerLayer() = default;

template <class T>
void DeerLayer<T>::pack(const RecurrentParams<const T>& w) {
  Impl& m = *impl_;
  m.layer.pack(w);
  ensure(m.w_hh, w.w_hh.count());
  std::copy_n(w.w_hh.data(), w.w_hh.count(), m.w_hh.data());
  m.back.pack(m.executor, w.w_hh.data(), m.hidden, 1);
}

template <class T>
void DeerLayer<T>::Impl::evaluate(const RecurrentInput<T>& x, Storage& s) {
  const Dim rows = s.rows();
  const Shape states{rows, hidden};
  RecurrentState<const T> before{{s.h.data(), states}, {}};
  RecurrentState<T> after;
  if (lstm) before.c = {s.c.data(), states}, after.c = s.c_new;
  layer.forward(x, before, s.all, after);
}

// The largest |h_t − f(h_{t−1}, x_t)|; infinity if anything is not a number.
template <class T>
double DeerLayer<T>::Impl::residual(const Storage& s) const {
  const Dim count = s.rows() * hidden, skip = s.shape.batch * hidden;
  double worst = 0;
  const auto see = [&](const T* now, const T* wanted) {
    for (Dim i = 0; i < count; ++i) {
      const double off = std::abs(static_cast<double>(now[i]) - static_cast<double>(wanted[i]));
      if (!(off <= worst)) worst = std::isnan(off) ? HUGE_VAL : off;
    }
  };
  see(s.h.data() + skip, s.all.y().data());
  if (lstm) see(s.c.data() + skip, s.c_new.data());
  return worst;
}

template <class T>
DeerReport DeerLayer<T>::forward(const RecurrentInput<T>& x, const RecurrentState<const T>& first,
                                 DeerActivations<T>& activations, const RecurrentState<T>& last) {
  Impl& m = *impl_;
  auto& s = activations.storage();
  const Dim state = s.shape.batch * m.hidden, end = s.shape.steps * state;
  s.loop.reset();
  s.h.fill(T(0));
  copy_or_zero(first.h, state, s.h.data());
  if (m.lstm) {
    s.c.fill(T(0));
    copy_or_zero(first.c, state, s.c.data());
  }
  DeerReport report;
  while (true) {
    m.evaluate(x, s);
    m.find_slopes(s);
    report.residual = m.residual(s);
    report.converged = report.residual <= m.options.tolerance;
    if (report.converged || !std::isfinite(report.residual)) break;
    if (report.iterations == m.options.iterations) break;
    ++report.iterations;
    m.full ? m.solve_full(s) : m.solve_diagonal(s);
  }
  if (!report.converged) {
    report.words = failure("forward pass", report);
    s.loop = std::make_unique<RecurrentActivations<T>>(m.spec, s.shape);
    m.layer.forward(x, first, *s.loop, last);
    return report;
  }
  if (!last.h.empty()) std::copy_n(s.h.data() + end, state, last.h.data());
  if (m.lstm && !last.c.empty()) std::copy_n(s.c.data() + end, state, last.c.data());
  return report;
}

// The gradient of each state, back in time: L[τ] is that of step T − 1 − τ.
template <class T>
DeerReport DeerLayer<T>::Impl::solve_adjoint(const Backward& b, Storage& s) {
  const Dim state = s.shape.batch * hidden, steps = s.shape.steps;
  for (Tensor<T>* t : {&lambda_h, &lambda_c, &dy_turned}) *t = Tensor<T>({steps, state});
  turn(b.dy.data(), steps, state, dy_turned.data());
  if (!b.dlast.h.empty())
    for (Dim i = 0; i < state; ++i) dy_turned[i] = dy_turned[i] + b.dlast.h[i];
  std::copy_n(dy_turned.data(), state, lambda_h.data());
  if (lstm) copy_or_zero(b.dlast.c, state, lambda_c.data());
  DeerReport report;
  while (true) {
    product_back(s);
    double scale = 1;
    report.residual = 0;
    const auto see = [&](const Tensor<T>& now, const Tensor<T>& product, bool with_dy) {
      for (Dim i = state; i < steps * state; ++i) {
        const T wanted = with_dy ? dy_turned[i] + product[i - state] : product[i - state];
        const double off = std::abs(static_cast<double>(now[i] - wanted));
        if (!(off <= report.residual)) report.residual = std::isnan(off) ? HUGE_VAL : off;
        scale = std::max(scale, std::abs(static_cast<double>(now[i])));
      }
    };
    see(lambda_h, product_h, true);
    if (lstm) see(lambda_c, product_c, false);
    report.converged = report.residual <= options.tolerance * scale;
    if (report.converged || !std::isfinite(report.residual)) return report;
    if (report.iterations == options.iterations) return report;
    ++report.iterations;
    full ? solve_full_back(s) : solve_diagonal_back(s);
  }
}

template <class T>
DeerReport DeerLayer<T>::backward(const typename RecurrentLayer<T>::Backward& b,
                                  DeerActivations<T>& activations) {
  Impl& m = *impl_;
  auto& s = activations.storage();
  const Dim state = s.shape.batch * m.hidden, rows = s.rows(), steps = s.shape.steps;
  OPS_CHECK(b.dy.count() == steps * state);
  DeerReport report;
  if (s.loop) {
    m.layer.backward(b, *s.loop);
    return report;
  }
  report = m.solve_adjoint(b, s);
  if (!report.converged) {
    report.words = failure("backward pass", report);
    RecurrentActivations<T> loop(m.spec, s.shape);   // y() stays what the caller has seen
    const RecurrentState<const T> first{{s.h.data(), {s.shape.batch, m.hidden}},
                                        {s.c.data(), {m.lstm ? s.shape.batch : 0, m.hidden}}};
    m.layer.forward(b.x, first, loop, {});
    m.layer.backward(b, loop);
    return report;
  }
  Tensor<T> dh({rows, m.hidden}), dc(Shape{m.lstm ? rows : 0, m.hidden}), dh_first, dc_first;
  turn(m.lambda_h.data(), steps, state, dh.data());
  if (m.lstm) turn(m.lambda_c.data(), steps, state, dc.data());
  auto step = b;   // one step of T·N rows
  step.dy = dh;
  step.dlast = {{}, dc};
  if (!b.dfirst.h.empty()) dh_first = Tensor<T>(dh.shape()), step.dfirst.h = dh_first;
  if (!b.dfirst.c.empty()) dc_first = Tensor<T>(dh.shape()), step.dfirst.c = dc_first;
  m.layer.backward(step, s.all);
  if (!b.dfirst.h.empty()) std::copy_n(dh_first.data(), state, b.dfirst.h.data());
  if (!b.dfirst.c.empty()) std::copy_n(dc_first.data(), state, b.dfirst.c.data());
  return report;
}

template class DeerActivations<float>;
template class DeerActivations<double>;
template class DeerLayer<float>;
template class DeerLayer<double>;

}  // namespace rondo::ops
