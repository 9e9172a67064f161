#include <rondo/ops/recurrent.h>

#include <algorithm>

#include <rondo/ops/cpu/recurrent_impl.h>

// Forward. Every thread takes its rows through all steps, some steps at a time: (1) their input
// product, onto the biases; with ids a gather inside (2) instead. (2) For each step and panel, the
// recurrent product onto the tile, then the cell on the hot tile. A batch that is too small for
// all threads has (1) first, for all steps and by all threads.

namespace rondo::ops {

template <class T>
RecurrentActivations<T>::Storage::Storage(const RecurrentSpec& spec, const Lengths& l)
    : lengths(l), hidden(spec.hidden), state(spec.state()) {
  const CellGeometry g(spec);
  const Dim rows = l.rows();
  gates = Tensor<T>({g.panels, rows, kTile});
  h = Tensor<T>({l.batch() + rows, g.state});
  if (spec.cell == Cell::kLstm) {
    c = Tensor<T>({g.panels, rows + l.batch(), kCellLanes});
    c_tanh = Tensor<T>({g.panels, rows, kCellLanes});
  }
  if (spec.projection > 0) raw = Tensor<T>({rows, spec.hidden});
}

template <class T>
RecurrentActivations<T>::RecurrentActivations(const RecurrentSpec& spec, SequenceShape shape)
    : RecurrentActivations(spec, Lengths::all_equal(shape.steps, shape.batch)) {}
template <class T>
RecurrentActivations<T>::RecurrentActivations(const RecurrentSpec& spec, const Lengths& lengths)
    : storage_(std::make_unique<Storage>(spec, lengths)) {}
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
  Dim count = g.panels * rows * kTile + (rows + s.batch) * g.state;
  if (spec.cell == Cell::kLstm) count += g.panels * (2 * rows + s.batch) * kCellLanes;
  if (spec.projection > 0) count += rows * spec.hidden;
  return static_cast<std::size_t>(count) * sizeof(T);
}

template <class T>
SequenceShape RecurrentActivations<T>::shape() const {
  return {storage_->lengths.steps(), storage_->lengths.batch()};
}

template <class T>
const Lengths& RecurrentActivations<T>::lengths() const {
  return storage_->lengths;
}

template <class T>
View<const T> RecurrentActivations<T>::y() const {
  const Storage& s = *storage_;
  const Lengths& l = s.lengths;
  const T* first = s.h.data() + l.batch() * s.state;
  if (l.equal()) return {first, {l.steps(), l.batch(), s.state}};
  return {first, {l.rows(), s.state}};
}

template <class T>
View<const T> RecurrentActivations<T>::h_last() const {
  const Storage& s = *storage_;
  OPS_CHECK(s.lengths.equal());
  return {s.h.data() + s.lengths.rows() * s.state, {s.lengths.batch(), s.state}};
}

template <class T>
RecurrentLayer<T>::Impl::Impl(const RecurrentSpec& s, const Executor& e)
    : spec(s), g(s), executor(e) {
  const Dim in_width = spec.ids ? kTile : g.input_columns;
  bias = Tensor<T>({g.panels, kTile});
  w_in = Tensor<T>({g.panels, g.inputs, in_width});
  w_rec = Tensor<T>({g.panels, g.state, g.recurrent_columns});
  recurrent_kernel.reset({.columns = g.recurrent_columns, .depth = g.state,
                          .lda = g.recurrent_columns, .ldb = g.state, .ldc = kTile,
                          .accumulate = true});
  if (spec.projection > 0) {
    projection = std::make_unique<LinearLayer<T>>(g.hidden, g.state, executor);
    no_bias = Tensor<T>({g.state});
  }
  if (!spec.ids)
    input_kernel.reset({.columns = g.input_columns, .depth = g.inputs, .lda = g.input_columns,
                        .ldb = g.inputs, .ldc = kTile, .accumulate = true});
}

