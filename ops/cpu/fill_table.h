#pragma once

// Collects one instruction set's kernels into a table.

#include <rondo/ops/cpu/dropout_kernel.h>
#include <rondo/ops/cpu/elman_kernel.h>
#include <rondo/ops/cpu/gru_kernel.h>
#include <rondo/ops/cpu/layer_norm_kernel.h>
#include <rondo/ops/cpu/lstm_kernel.h>
#include <rondo/ops/cpu/optimizer_kernel.h>
#include <rondo/ops/cpu/product_kernel.h>
#include <rondo/ops/cpu/row_kernel.h>
#include <rondo/ops/cpu/scan_kernel.h>
#include <rondo/ops/cpu/transpose_kernel.h>

namespace rondo::ops::RONDO_OPS_ISA {

template <class V>
void fill_table(KernelTable<typename V::T>& t, const char* name) {
  t.name = name;
  t.cell_forward[0] = elman_forward<V, Tanh>;
  t.cell_forward[1] = elman_forward<V, Logistic>;
  t.cell_forward[2] = elman_forward<V, Relu>;
  t.cell_forward[3] = lstm_forward<V>;
  t.cell_forward[4] = gru_forward<V>;
  t.cell_backward[0] = elman_backward<V, Tanh>;
  t.cell_backward[1] = elman_backward<V, Logistic>;
  t.cell_backward[2] = elman_backward<V, Relu>;
  t.cell_backward[3] = lstm_backward<V>;
  t.cell_backward[4] = gru_backward<V>;
  t.optimizer[0] = run_rule<SgdRule, V>;
  t.optimizer[1] = run_rule<MomentumRule, V>;
  t.optimizer[2] = run_rule<NesterovRule, V>;
  t.optimizer[3] = run_rule<RmspropRule, V>;
  t.optimizer[4] = run_rule<AdamRule, V>;
  t.product = product<V>;
  t.fence = fence;
  t.transpose = transpose<V>;
  t.copy = copy<V>;
  t.sum_rows = sum_rows<V>;
  t.cross_entropy = cross_entropy<V>;
  t.softmax = softmax<V>;
  t.block_squares = block_squares<V>;
  t.squared_error = squared_error<V>;
  t.add = add<V>;
  t.scale = scale<V>;
  t.clip = clip<V>;
  t.column_sums = column_sums<V>;
  t.layer_norm = layer_norm<V>;
  t.layer_norm_backward = layer_norm_backward<V>;
  t.dropout = dropout<V>;
  t.finite = finite<V>;
  t.fma1 = fma1;
  fill_scan<V, PlainCell>(t.scan[0]);
  fill_scan<V, MinGruCell>(t.scan[1]);
  fill_scan<V, MinLstmCell>(t.scan[2]);
  t.map = map<V>;
}

}  // namespace rondo::ops::RONDO_OPS_ISA
