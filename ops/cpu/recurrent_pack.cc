#include <algorithm>

#include <rondo/ops/cpu/recurrent_impl.h>

// Geometry and packing: between PyTorch's rows and panels of tiles.

namespace rondo::ops {

int gate_count(Cell cell) {
  if (cell == Cell::kLstm) return 4;
  return cell == Cell::kGru ? 3 : 1;
}

CellGeometry::CellGeometry(const RecurrentSpec& spec)
    : cell(spec.cell),
      inputs(spec.inputs),
      hidden(spec.hidden),
      state(spec.state()),
      gates(gate_count(spec.cell)) {
  OPS_CHECK(inputs > 0 && hidden > 0 && spec.projection >= 0);
  OPS_CHECK(spec.projection == 0 || (cell == Cell::kLstm && spec.projection < hidden));
  const bool gated = gates > 1;
  units = gated ? kCellLanes : kTile;
  lanes = units;
  panels = (hidden + units - 1) / units;
  input_columns = cell == Cell::kGru ? 3 * kCellLanes : kTile;
  recurrent_offset = cell == Cell::kGru ? kCellLanes : 0;
  recurrent_columns = kTile - recurrent_offset;
  state_blocks = (state + kTile - 1) / kTile;
  input_blocks = (inputs + kTile - 1) / kTile;
}

Dim CellGeometry::row_of(Dim panel, Dim column) const {
  const Dim unit = panel * units + column % lanes;
  if (unit >= hidden) return -1;
  Dim gate = column / lanes;
  if (cell == Cell::kGru) gate = gate == 0 || gate == 3 ? 2 : gate - 1;   // tile: n r z n
  return gate * hidden + unit;
}

Dim CellGeometry::units_in(Dim panel) const { return std::min(units, hidden - panel * units); }

namespace {

// to[k][c] = from[row_of(offset + c)][k] for k < depth: transpositions, the rows of a slot lie one
// after another.
template <class T>
void pack_panel(const CellGeometry& g, Dim panel, Dim offset, Dim columns, const T* from,
                Dim depth, T* to, Dim to_stride) {
  const Dim exist = g.units_in(panel);
  if (exist < g.lanes)
    for (Dim k = 0; k < depth; ++k) std::fill_n(to + k * to_stride, columns, T(0));
  for (Dim c = 0; c < columns; c += g.lanes)
    kernels<T>().transpose({.rows = exist, .columns = depth,
                            .from = from + g.row_of(panel, offset + c) * depth,
                            .from_stride = depth, .to = to + c, .to_stride = to_stride});
}

// to[c][m] = from[row_of(offset + c)][first + m] for m < 64, zero where there is none.
template <class T>
void pack_block(const CellGeometry& g, Dim panel, Dim offset, Dim columns, const T* from,
                Dim width, Dim first, T* to) {
  const Dim n = std::min(kTile, width - first);
  for (Dim c = 0; c < columns; ++c, to += kTile) {
    const Dim row = g.row_of(panel, offset + c);
    std::fill_n(to, kTile, T(0));
    if (row >= 0) std::copy_n(from + row * width + first, n, to);
  }
}

}  // namespace

template <class T>
void RecurrentLayer<T>::Impl::pack_forward(const RecurrentParams<const T>& w) {
  const Dim in_width = spec.ids ? kTile : g.input_columns;
  executor.run(static_cast<int>(g.panels), [&](int part) {
    const Dim p = part;
    T* b = bias.data() + p * kTile;
    for (Dim c = 0; c < kTile; ++c) {
      const Dim row = g.row_of(p, c);
      b[c] = T(0);
      if (row < 0) continue;
      if (c < g.input_columns) b[c] = w.b_ih[row];
      if (c >= g.recurrent_offset) b[c] = b[c] + w.b_hh[row];
    }
    T* in = w_in.data() + p * g.inputs * in_width;
    pack_panel(g, p, Dim{0}, g.input_columns, w.w_ih.data(), g.inputs, in, in_width);
    if (spec.ids) {
      for (Dim id = 0; id < g.inputs; ++id) {
        for (Dim c = 0; c < kTile; ++c) {
          T& value = in[id * kTile + c];
          value = c < g.input_columns ? b[c] + value : b[c];
        }
      }
    }
    pack_panel(g, p, g.recurrent_offset, g.recurrent_columns, w.w_hh.data(), g.state,
               w_rec.data() + p * g.state * g.recurrent_columns, g.recurrent_columns);
  });
}

template <class T>
void RecurrentLayer<T>::Impl::pack_backward(const RecurrentParams<const T>& w) {
  if (w_rec_back.count() == 0)
    w_rec_back = Tensor<T>({g.state_blocks, g.panels, g.recurrent_columns, kTile});
  if (w_in_back.count() == 0 && !spec.ids)
    w_in_back = Tensor<T>({g.input_blocks, g.panels, g.input_columns, kTile});
  executor.run(static_cast<int>(g.panels), [&](int part) {
    const Dim p = part;
    for (Dim q = 0; q < g.state_blocks; ++q)
      pack_block(g, p, g.recurrent_offset, g.recurrent_columns, w.w_hh.data(), g.state, q * kTile,
                 w_rec_back.data() + (q * g.panels + p) * g.recurrent_columns * kTile);
    if (spec.ids) return;
    for (Dim q = 0; q < g.input_blocks; ++q)
      pack_block(g, p, Dim{0}, g.input_columns, w.w_ih.data(), g.inputs, q * kTile,
                 w_in_back.data() + (q * g.panels + p) * g.input_columns * kTile);
  });
}

// to = [to +] sums, transposed back to PyTorch's rows.
template <class T>
void RecurrentLayer<T>::Impl::unpack_rows(const T* from, Dim panel, Dim offset, Dim columns,
                                          Dim width, View<T> gradient, GradientMode mode) const {
  for (Dim c = 0; c < columns; c += g.lanes)
    kernels<T>().transpose({.rows = width, .columns = g.units_in(panel), .from = from + c,
                            .from_stride = columns,
                            .to = gradient.data() + g.row_of(panel, offset + c) * width,
                            .to_stride = width, .add = mode == GradientMode::kAdd});
}

// b_ih takes the columns of the input product, b_hh those of the recurrent one. `tiles` are in the
// order of groups.
template <class T>
void RecurrentLayer<T>::Impl::unpack_bias(const T* tiles, const Lengths& lengths, Dim panel,
                                          const Backward& b) const {
  alignas(64) T total[kTile], more[kTile];
  for (const Lengths::Group& group : lengths.groups()) {
    const bool first = group.place == 0;
    kernels<T>().column_sums(tiles, group.rows(), kTile, first ? total : more);
    if (!first) kernels<T>().add(total, more, kTile, total, false);
    tiles += group.rows() * kTile;
  }
  const auto put = [&](T& to, T value) {
    to = b.mode == GradientMode::kAdd ? to + value : value;
  };
  for (Dim c = 0; c < kTile; ++c) {
    const Dim row = g.row_of(panel, c);
    if (row < 0) continue;
    if (c < g.input_columns) put(b.grads.b_ih[row], total[c]);
    if (c >= g.recurrent_offset) put(b.grads.b_hh[row], total[c]);
  }
}

#define RONDO_INSTANTIATE(T)                                                                   \
  template void RecurrentLayer<T>::Impl::pack_forward(const RecurrentParams<const T>&);        \
  template void RecurrentLayer<T>::Impl::pack_backward(const RecurrentParams<const T>&);       \
  template void RecurrentLayer<T>::Impl::unpack_rows(const T*, Dim, Dim, Dim, Dim, View<T>,    \
                                                     GradientMode) const;                      \
  template void RecurrentLayer<T>::Impl::unpack_bias(const T*, const Lengths&, Dim,        \
                                                     const Backward&) const;
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