// Two sequences at least for each thread, else one thread does it all. Where the weights stay near,
// a thread has up to four parts of eight sequences or more: if something else takes a processor for
// a while, the other threads take over.
template <class T>
int RecurrentLayer<T>::Impl::row_parts(Dim batch) const {
  constexpr Dim kNearBytes = Dim{512} << 10, kRows = 8;
  const Dim threads = executor.threads();
  if (threads == 1 || batch < 2 * threads)
    return static_cast<int>(std::max<Dim>(1, std::min<Dim>(threads, batch / 2)));
  const bool near = g.panels * g.state * kTile * Dim{sizeof(T)} <= kNearBytes;
  return static_cast<int>(threads * (near ? std::clamp<Dim>(batch / kRows / threads, 1, 4) : 1));
}

template <class T>
typename RecurrentLayer<T>::Impl::Cut RecurrentLayer<T>::Impl::cut_of(const Lengths& l, int part,
                                                                      int parts) const {
  const Dim first = l.cut(part, parts);
  return {first, l.cut(part + 1, parts) - first, parts >= executor.threads()};
}

// tiles[row] = bias + x[row]·w for these rows of a panel.
template <class T>
void RecurrentLayer<T>::Impl::input_tiles(const T* x, Storage& s, Dim panel, Dim row,
                                          Dim rows) const {
  T* tiles = s.gates.data() + (panel * s.lengths.rows() + row) * kTile;
  for (Dim i = 0; i < rows; ++i) std::copy_n(bias.data() + panel * kTile, kTile, tiles + i * kTile);
  input_kernel(rows, w_in.data() + panel * g.inputs * g.input_columns, x + row * g.inputs, tiles);
}

// For all rows of all steps, a block of rows at a time.
template <class T>
void RecurrentLayer<T>::Impl::input_product(const T* x, Storage& s) const {
  const Dim rows = s.lengths.rows();
  const Dim block = GemmKernel<T>::kRowsMax;
  executor.run(static_cast<int>((rows + block - 1) / block), [&](int part) {
    const Dim row = part * block;
    for (Dim p = 0; p < g.panels; ++p) input_tiles(x, s, p, row, std::min(block, rows - row));
  });
}

template <class T>
void RecurrentLayer<T>::Impl::gather(const std::int32_t* ids, Dim rows, Dim panel,
                                     T* tiles) const {
  const T* table = w_in.data() + panel * g.inputs * kTile;
  for (Dim i = 0; i < rows; ++i) std::copy_n(table + ids[i] * kTile, kTile, tiles + i * kTile);
}

// The steps from t on that a thread takes together: as many as give it kBlockRows rows.
template <class T>
Dim RecurrentLayer<T>::Impl::block_end(const Lengths& l, Dim t, const Cut& cut) const {
  for (Dim rows = 0; t < l.steps() && rows < kBlockRows; ++t) rows += cut.rows_at(l, t);
  return t;
}

template <class T>
void RecurrentLayer<T>::Impl::run_rows(const RecurrentInput<T>& x, Storage& s,
                                       const Cut& cut) const {
  const Lengths& l = s.lengths;
  for (Dim t = 0; t < l.steps() && cut.rows_at(l, t) > 0;) {
    const Dim end = block_end(l, t, cut);
    if (cut.whole && !spec.ids) {
      for (Dim p = 0; p < g.panels; ++p)
        for (Dim u = t; u < end && cut.rows_at(l, u) > 0; ++u)
          input_tiles(x.dense.data(), s, p, l.at(u) + cut.first, cut.rows_at(l, u));
    }
    for (; t < end && cut.rows_at(l, t) > 0; ++t) run_step(x.ids.data(), s, cut, t);
  }
}

