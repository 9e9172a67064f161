#include <algorithm>

#include <rondo/ops/cpu/panel_product.h>
#include <rondo/ops/cpu/recurrent_impl.h>

// The weight gradients, panel by panel: sums over all rows of all steps, ascending. If lengths
// differ, the rows are first put in the order of groups (lengths.h): each group's sum is complete
// before it is added to that of the longer ones.

namespace rondo::ops {

template <class T>
void RecurrentLayer<T>::Impl::prepare_gradient(Gradient& to, Dim columns, Dim stride, Dim rows,
                                               bool equal) const {
  GemmShape shape{.columns = columns, .depth = kDepthChunk, .lda = kTile, .ldb = stride,
                  .ldc = columns, .b_by_depth = true, .accumulate = true};
  const bool changed = to.chunk.shape().ldb != stride;   // equal lengths need no copy, others do
  if (changed) to.chunk.reset(shape);
  if (!equal) {
    to.rest_depth = -1;   // products_over_rows: take the powers
    if (to.powers && !changed) return;
    to.powers = std::make_unique<std::array<GemmKernel<T>, 8>>();
    for (GemmKernel<T>& kernel : *to.powers) {
      shape.depth /= 2;
      kernel.reset(shape);
    }
    return;
  }
  if (to.rest_depth == rows % kDepthChunk && !changed) return;
  to.rest_depth = shape.depth = rows % kDepthChunk;
  if (shape.depth > 0) to.rest.reset(shape);
}

// sums[k][c] += Σ over rows of x[row][k]·tiles[row][offset + c].
template <class T>
void RecurrentLayer<T>::Impl::products_over_rows(const T* tiles, const T* x, Dim width,
                                                 const Gradient& kernels_of, Dim rows,
                                                 T* to) const {
  const Dim stride = kernels_of.chunk.shape().ldb;
  Dim row = 0;
  for (; row + kDepthChunk <= rows; row += kDepthChunk)
    kernels_of.chunk(width, tiles + row * kTile, x + row * stride, to);
  if (row == rows) return;
  if (kernels_of.rest_depth > 0)
    return kernels_of.rest(width, tiles + row * kTile, x + row * stride, to);
  for (const GemmKernel<T>& kernel : *kernels_of.powers) {
    if (row + kernel.shape().depth > rows) continue;
    kernel(width, tiles + row * kTile, x + row * stride, to);
    row += kernel.shape().depth;
  }
}

// The products read x and h by columns: stride_apart says when a copy pays.
template <class T>
void RecurrentLayer<T>::Impl::prepare_operands(const Lengths& l) {
  x_stride = stride_apart<T>(g.inputs), h_stride = stride_apart<T>(g.state);
  copy_h = !l.equal() || h_stride != g.state;
  copy_x = !spec.ids && (!l.equal() || x_stride != g.inputs);
  if (copy_h) ensure(h_copy, l.rows() * h_stride);
  if (copy_x) ensure(x_copy, l.rows() * x_stride);
  grouped.clear();
  if (l.equal()) return;
  if (spec.ids) ensure(ids_copy, l.rows());
  place_in_groups.assign(static_cast<std::size_t>(l.rows()), 0);
  for (const Lengths::Group& group : l.groups()) {
    for (Dim t = 0; t < group.length; ++t) {
      for (Dim place = group.place; place < group.place + group.count; ++place) {
        const Dim row = l.at(t) + place;
        place_in_groups[static_cast<std::size_t>(row)] = static_cast<Dim>(grouped.size());
        grouped.push_back(row);
      }
    }
  }
}

// Of packed rows [row, row + rows), whose states before lie from `before` on.
template <class T>
void RecurrentLayer<T>::Impl::copy_operands(const Backward& b, const Storage& s, Dim row,
                                            Dim before, Dim rows) {
  const bool equal = s.lengths.equal();
  for (Dim i = 0; i < rows; ++i) {
    const Dim to = equal ? row + i : place_in_groups[static_cast<std::size_t>(row + i)];
    if (copy_h)
      std::copy_n(s.h.data() + (before + i) * g.state, g.state, h_copy.data() + to * h_stride);
    if (copy_x)
      std::copy_n(b.x.dense.data() + (row + i) * g.inputs, g.inputs,
                  x_copy.data() + to * x_stride);
    if (spec.ids && !equal) ids_copy[to] = b.x.ids[row + i];
  }
}

template <class T>
typename RecurrentLayer<T>::Impl::Operands RecurrentLayer<T>::Impl::operands(
    const Backward& b, const Storage& s) const {
  return {copy_x ? x_copy.data() : b.x.dense.data(), copy_h ? h_copy.data() : s.h.data(),
          s.lengths.equal() ? b.x.ids.data() : ids_copy.data()};
}

// to = Σ over rows, of the input product or of the recurrent one.
template <class T>
void RecurrentLayer<T>::Impl::sum_of_group(const Operands& with, bool recurrent, const T* tiles,
                                           Dim rows, T* to) const {
  if (recurrent) {
    std::fill_n(to, g.state * g.recurrent_columns, T(0));
    return products_over_rows(tiles + g.recurrent_offset, with.h, g.state, recurrent_grad, rows,
                              to);
  }
  std::fill_n(to, g.inputs * g.input_columns, T(0));
  if (!spec.ids) return products_over_rows(tiles, with.x, g.inputs, input_grad, rows, to);
  for (Dim row = 0; row < rows; ++row) {
    T* of_id = to + with.ids[row] * g.input_columns;
    kernels<T>().add(of_id, tiles + row * kTile, g.input_columns, of_id, false);
  }
}

// Item 2p: the input weights and both biases of panel p; item 2p+1: its recurrent weights.
template <class T>
void RecurrentLayer<T>::Impl::panel_gradient(const Backward& b, Storage& s, const Operands& all,
                                             Dim item, T* scratch) const {
  const Dim p = item / 2, rows = s.lengths.rows();
  const bool recurrent = item % 2 == 1;
  const T* tiles = s.gates.data() + p * rows * kTile;
  const Dim width = recurrent ? g.state : g.inputs;
  const Dim columns = recurrent ? g.recurrent_columns : g.input_columns;
  T* more = scratch + std::max(g.inputs, g.state) * kTile;
  if (!grouped.empty()) {
    T* to = more + std::max(g.inputs, g.state) * kTile;
    for (Dim r = 0; r < rows; ++r)
      std::copy_n(tiles + grouped[static_cast<std::size_t>(r)] * kTile, kTile, to + r * kTile);
    tiles = to;
  }
  Operands with = all;
  const T* of_group = tiles;
  for (const Lengths::Group& group : s.lengths.groups()) {
    const bool first = group.place == 0;
    sum_of_group(with, recurrent, of_group, group.rows(), first ? scratch : more);
    if (!first) kernels<T>().add(scratch, more, width * columns, scratch, false);
    of_group += group.rows() * kTile;
    with.h += group.rows() * h_stride;
    if (spec.ids) with.ids += group.rows();
    if (!spec.ids) with.x += group.rows() * x_stride;
  }
  if (recurrent)
    return unpack_rows(scratch, p, g.recurrent_offset, columns, width, b.grads.w_hh, b.mode);
  unpack_rows(scratch, p, 0, columns, width, b.grads.w_ih, b.mode);
  unpack_bias(tiles, s.lengths, p, b);
}

// dw_hr = Σ over rows of (gradient of h)ᵀ·(o·tanh c), group by group.
template <class T>
void RecurrentLayer<T>::Impl::projection_gradient(const Backward& b, const Storage& s) {
  const Lengths& l = s.lengths;
  const View<T> weight(dw_hr.data(), {g.state, g.hidden}), unused(db_hr.data(), {g.state});
  const T *raw = s.raw.data(), *d = dh_all.data();
  Tensor<T> raw_rows, d_rows;
  if (!l.equal()) {
    raw_rows = Tensor<T>({l.rows(), g.hidden}), d_rows = Tensor<T>({l.rows(), g.state});
    for (Dim r = 0; r < l.rows(); ++r) {
      const Dim row = grouped[static_cast<std::size_t>(r)];
      std::copy_n(raw + row * g.hidden, g.hidden, raw_rows.data() + r * g.hidden);
      std::copy_n(d + row * g.state, g.state, d_rows.data() + r * g.state);
    }
    raw = raw_rows.data(), d = d_rows.data();
  }
  for (const Lengths::Group& group : l.groups()) {
    projection->backward({raw, {group.rows(), g.hidden}}, {d, {group.rows(), g.state}}, {},
                         {weight, unused},
                         group.place == 0 ? GradientMode::kWrite : GradientMode::kAdd);
    raw += group.rows() * g.hidden;
    d += group.rows() * g.state;
  }
  T* to = b.grads.w_hr.data();
  if (b.mode == GradientMode::kAdd) {
    kernels<T>().add(to, weight.data(), weight.count(), to, false);
  } else {
    std::copy_n(weight.data(), weight.count(), to);
  }
}

template <class T>
void RecurrentLayer<T>::Impl::weight_gradients(const Backward& b, Storage& s) {
  const Operands all = operands(b, s);
  const Dim items = 2 * g.panels;
  const Dim parts = std::min(gradient_parts(), items);
  executor.run(static_cast<int>(parts), [&](int part) {
    for (Dim item = items * part / parts; item < items * (part + 1) / parts; ++item)
      panel_gradient(b, s, all, item, sums.data() + part * part_scratch);
  });
  if (projection) projection_gradient(b, s);
}

#define RONDO_INSTANTIATE(T)                                                                   \
  template void RecurrentLayer<T>::Impl::prepare_gradient(Gradient&, Dim, Dim, Dim, bool) const; \
  template void RecurrentLayer<T>::Impl::prepare_operands(const Lengths&);                     \
  template void RecurrentLayer<T>::Impl::copy_operands(const Backward&, const Storage&, Dim, Dim, \
                                                       Dim);                                   \
  template void RecurrentLayer<T>::Impl::weight_gradients(const Backward&, Storage&);
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
