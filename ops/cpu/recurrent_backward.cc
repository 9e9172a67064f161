#include <algorithm>

#include <rondo/ops/cpu/recurrent_impl.h>

// Backward. (1) Every thread takes its rows back through all steps: the cell's gradients overwrite
// the gate tiles, then one batched product makes dh of the step before. (2) dx of all steps at
// once. (3) Panel by panel, the weight gradients: sums over all rows of all steps, ascending.

namespace rondo::ops {
namespace {

template <class T>
std::uint64_t bytes_of(Dim count) {
  return static_cast<std::uint64_t>(count) * sizeof(T);
}

}  // namespace

template <class T>
void RecurrentLayer<T>::Impl::prepare_backward(SequenceShape shape) {
  const Dim rows = shape.steps * shape.batch;
  ensure(dh, g.hidden_blocks * shape.batch * kTile);
  if (g.cell == Cell::kLstm) ensure(dc, g.panels * shape.batch * kCellLanes);
  ensure(sums, executor.threads() * std::max(g.inputs, g.hidden) * kTile);
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
  const auto prepare = [&](Gradient& to, Dim columns, Dim width) {
    GemmShape shape_of{.columns = columns, .depth = kDepthChunk, .lda = kTile, .ldb = width,
                       .ldc = columns, .b_by_depth = true, .accumulate = true};
    if (to.chunk.shape().depth == 0) to.chunk.reset(shape_of);
    if (to.rest_depth == rows % kDepthChunk) return;
    to.rest_depth = shape_of.depth = rows % kDepthChunk;
    if (shape_of.depth > 0) to.rest.reset(shape_of);
  };
  prepare(recurrent_grad, g.recurrent_columns, g.hidden);
  if (!spec.ids) prepare(input_grad, g.input_columns, g.inputs);
}

template <class T>
void RecurrentLayer<T>::Impl::backward_rows(const Backward& b, Storage& s, Dim first_row,
                                            Dim rows) {
  const Dim batch = s.shape.batch, all = s.shape.steps * batch;
  const auto cell = kernels<T>().cell_backward[static_cast<int>(g.cell)];
  const auto dh_of = [&](Dim q) { return dh.data() + (q * batch + first_row) * kTile; };
  for (Dim q = 0; q < g.hidden_blocks; ++q) {
    std::fill_n(dh_of(q), rows * kTile, T(0));
    if (b.dlast.h.empty()) continue;
    const Dim n = std::min(kTile, g.hidden - q * kTile);
    for (Dim i = 0; i < rows; ++i)
      std::copy_n(b.dlast.h.data() + (first_row + i) * g.hidden + q * kTile, n,
                  dh_of(q) + i * kTile);
  }
  for (Dim t = s.shape.steps - 1; t >= 0; --t) {
    const Dim row = t * batch + first_row;
    for (Dim p = 0; p < g.panels; ++p) {
      const Dim unit = p * g.units;
      CellBackward<T> step{.rows = rows, .units = g.units_in(p),
                           .gates = s.gates.data() + (p * all + row) * kTile,
                           .h_before = s.h.data() + row * g.hidden + unit,
                           .dy = b.dy.data() + row * g.hidden + unit, .h_stride = g.hidden,
                           .dh = dh_of(unit / kTile) + unit % kTile};
      if (g.cell == Cell::kLstm) {
        step.c_before = s.c.data() + (p * (all + batch) + row) * kCellLanes;
        step.c_tanh = s.c_tanh.data() + (p * all + row) * kCellLanes;
        step.dc = dc.data() + (p * batch + first_row) * kCellLanes;
      }
      cell(step);
    }
    if (t == 0 && b.dfirst.h.empty()) return;
    const T* tiles = s.gates.data() + row * kTile + g.recurrent_offset;
    const Dim block = g.panels * g.recurrent_columns * kTile;
    for (Dim q = 0; q < g.hidden_blocks; ++q)
      dh_kernel.batch(rows, w_rec_back.data() + q * block, tiles, dh_of(q), g.panels,
                      rec_a.data(), rec_b.data());
  }
  for (Dim q = 0; q < g.hidden_blocks; ++q) {
    const Dim n = std::min(kTile, g.hidden - q * kTile);
    for (Dim i = 0; i < rows; ++i)
      std::copy_n(dh_of(q) + i * kTile, n,
                  b.dfirst.h.data() + (first_row + i) * g.hidden + q * kTile);
  }
}

template <class T>
void RecurrentLayer<T>::Impl::input_gradient(const Storage& s, View<T> dx) const {
  const Dim rows = s.shape.steps * s.shape.batch;
  const Dim block = GemmKernel<T>::kRowsMax;
  executor.run(static_cast<int>((rows + block - 1) / block), [&](int part) {
    const Dim row = part * block, n = std::min(block, rows - row);
    for (Dim q = 0; q < g.input_blocks; ++q) {
      const Dim columns = std::min(kTile, g.inputs - q * kTile);
      const T* w = w_in_back.data() + q * g.panels * g.input_columns * kTile;
      const T* tiles = s.gates.data() + row * kTile;
      T* to = dx.data() + row * g.inputs + q * kTile;
      if (columns == kTile) {
        dx_kernel.batch(n, w, tiles, to, g.panels, in_a.data(), in_b.data());
        continue;
      }
      alignas(64) T tile[GemmKernel<T>::kRowsMax * kTile];   // the last, narrow block
      dx_narrow_kernel.batch(n, w, tiles, tile, g.panels, in_a.data(), in_b.data());
      for (Dim i = 0; i < n; ++i) std::copy_n(tile + i * kTile, columns, to + i * g.inputs);
    }
  });
}

// sums[k][c] += Σ over rows of x[row][k]·tiles[row][offset + c].
template <class T>
void RecurrentLayer<T>::Impl::products_over_rows(const T* tiles, const T* x, Dim width,
                                                 const Gradient& kernels_of, Dim rows,
                                                 T* to) const {
  Dim row = 0;
  for (; row + kDepthChunk <= rows; row += kDepthChunk)
    kernels_of.chunk(width, tiles + row * kTile, x + row * width, to);
  if (row < rows) kernels_of.rest(width, tiles + row * kTile, x + row * width, to);
}

// Item 2p: the input weights and both biases of panel p; item 2p+1: its recurrent weights.
template <class T>
void RecurrentLayer<T>::Impl::panel_gradient(const Backward& b, Storage& s, Dim item,
                                             T* scratch) const {
  const Dim p = item / 2, rows = s.shape.steps * s.shape.batch;
  const T* tiles = s.gates.data() + p * rows * kTile;
  if (item % 2 == 1) {
    std::fill_n(scratch, g.hidden * g.recurrent_columns, T(0));
    products_over_rows(tiles + g.recurrent_offset, s.h.data(), g.hidden, recurrent_grad, rows,
                       scratch);
    unpack_rows(scratch, p, g.recurrent_offset, g.recurrent_columns, g.hidden, b.grads.w_hh,
                b.mode);
    return;
  }
  std::fill_n(scratch, g.inputs * g.input_columns, T(0));
  if (spec.ids) {
    for (Dim row = 0; row < rows; ++row) {
      T* to = scratch + b.x.ids[row] * g.input_columns;
      kernels<T>().add(to, tiles + row * kTile, g.input_columns, to);
    }
  } else {
    products_over_rows(tiles, b.x.dense.data(), g.inputs, input_grad, rows, scratch);
  }
  unpack_rows(scratch, p, 0, g.input_columns, g.inputs, b.grads.w_ih, b.mode);
  unpack_bias(tiles, rows, p, b);
}

template <class T>
void RecurrentLayer<T>::Impl::weight_gradients(const Backward& b, Storage& s) {
  const Dim items = 2 * g.panels;
  const Dim parts = std::min<Dim>(executor.threads(), items);
  const Dim scratch = std::max(g.inputs, g.hidden) * kTile;
  executor.run(static_cast<int>(parts), [&](int part) {
    for (Dim item = items * part / parts; item < items * (part + 1) / parts; ++item)
      panel_gradient(b, s, item, sums.data() + part * scratch);
  });
}

#define RONDO_INSTANTIATE(T)                                                                     \
  template void RecurrentLayer<T>::Impl::prepare_backward(SequenceShape);                        \
  template void RecurrentLayer<T>::Impl::backward_rows(const Backward&, Storage&, Dim, Dim);     \
  template void RecurrentLayer<T>::Impl::input_gradient(const Storage&, View<T>) const;          \
  template void RecurrentLayer<T>::Impl::weight_gradients(const Backward&, Storage&);
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
