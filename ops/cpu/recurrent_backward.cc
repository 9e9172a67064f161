#include <algorithm>

#include <rondo/ops/cpu/recurrent_impl.h>

// Backward. (1) Every thread takes its rows back through all steps: the cell's gradients overwrite
// the gate tiles, then one batched product makes dh of the step before. (2) After some steps, dx of
// them. A batch that is too small for all threads has (2) afterwards, by all threads. (3) Panel by
// panel, the weight gradients (recurrent_gradient.cc).

namespace rondo::ops {
namespace {

template <class T>
std::uint64_t bytes_of(Dim count) {
  return static_cast<std::uint64_t>(count) * sizeof(T);
}

}  // namespace

template <class T>
void RecurrentLayer<T>::Impl::prepare_backward(const Lengths& lengths) {
  const Dim rows = lengths.rows(), batch = lengths.batch();
  ensure(dh, g.state_blocks * batch * kTile);
  if (g.cell == Cell::kLstm) ensure(dc, g.panels * batch * kCellLanes);
  const Dim width = std::max(g.inputs, g.state) * kTile;
  part_scratch = lengths.equal() ? width : 2 * width + rows * kTile;
  ensure(sums, gradient_parts() * part_scratch);
  if (projection) {
    ensure(dh_all, rows * g.state), ensure(raw_dh, batch * g.hidden), ensure(no_dh, batch * kTile);
    ensure(dw_hr, g.state * g.hidden), ensure(db_hr, g.state);
  }
  in_a.clear(), in_b.clear(), rec_a.clear(), rec_b.clear();
  for (Dim p = 0; p < g.panels; ++p) {
    in_a.push_back(bytes_of<T>(p * g.input_columns * kTile));
    in_b.push_back(bytes_of<T>(p * rows * kTile));
    rec_a.push_back(bytes_of<T>(p * g.recurrent_columns * kTile));
    rec_b.push_back(bytes_of<T>(p * rows * kTile));
  }
  const GemmShape dh_shape{.columns = kTile, .depth = g.recurrent_columns, .lda = kTile,
                           .ldb = kTile, .ldc = kTile,
                           .accumulate = g.cell == Cell::kGru, .batched = true};
  if (dh_kernel.shape().depth == 0) dh_kernel.reset(dh_shape);
  if (dx_kernel.shape().depth == 0 && !spec.ids) {
    GemmShape dx_shape{.columns = kTile, .depth = g.input_columns, .lda = kTile, .ldb = kTile,
                       .ldc = kTile, .batched = true};
    dx_narrow_kernel.reset(dx_shape);
    dx_shape.ldc = std::max(g.inputs, kTile);
    dx_kernel.reset(dx_shape);
  }
  prepare_operands(lengths);
  prepare_gradient(recurrent_grad, g.recurrent_columns, h_stride, rows, lengths.equal());
  if (!spec.ids) prepare_gradient(input_grad, g.input_columns, x_stride, rows, lengths.equal());
}

// With a projection: the whole gradient of h, then through w_hr to that of o·tanh c.
template <class T>
void RecurrentLayer<T>::Impl::project_back(const Backward& b, Storage& s, Dim row, Dim first_row,
                                           Dim rows) {
  const Dim batch = s.lengths.batch();
  for (Dim i = 0; i < rows; ++i) {
    for (Dim q = 0; q < g.state_blocks; ++q) {
      const Dim at = (row + i) * g.state + q * kTile;
      kernels<T>().add(b.dy.data() + at, dh.data() + (q * batch + first_row + i) * kTile,
                       std::min(kTile, g.state - q * kTile), dh_all.data() + at, false);
    }
  }
  projection->input_gradient_here({dh_all.data() + row * g.state, {rows, g.state}},
                                  {raw_dh.data() + first_row * g.hidden, {rows, g.hidden}});
}

template <class T>
void RecurrentLayer<T>::Impl::backward_rows(const Backward& b, Storage& s, const Cut& cut) {
  const Lengths& l = s.lengths;
  const auto each_row = [&](const auto& body) {   // body(block of dh, row of the batch, columns)
    for (Dim q = 0; q < g.state_blocks; ++q)
      for (Dim place = cut.first; place < cut.first + cut.places; ++place)
        body(dh.data() + (q * l.batch() + place) * kTile, l.sequence(place) * g.state + q * kTile,
             std::min(kTile, g.state - q * kTile));
  };
  each_row([&](T* to, Dim from, Dim n) {
    std::fill_n(to, kTile, T(0));
    if (!b.dlast.h.empty()) std::copy_n(b.dlast.h.data() + from, n, to);
  });
  for (Dim end = l.steps(), t = end - 1, rows = 0; t >= 0; --t) {
    rows += cut.rows_at(l, t);
    backward_step(b, s, cut, t);
    if (b.dx.empty() || !cut.whole || (rows < kBlockRows && t > 0)) continue;
    for (Dim q = 0; q < g.input_blocks; ++q)
      for (Dim u = t; u < end && cut.rows_at(l, u) > 0; ++u)
        input_gradient_block(s, q, l.at(u) + cut.first, cut.rows_at(l, u), b.dx);
    end = t;
    rows = 0;
  }
  if (b.dfirst.h.empty()) return;
  each_row([&](const T* from, Dim to, Dim n) { std::copy_n(from, n, b.dfirst.h.data() + to); });
}

template <class T>
void RecurrentLayer<T>::Impl::backward_step(const Backward& b, Storage& s, const Cut& cut, Dim t) {
  const Lengths& l = s.lengths;
  const Dim batch = l.batch(), all = l.rows(), rows = cut.rows_at(l, t);
  if (rows == 0) return;   // nobody here runs as long
  const auto cell = kernels<T>().cell_backward[static_cast<int>(g.cell)];
  const auto dh_of = [&](Dim q) { return dh.data() + (q * batch + cut.first) * kTile; };
  const Dim row = l.at(t) + cut.first, before = l.before(t) + cut.first;
  copy_operands(b, s, row, before, rows);
  if (projection) project_back(b, s, row, cut.first, rows);
  for (Dim p = 0; p < g.panels; ++p) {
    const Dim unit = p * g.units;
    CellBackward<T> step{.rows = rows, .units = g.units_in(p),
                         .gates = s.gates.data() + (p * all + row) * kTile,
                         .h_before = s.h.data() + before * g.state + unit,
                         .dy = b.dy.data() + row * g.state + unit, .h_stride = g.hidden,
                         .back = t == 0 ? 0 : l.at(t) - l.at(t - 1)};
    if (projection) {
      step.dy = raw_dh.data() + cut.first * g.hidden + unit;
      step.dh = no_dh.data();
    } else {
      step.dh = dh_of(unit / kTile) + unit % kTile;
    }
    if (g.cell == Cell::kLstm) {
      step.c_before = s.c.data() + (p * (all + batch) + before) * kCellLanes;
      step.c_tanh = s.c_tanh.data() + (p * all + row) * kCellLanes;
      step.dc = dc.data() + (p * batch + cut.first) * kCellLanes;
    }
    cell(step);
  }
  if (t == 0 && b.dfirst.h.empty()) return;
  const T* tiles = s.gates.data() + row * kTile + g.recurrent_offset;
  const Dim block = g.panels * g.recurrent_columns * kTile;
  for (Dim q = 0; q < g.state_blocks; ++q)
    dh_kernel.batch(rows, w_rec_back.data() + q * block, tiles, dh_of(q), g.panels, rec_a.data(),
                    rec_b.data());
}

// Columns [64·block, …) of dx for these rows.
template <class T>
void RecurrentLayer<T>::Impl::input_gradient_block(const Storage& s, Dim block, Dim row, Dim rows,
                                                   View<T> dx) const {
  constexpr Dim kRows = GemmKernel<T>::kRowsMax;
  const Dim columns = std::min(kTile, g.inputs - block * kTile);
  const T* w = w_in_back.data() + block * g.panels * g.input_columns * kTile;
  const T* tiles = s.gates.data() + row * kTile;
  T* to = dx.data() + row * g.inputs + block * kTile;
  if (columns == kTile)
    return dx_kernel.batch(rows, w, tiles, to, g.panels, in_a.data(), in_b.data());
  alignas(64) T tile[kRows * kTile];   // the last, narrow block
  for (Dim done = 0; done < rows; done += kRows) {
    const Dim n = std::min(kRows, rows - done);
    dx_narrow_kernel.batch(n, w, tiles + done * kTile, tile, g.panels, in_a.data(), in_b.data());
    for (Dim i = 0; i < n; ++i)
      std::copy_n(tile + i * kTile, columns, to + (done + i) * g.inputs);
  }
}

template <class T>
void RecurrentLayer<T>::Impl::input_gradient(const Storage& s, View<T> dx) const {
  const Dim rows = s.lengths.rows();
  const Dim block = GemmKernel<T>::kRowsMax;
  executor.run(static_cast<int>((rows + block - 1) / block), [&](int part) {
    const Dim row = part * block;
    for (Dim q = 0; q < g.input_blocks; ++q)
      input_gradient_block(s, q, row, std::min(block, rows - row), dx);
  });
}

#define RONDO_INSTANTIATE(T)                                                                     \
  template void RecurrentLayer<T>::Impl::prepare_backward(const Lengths&);                       \
  template void RecurrentLayer<T>::Impl::backward_rows(const Backward&, Storage&, const Cut&);   \
  template void RecurrentLayer<T>::Impl::input_gradient(const Storage&, View<T>) const;
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
