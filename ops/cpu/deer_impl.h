#pragma once

#include <algorithm>
#include <memory>

#include <rondo/ops/cpu/deer_solve.h>
#include <rondo/ops/cpu/panel_product.h>
#include <rondo/ops/deer.h>

// The inside of a DEER layer: Newton's iterations (deer.cc) and what they need of a cell
// (deer_cell.cc). For every row and unit, a cell is linear in small changes of its gates' sums:
//
//   Elman, GRU   dh = Σ over gates of slope·d(sum) + direct·dh'
//   LSTM         dc = Σ over i f g of slope·d(sum) + direct·dc'
//                dh = slope(o)·d(sum of o) + through·dc
//
// and sums are w_hh·h'. Gates in the order of w_hh's rows. Rows are t·N + n.

namespace rondo::ops {

template <class T>
struct DeerActivations<T>::Storage {
  Storage(const RecurrentSpec&, SequenceShape);
  [[nodiscard]] Dim rows() const { return shape.steps * shape.batch; }
  SequenceShape shape;
  RecurrentActivations<T> all;      // one step of T·N rows
  Tensor<T> h, c;                   // [T+1,N,H]: the trajectory
  Tensor<T> c_new;                  // [T·N,H]: f's c; its h is all.y()
  Tensor<T> slopes;                 // [T·N,G,H]
  Tensor<T> direct, through;        // [T·N,H]
  std::unique_ptr<RecurrentActivations<T>> loop;   // if the loop ran instead
};

template <class T>
struct DeerLayer<T>::Impl {
  Impl(const RecurrentSpec&, const Executor&, const DeerOptions&);
  using Storage = typename DeerActivations<T>::Storage;
  using Backward = typename RecurrentLayer<T>::Backward;

  void evaluate(const RecurrentInput<T>& x, Storage&);
  [[nodiscard]] double residual(const Storage&) const;
  DeerReport solve_adjoint(const Backward&, Storage&);

  void find_slopes(Storage&) const;
  [[nodiscard]] T of_itself(const Storage&, Dim row, Dim unit) const;   // ∂h/∂h' of one unit
  void jacobian(const Storage&, Dim row, bool transposed, T* a, Dim stride) const;
  void solve_diagonal(Storage&);
  void solve_full(Storage&);
  void product_back(const Storage&);
  void solve_diagonal_back(const Storage&);
  void solve_full_back(const Storage&);

  // body(row) for all rows, by all threads.
  template <class Body>
  void each_row(Dim rows, const Body& body) const {
    constexpr Dim kRows = 16;
    executor.run(static_cast<int>((rows + kRows - 1) / kRows), [&](int part) {
      for (Dim row = part * kRows; row < std::min(rows, (part + 1) * kRows); ++row) body(row);
    });
  }

  const RecurrentSpec spec;
  const Executor& executor;
  const DeerOptions options;
  const bool full, lstm;
  const Dim gates, hidden;
  RecurrentLayer<T> layer;
  DenseScan<T> dense;
  PanelProduct<T> back;             // gradients of sums to that of h'
  Tensor<T> w_hh;
  Tensor<T> factor, addend, scan_scratch;   // [T·N,H]: a diagonal recurrence
  // Backwards in time: gradients of states, J^T times them, dy.
  Tensor<T> lambda_h, lambda_c, product_h, product_c, dy_turned, of_sums;
};

// [T][count] with the last step first; its own inverse.
template <class T>
void turn(const T* from, Dim steps, Dim count, T* to) {
  for (Dim t = 0; t < steps; ++t)
    std::copy_n(from + (steps - 1 - t) * count, count, to + t * count);
}

}  // namespace rondo::ops
