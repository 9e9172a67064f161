#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include <rondo/ops/cpu/kernel_table.h>
#include <rondo/ops/gemm.h>
#include <rondo/ops/linear.h>
#include <rondo/ops/recurrent.h>

// The inside of a recurrent layer, shared by forward, backward and packing.
//
// Hidden units are dealt to panels: 64 units for Elman, 16 for gated cells, so that every panel is
// a tile 64 columns wide (kernel_table.h): all gates of a unit lie in one tile row, and the
// pointwise part runs while the tile is hot. Buffers are panel-major: [P][R][64] with R packed
// rows (T·N when all lengths are equal). Columns without a unit have zero weights and stay 0.
//
// Rows (sequences) are cut among threads; each takes its rows through all time steps, with their
// input products or input gradients, so there is no barrier between steps, and no output's chain of
// additions is ever cut. Only weight gradients need all rows: threads then take panels.

namespace rondo::ops {

struct CellGeometry {
  explicit CellGeometry(const RecurrentSpec&);

  Cell cell;
  Dim inputs, hidden, state;   // state: the width of h
  Dim gates;                   // rows of w_ih / hidden
  Dim units;                   // a panel
  Dim panels;                  // of units
  Dim lanes;                   // columns of one slot: units again
  Dim input_columns;           // the input product writes columns [0, input_columns)
  Dim recurrent_offset;        // the recurrent product adds to [recurrent_offset, 64)
  Dim recurrent_columns;
  Dim state_blocks;            // ⌈S/64⌉: blocks of columns of dh
  Dim input_blocks;            // ⌈I/64⌉: blocks of columns of dx

  // The row of w_ih, w_hh and the biases behind this column of this panel; −1 if there is none.
  [[nodiscard]] Dim row_of(Dim panel, Dim column) const;
  [[nodiscard]] Dim units_in(Dim panel) const;
};

template <class T>
struct RecurrentActivations<T>::Storage {
  Storage(const RecurrentSpec&, const Lengths&);
  Lengths lengths;
  Dim hidden, state;
  Tensor<T> gates;             // [P][R][64]
  Tensor<T> c, c_tanh;         // [P][N+R][16], [P][R][16], LSTM
  Tensor<T> h;                 // [N+R, S]
  Tensor<T> raw;               // [R, H]: o·tanh c, with a projection
};

template <class T>
struct RecurrentLayer<T>::Impl {
  Impl(const RecurrentSpec&, const Executor&);

  using Storage = typename RecurrentActivations<T>::Storage;
  // Gradient products over rows: kDepthChunk rows at a time, then what is left; groups of a packed
  // batch take what is left in powers of two, so that few kernels serve any number of rows.
  static constexpr Dim kDepthChunk = 256;
  struct Gradient {
    GemmKernel<T> chunk, rest;
    Dim rest_depth = -1;
    std::unique_ptr<std::array<GemmKernel<T>, 8>> powers;   // depths 128, 64, … 1
  };

  void pack_forward(const RecurrentParams<const T>&);
  void pack_backward(const RecurrentParams<const T>&);

  // A thread's rows: these places of every step.
  struct Cut {
    Dim first = 0, places = 0;
    bool whole = false;   // all threads have rows, so each takes its own rows' products along
    [[nodiscard]] Dim rows_at(const Lengths& l, Dim t) const {
      return std::max<Dim>(0, std::min(places, l.count(t) - first));
    }
  };
  static constexpr Dim kBlockRows = 128;   // about so many rows meet a panel while it is near
  [[nodiscard]] Cut cut_of(const Lengths&, int part, int parts) const;
  [[nodiscard]] Dim block_end(const Lengths&, Dim t, const Cut&) const;

  void input_tiles(const T* x, Storage&, Dim panel, Dim row, Dim rows) const;
  void input_product(const T* x, Storage&) const;
  void run_rows(const RecurrentInput<T>&, Storage&, const Cut&) const;
  void run_step(const std::int32_t* ids, Storage&, const Cut&, Dim t) const;
  void gather(const std::int32_t* ids, Dim rows, Dim panel, T* tiles) const;

