#include <rondo/ops/recurrent.h>

#include <algorithm>

#include <rondo/ops/cpu/recurrent_impl.h>

// Forward. (1) The input product of all steps at once, onto the biases; with ids a gather inside
// (2) instead. (2) Every thread takes its rows through all steps: for each panel, the recurrent
// product onto the tile, then the cell on the hot tile.

namespace rondo::ops {

template <class T>
RecurrentActivations<T>::Storage::Storage(const RecurrentSpec& spec, SequenceShape s)
    : shape(s), hidden(spec.hidden) {
  OPS_CHECK(s.steps > 0 && s.batch > 0);
  const CellGeometry g(spec);
  const Dim rows = s.steps * s.batch;
  gates = Tensor<T>({g.panels, rows, kTile});
  h = Tensor<T>({s.steps + 1, s.batch, spec.hidden});
  if (spec.cell == Cell::kLstm) {
    c = Tensor<T>({g.panels, rows + s.batch, kCellLanes});
    c_tanh = Tensor<T>({g.panels, rows, kCellLanes});
  }
}

template <class T>
RecurrentActivations<T>::RecurrentActivations(const RecurrentSpec& spec, SequenceShape shape)
    : storage_(std::make_unique<Storage>(spec, shape)) {}
template <class T>
RecurrentActivations<T>::~RecurrentActivations() = default;
template <class T>
RecurrentActivations<T>::RecurrentActivations(RecurrentActivations&&) noexcept = default;
template <class T>
RecurrentActivations<T>& RecurrentActivations<T>::operator=(RecurrentActivations&&) noexcept =
    default;

template <class T>
std::size_t RecurrentActivations<T>::bytes(const RecurrentSpec& spec, SequenceShape s) {
  const CellGeometry g(spec);
  const Dim rows = s.steps * s.batch;
  Dim count = g.panels * rows * kTile + (rows + s.batch) * spec.hidden;
  if (spec.cell == Cell::kLstm) count += g.panels * (2 * rows + s.batch) * kCellLanes;
  return static_cast<std::size_t>(count) * sizeof(T);
}

template <class T>
SequenceShape RecurrentActivations<T>::shape() const {
  return storage_->shape;
}

template <class T>
View<const T> RecurrentActivations<T>::y() const {
  const Storage& s = *storage_;
  return {s.h.data() + s.shape.batch * s.hidden, {s.shape.steps, s.shape.batch, s.hidden}};
}

template <class T>
View<const T> RecurrentActivations<T>::h_last() const {
  const Storage& s = *storage_;
  return {s.h.data() + s.shape.steps * s.shape.batch * s.hidden, {s.shape.batch, s.hidden}};
}

template <class T>
RecurrentLayer<T>::Impl::Impl(const RecurrentSpec& s, const Executor& e)
    : spec(s), g(s), executor(e) {
  const Dim in_width = spec.ids ? kTile : g.input_columns;
  bias = Tensor<T>({g.panels, kTile});
  w_in = Tensor<T>({g.panels, g.inputs, in_width});
  w_rec = Tensor<T>({g.panels, g.hidden, g.recurrent_columns});
  recurrent_kernel.reset({.columns = g.recurrent_columns, .depth = g.hidden,
                          .lda = g.recurrent_columns, .ldb = g.hidden, .ldc = kTile,
                          .accumulate = true});
  if (!spec.ids)
    input_kernel.reset({.columns = g.input_columns, .depth = g.inputs, .lda = g.input_columns,
                        .ldb = g.inputs, .ldc = kTile, .accumulate = true});
}

// Two sequences at least for each thread, else one thread does it all.
template <class T>
int RecurrentLayer<T>::Impl::row_parts(Dim batch) const {
  return static_cast<int>(std::max<Dim>(1, std::min<Dim>(executor.threads(), batch / 2)));
}

// tiles[row] = bias + x[row]·w for all rows of all steps, a block of rows at a time.
template <class T>
void RecurrentLayer<T>::Impl::input_product(const T* x, Storage& s) const {
  const Dim rows = s.shape.steps * s.shape.batch;
  const Dim block = GemmKernel<T>::kRowsMax;
  executor.run(static_cast<int>((rows + block - 1) / block), [&](int part) {
    const Dim row = part * block;
    const Dim n = std::min(block, rows - row);
    for (Dim p = 0; p < g.panels; ++p) {
      T* tiles = s.gates.data() + (p * rows + row) * kTile;
      for (Dim i = 0; i < n; ++i) std::copy_n(bias.data() + p * kTile, kTile, tiles + i * kTile);
      input_kernel(n, w_in.data() + p * g.inputs * g.input_columns, x + row * g.inputs, tiles);
    }
  });
}

template <class T>
void RecurrentLayer<T>::Impl::gather(const std::int32_t* ids, Dim rows, Dim panel,
                                     T* tiles) const {
  const T* table = w_in.data() + panel * g.inputs * kTile;
  for (Dim i = 0; i < rows; ++i) std::copy_n(table + ids[i] * kTile, kTile, tiles + i * kTile);
}

template <class T>
void RecurrentLayer<T>::Impl::run_rows(const std::int32_t* ids, Storage& s, Dim first_row,
                                       Dim rows) const {
  const Dim batch = s.shape.batch;
  const Dim all = s.shape.steps * batch;
  const auto cell = kernels<T>().cell_forward[static_cast<int>(g.cell)];
  const bool lstm = g.cell == Cell::kLstm;
  for (Dim t = 0; t < s.shape.steps; ++t) {
    const Dim row = t * batch + first_row;   // in all rows; the state before it has the same index
    const T* h_before = s.h.data() + row * g.hidden;
    T* h = s.h.data() + (row + batch) * g.hidden;
    for (Dim p = 0; p < g.panels; ++p) {
      T* tiles = s.gates.data() + (p * all + row) * kTile;
      if (spec.ids) gather(ids + row, rows, p, tiles);
      recurrent_kernel(rows, w_rec.data() + p * g.hidden * g.recurrent_columns, h_before,
                       tiles + g.recurrent_offset);
      CellForward<T> step{.rows = rows, .units = g.units_in(p), .gates = tiles,
                          .h_before = h_before + p * g.units, .h = h + p * g.units,
                          .h_stride = g.hidden};
      if (lstm) {
        T* c = s.c.data() + (p * (all + batch) + row) * kCellLanes;
        step.c_before = c;
        step.c = c + batch * kCellLanes;
        step.c_tanh = s.c_tanh.data() + (p * all + row) * kCellLanes;
      }
      cell(step);
    }
  }
}

namespace {

// [N,H] of the outside to panels [P][rows][16] of the inside; rows start at `row`. Empty means
// zeros.
template <class T>
void state_in(View<const T> from, const CellGeometry& g, Dim batch, Dim stride, T* to) {
  for (Dim p = 0; p < g.panels; ++p) {
    for (Dim n = 0; n < batch; ++n) {
      T* lanes = to + (p * stride + n) * kCellLanes;
      std::fill_n(lanes, kCellLanes, T(0));
      if (!from.empty())
        std::copy_n(from.data() + n * g.hidden + p * kCellLanes, g.units_in(p), lanes);
    }
  }
}

template <class T>
void state_out(const T* from, const CellGeometry& g, Dim batch, Dim stride, View<T> to) {
  for (Dim p = 0; p < g.panels; ++p) {
    for (Dim n = 0; n < batch; ++n)
      std::copy_n(from + (p * stride + n) * kCellLanes, g.units_in(p),
                  to.data() + n * g.hidden + p * kCellLanes);
  }
}

}  // namespace

template <class T>
RecurrentLayer<T>::RecurrentLayer(const RecurrentSpec& spec, const Executor& executor)
    : impl_(std::make_unique<Impl>(spec, executor)) {}
template <class T>
RecurrentLayer<T>::~RecurrentLayer() = default;

template <class T>
const RecurrentSpec& RecurrentLayer<T>::spec() const {
  return impl_->spec;
}

template <class T>
void RecurrentLayer<T>::pack(const RecurrentParams<const T>& w, PackFor use) {
  const CellGeometry& g = impl_->g;
  OPS_CHECK(w.w_ih.count() == g.gates * g.hidden * g.inputs);
  OPS_CHECK(w.w_hh.count() == g.gates * g.hidden * g.hidden);
  OPS_CHECK(w.b_ih.count() == g.gates * g.hidden && w.b_hh.count() == g.gates * g.hidden);
  impl_->pack_forward(w);
  impl_->packed = true;
  impl_->packed_for_training = use == PackFor::kTraining;
  if (impl_->packed_for_training) impl_->pack_backward(w);
}

template <class T>
void RecurrentLayer<T>::forward(const RecurrentInput<T>& x, const RecurrentState<const T>& first,
                                RecurrentActivations<T>& activations,
                                const RecurrentState<T>& last) {
  Impl& m = *impl_;
  auto& s = activations.storage();
  const Dim batch = s.shape.batch, rows = s.shape.steps * batch, state = batch * m.g.hidden;
  OPS_CHECK(m.packed && s.hidden == m.g.hidden);
  OPS_CHECK(s.gates.count() == m.g.panels * rows * kTile);
  OPS_CHECK(m.spec.ids ? x.ids.count() == rows : x.dense.count() == rows * m.g.inputs);
  OPS_CHECK(first.h.empty() || first.h.count() == state);
  if (m.spec.ids)
    for (const std::int32_t id : x.ids.span()) OPS_CHECK(id >= 0 && id < m.g.inputs);

  if (first.h.empty()) {
    std::fill_n(s.h.data(), state, T(0));
  } else {
    std::copy_n(first.h.data(), state, s.h.data());
  }
  const bool lstm = m.g.cell == Cell::kLstm;
  if (lstm) state_in<T>(first.c, m.g, batch, rows + batch, s.c.data());
  if (!m.spec.ids) m.input_product(x.dense.data(), s);
  const int parts = m.row_parts(batch);
  m.executor.run(parts, [&](int part) {
    const Dim from = batch * part / parts, to = batch * (part + 1) / parts;
    m.run_rows(x.ids.data(), s, from, to - from);
  });
  if (!last.h.empty()) {
    OPS_CHECK(last.h.count() == state);
    std::copy_n(activations.h_last().data(), state, last.h.data());
  }
  if (lstm && !last.c.empty()) {
    OPS_CHECK(last.c.count() == state);
    state_out<T>(s.c.data() + rows * kCellLanes, m.g, batch, rows + batch, last.c);
  }
}

template <class T>
void RecurrentLayer<T>::backward(const Backward& b, RecurrentActivations<T>& activations) {
  Impl& m = *impl_;
  auto& s = activations.storage();
  const CellGeometry& g = m.g;
  const Dim batch = s.shape.batch, rows = s.shape.steps * batch, state = batch * g.hidden;
  OPS_CHECK(s.gates.count() == g.panels * rows * kTile && b.dy.count() == rows * g.hidden);
  OPS_CHECK(m.spec.ids ? b.x.ids.count() == rows : b.x.dense.count() == rows * g.inputs);
  OPS_CHECK(b.dx.empty() || (!m.spec.ids && b.dx.count() == rows * g.inputs));
  OPS_CHECK(b.dlast.h.empty() || b.dlast.h.count() == state);
  OPS_CHECK(b.dfirst.h.empty() || b.dfirst.h.count() == state);
  OPS_CHECK(b.grads.w_ih.count() == g.gates * g.hidden * g.inputs);
  OPS_CHECK(b.grads.w_hh.count() == g.gates * g.hidden * g.hidden);
  OPS_CHECK(b.grads.b_ih.count() == g.gates * g.hidden);
  OPS_CHECK(b.grads.b_hh.count() == g.gates * g.hidden);

  OPS_CHECK(m.packed_for_training);
  m.prepare_backward(s.shape);
  const bool lstm = g.cell == Cell::kLstm;
  if (lstm) state_in<T>(b.dlast.c, g, batch, batch, m.dc.data());
  const int parts = m.row_parts(batch);
  m.executor.run(parts, [&](int part) {
    const Dim from = batch * part / parts, to = batch * (part + 1) / parts;
    m.backward_rows(b, s, from, to - from);
  });
  if (lstm && !b.dfirst.c.empty()) {
    OPS_CHECK(b.dfirst.c.count() == state);
    state_out<T>(m.dc.data(), g, batch, batch, b.dfirst.c);
  }
  if (!b.dx.empty()) m.input_gradient(s, b.dx);
  m.weight_gradients(b, s);
}

template class RecurrentActivations<float>;
template class RecurrentActivations<double>;
template class RecurrentLayer<float>;
template class RecurrentLayer<double>;

}  // namespace rondo::ops