template <class T>
void RecurrentLayer<T>::Impl::run_step(const std::int32_t* ids, Storage& s, const Cut& cut,
                                       Dim t) const {
  const Lengths& l = s.lengths;
  const Dim all = l.rows(), before_all = l.batch() + all;
  const auto cell = kernels<T>().cell_forward[static_cast<int>(g.cell)];
  const Dim rows = cut.rows_at(l, t);
  const Dim row = l.at(t) + cut.first, before = l.before(t) + cut.first, after = l.batch() + row;
  const T* h_before = s.h.data() + before * g.state;
  T* h = projection ? s.raw.data() + row * g.hidden : s.h.data() + after * g.state;
  for (Dim p = 0; p < g.panels; ++p) {
    T* tiles = s.gates.data() + (p * all + row) * kTile;
    if (spec.ids) gather(ids + row, rows, p, tiles);
    recurrent_kernel(rows, w_rec.data() + p * g.state * g.recurrent_columns, h_before,
                     tiles + g.recurrent_offset);
    CellForward<T> step{.rows = rows, .units = g.units_in(p), .gates = tiles,
                        .h_before = h_before + p * g.units, .h = h + p * g.units,
                        .h_stride = g.hidden};
    if (g.cell == Cell::kLstm) {
      T* c = s.c.data() + p * before_all * kCellLanes;
      step.c_before = c + before * kCellLanes;
      step.c = c + after * kCellLanes;
      step.c_tanh = s.c_tanh.data() + (p * all + row) * kCellLanes;
    }
    cell(step);
  }
  if (projection)
    projection->forward_here({h, {rows, g.hidden}}, {s.h.data() + after * g.state,
                                                     {rows, g.state}});
}