  void prepare_backward(const Lengths&);
  void prepare_gradient(Gradient&, Dim columns, Dim stride, Dim rows, bool equal) const;
  // What meets the gradient tiles, row by row: in packed order if lengths are equal, else in the
  // order of groups. Read where it lies, or from copies that backward_rows makes (copy_operands).
  struct Operands {
    const T *x = nullptr, *h = nullptr;   // rows of x_stride and h_stride
    const std::int32_t* ids = nullptr;
  };
  void prepare_operands(const Lengths&);
  void copy_operands(const Backward&, const Storage&, Dim row, Dim before, Dim rows);
  Operands operands(const Backward&, const Storage&) const;
  void backward_rows(const Backward&, Storage&, const Cut&);
  void backward_step(const Backward&, Storage&, const Cut&, Dim t);
  void project_back(const Backward&, Storage&, Dim row, Dim first_row, Dim rows);
  void input_gradient(const Storage&, View<T> dx) const;
  void input_gradient_block(const Storage&, Dim block, Dim row, Dim rows, View<T> dx) const;
  void weight_gradients(const Backward&, Storage&);
  void projection_gradient(const Backward&, const Storage&);
  void panel_gradient(const Backward&, Storage&, const Operands&, Dim item, T* scratch) const;
  void sum_of_group(const Operands&, bool recurrent, const T* tiles, Dim rows, T* to) const;
  void products_over_rows(const T* tiles, const T* x, Dim width, const Gradient&, Dim rows,
                          T* to) const;
  void unpack_rows(const T* from, Dim panel, Dim offset, Dim columns, Dim width, View<T> gradient,
                   GradientMode) const;
  void unpack_bias(const T* tiles, const Lengths&, Dim panel, const Backward&) const;
  [[nodiscard]] int row_parts(Dim batch) const;   // cuts of the batch among threads
  [[nodiscard]] Dim gradient_parts() const {      // cuts of the panels
    return executor.threads() == 1 ? 1 : Dim{4} * executor.threads();
  }

  const RecurrentSpec spec;
  const CellGeometry g;
  const Executor& executor;

  // Packed weights (by pack).
  Tensor<T> bias;              // [P][64]
  Tensor<T> w_in;              // [P][I][input_columns]; with ids [P][I][64], bias included
  Tensor<T> w_rec;             // [P][S][recurrent_columns]
  Tensor<T> w_in_back;         // [input_blocks][P][input_columns][64], dense input only
  Tensor<T> w_rec_back;        // [state_blocks][P][recurrent_columns][64]
  std::unique_ptr<LinearLayer<T>> projection;
  Tensor<T> no_bias;           // [S] zeros, with a projection

  bool packed = false, packed_for_training = false;

  // Scratch of backward.
  Tensor<T> dh;                // [state_blocks][N][64]
  Tensor<T> dc;                // [P][N][16]
  Tensor<T> sums;              // [parts][scratch()]: [max(I,S)][64], and more if lengths differ
  Tensor<T> dh_all, raw_dh, no_dh;   // [R,S], [N,H], [N,64] zeros: with a projection
  Tensor<T> dw_hr, db_hr;      // [S,H], [S]
  // If lengths differ: packed rows in the order of groups (see lengths.h), and the inverse.
  std::vector<Dim> grouped, place_in_groups;
  bool copy_x = false, copy_h = false;
  Dim x_stride = 0, h_stride = 0;
  Tensor<T> x_copy, h_copy;                   // [R,x_stride]; [R,h_stride]: h before each row
  Tensor<std::int32_t> ids_copy;              // [R]
  std::vector<std::uint64_t> in_a, in_b, rec_a, rec_b;   // offsets of the batched products
  Dim part_scratch = 0;        // elements of `sums` for each part

  GemmKernel<T> input_kernel, recurrent_kernel, dx_kernel, dx_narrow_kernel, dh_kernel;
  Gradient input_grad, recurrent_grad;
};

}  // namespace rondo::ops