namespace {

// [N,width] in the batch's order to rows in the order of places. Empty means zeros.
template <class T>
void rows_in(View<const T> from, const Lengths& lengths, Dim width, T* to) {
  OPS_CHECK(from.empty() || from.count() == lengths.batch() * width);
  for (Dim place = 0; place < lengths.batch(); ++place, to += width) {
    if (from.empty()) {
      std::fill_n(to, width, T(0));
    } else {
      std::copy_n(from.data() + lengths.sequence(place) * width, width, to);
    }
  }
}

// The same to the first rows of panels [P][stride][16].
template <class T>
void state_in(View<const T> from, const CellGeometry& g, const Lengths& lengths, Dim stride,
              T* to) {
  OPS_CHECK(from.empty() || from.count() == lengths.batch() * g.hidden);
  for (Dim p = 0; p < g.panels; ++p) {
    for (Dim place = 0; place < lengths.batch(); ++place) {
      T* lanes = to + (p * stride + place) * kCellLanes;
      std::fill_n(lanes, kCellLanes, T(0));
      if (!from.empty())
        std::copy_n(from.data() + lengths.sequence(place) * g.hidden + p * kCellLanes,
                    g.units_in(p), lanes);
    }
  }
}

// And back; row_of(place) says which row.
template <class T, class RowOf>
void state_out(const T* from, const CellGeometry& g, const Lengths& lengths, Dim stride,
               const RowOf& row_of, View<T> to) {
  OPS_CHECK(to.count() == lengths.batch() * g.hidden);
  for (Dim p = 0; p < g.panels; ++p) {
    for (Dim place = 0; place < lengths.batch(); ++place)
      std::copy_n(from + (p * stride + row_of(place)) * kCellLanes, g.units_in(p),
                  to.data() + lengths.sequence(place) * g.hidden + p * kCellLanes);
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
  Impl& m = *impl_;
  const CellGeometry& g = m.g;
  OPS_CHECK(w.w_ih.count() == g.gates * g.hidden * g.inputs);
  OPS_CHECK(w.w_hh.count() == g.gates * g.hidden * g.state);
  OPS_CHECK(w.b_ih.count() == g.gates * g.hidden && w.b_hh.count() == g.gates * g.hidden);
  m.pack_forward(w);
  m.packed = true;
  m.packed_for_training = use == PackFor::kTraining;
  if (m.packed_for_training) m.pack_backward(w);
  if (m.projection) {
    OPS_CHECK(w.w_hr.count() == g.state * g.hidden);
    m.projection->pack({w.w_hr, m.no_bias}, use);
  }
}

template <class T>
void RecurrentLayer<T>::forward(const RecurrentInput<T>& x, const RecurrentState<const T>& first,
                                RecurrentActivations<T>& activations,
                                const RecurrentState<T>& last) {
  Impl& m = *impl_;
  auto& s = activations.storage();
  const Lengths& l = s.lengths;
  const Dim batch = l.batch(), rows = l.rows();
  OPS_CHECK(m.packed && s.hidden == m.g.hidden && s.state == m.g.state);
  OPS_CHECK(s.gates.count() == m.g.panels * rows * kTile);
  OPS_CHECK(m.spec.ids ? x.ids.count() == rows : x.dense.count() == rows * m.g.inputs);
  if (m.spec.ids)
    for (const std::int32_t id : x.ids.span()) OPS_CHECK(id >= 0 && id < m.g.inputs);

  rows_in(first.h, l, m.g.state, s.h.data());
  const bool lstm = m.g.cell == Cell::kLstm;
  if (lstm) state_in<T>(first.c, m.g, l, rows + batch, s.c.data());
  const int parts = m.row_parts(batch);
  if (!m.spec.ids && !m.cut_of(l, 0, parts).whole) m.input_product(x.dense.data(), s);
  m.executor.run(parts, [&](int part) { m.run_rows(x, s, m.cut_of(l, part, parts)); });
  if (!last.h.empty()) {
    OPS_CHECK(last.h.count() == batch * m.g.state);
    for (Dim place = 0; place < batch; ++place)
      std::copy_n(s.h.data() + l.last(place) * m.g.state, m.g.state,
                  last.h.data() + l.sequence(place) * m.g.state);
  }
  if (lstm && !last.c.empty())
    state_out<T>(s.c.data(), m.g, l, rows + batch, [&](Dim place) { return l.last(place); },
                 last.c);
}

template <class T>
void RecurrentLayer<T>::backward(const Backward& b, RecurrentActivations<T>& activations) {
  Impl& m = *impl_;
  auto& s = activations.storage();
  const CellGeometry& g = m.g;
  const Lengths& l = s.lengths;
  const Dim batch = l.batch(), rows = l.rows(), state = batch * g.state;
  OPS_CHECK(s.gates.count() == g.panels * rows * kTile && b.dy.count() == rows * g.state);
  OPS_CHECK(m.spec.ids ? b.x.ids.count() == rows : b.x.dense.count() == rows * g.inputs);
  OPS_CHECK(b.dx.empty() || (!m.spec.ids && b.dx.count() == rows * g.inputs));
  OPS_CHECK(b.dlast.h.empty() || b.dlast.h.count() == state);
  OPS_CHECK(b.dfirst.h.empty() || b.dfirst.h.count() == state);
  OPS_CHECK(b.grads.w_ih.count() == g.gates * g.hidden * g.inputs);
  OPS_CHECK(b.grads.w_hh.count() == g.gates * g.hidden * g.state);
  OPS_CHECK(b.grads.b_ih.count() == g.gates * g.hidden);
  OPS_CHECK(b.grads.b_hh.count() == g.gates * g.hidden);
  OPS_CHECK(!m.projection || b.grads.w_hr.count() == g.state * g.hidden);

  OPS_CHECK(m.packed_for_training);
  m.prepare_backward(l);
  const bool lstm = g.cell == Cell::kLstm;
  if (lstm) state_in<T>(b.dlast.c, g, l, batch, m.dc.data());
  const int parts = m.row_parts(batch);
  m.executor.run(parts, [&](int part) { m.backward_rows(b, s, m.cut_of(l, part, parts)); });
  if (lstm && !b.dfirst.c.empty())
    state_out<T>(m.dc.data(), g, l, batch, [](Dim place) { return place; }, b.dfirst.c);
  if (!b.dx.empty() && !m.cut_of(l, 0, parts).whole) m.input_gradient(s, b.dx);
  m.weight_gradients(b, s);
}

template class RecurrentActivations<float>;
template class RecurrentActivations<double>;
template class RecurrentLayer<float>;
template class RecurrentLayer<double>;

}  // namespace rondo::ops
