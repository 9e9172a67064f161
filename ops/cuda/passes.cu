// The two passes of a recurrent layer over a batch of sequences.

#include <rondo/ops/cuda/recurrent.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {
namespace {

constexpr Size kFloat = sizeof(float);

// A pointer into a float32 or a bf16 buffer, counted in elements.
const void* element(const Layer& l, const void* base, Size index) {
  return static_cast<const char*>(base) + index * (l.rounded ? 2 : kFloat);
}

const void* states(const Layer& l, const Activations& a, Size row) {
  const void* base = l.rounded ? a.h_rounded.as<void>() : a.h.as<void>();
  return element(l, base, row * l.spec.hidden);
}

// x as the products want it.
Fault input(Layer& l, const Activations& a, const float* x, const void** out) {
  *out = x;
  if (!l.rounded || l.spec.ids != 0) return nullptr;
  const Size count = a.rows * l.spec.inputs;
  RONDO_TRY(l.x.ensure(l.c, count * 2));
  *out = l.x.as<void>();
  return to_bf16(&l.c, x, count, l.x.as<void>());
}

Fault state_in(Layer& l, Activations& a, const float* from, Memory& to, Memory* rounded) {
  return move_rows(l.c, {.from = from, .index = a.equal ? nullptr : a.order.as<std::int32_t>(),
                         .rows = a.batch, .width = l.spec.hidden, .to = to.as<float>(),
                         .rounded = rounded == nullptr ? nullptr : rounded->as<__nv_bfloat16>(),
                         .scatter = false});
}

// Slots of the gates, lines of w_ih: GRU's r z are slots 1 2 and lines 0 1, its n slot 0, line 2.
struct Part {
  Size slot, line, groups;
};
std::vector<Part> input_parts(const Layer& l) {
  if (l.spec.cell != kGru) return {{0, 0, l.gates}};
  return {{1, 0, 2}, {0, 2, 1}};
}
Size recurrent_slot(const Layer& l) { return l.spec.cell == kGru ? 1 : 0; }

Fault input_product(Layer& l, Activations& a, const float* x) {
  const Size hidden = l.spec.hidden, inputs = l.spec.inputs, width = l.slots * hidden;
  const void* rows = nullptr;
  RONDO_TRY(input(l, a, x, &rows));
  for (const Part& part : input_parts(l))
    RONDO_TRY(multiply(l.c, {.rows = a.rows, .columns = part.groups * hidden, .depth = inputs,
                             .a = rows, .a_stride = inputs,
                             .b = element(l, l.w_ih.as<void>(), part.line * hidden * inputs),
                             .b_stride = inputs, .b_transposed = 1,
                             .c = a.gates.as<float>() + part.slot * hidden, .c_stride = width,
                             .precision = l.spec.precision}));
  if (l.spec.cell == kGru)   // the recurrent product adds to m too
    RONDO_CUDA(cudaMemset2DAsync(a.gates.as<float>() + 3 * hidden,
                                 static_cast<std::size_t>(width * kFloat), 0,
                                 static_cast<std::size_t>(hidden * kFloat),
                                 static_cast<std::size_t>(a.rows), l.c.stream));
  return nullptr;
}

Fault forward_step(Layer& l, Activations& a, const std::int32_t* ids, Size t) {
  const Size hidden = l.spec.hidden, width = l.slots * hidden, row = a.at_of(t);
  const Size before = a.before(t), after = a.batch + row;
  float* gates = a.gates.as<float>() + row * width;
  RONDO_TRY(multiply(l.c, {.rows = a.count(t), .columns = l.gates * hidden, .depth = hidden,
                           .a = states(l, a, before), .a_stride = hidden,
                           .b = l.w_hh.as<void>(), .b_stride = hidden, .b_transposed = 1,
                           .c = gates + recurrent_slot(l) * hidden, .c_stride = width,
                           .add = l.spec.ids == 0, .precision = l.spec.precision}));
  CellStep step{.count = a.count(t), .hidden = hidden, .gates = gates,
                .bias = l.bias.as<float>(), .h_before = a.h.as<float>() + before * hidden,
                .h = a.h.as<float>() + after * hidden, .words = l.spec.inputs};
  if (l.spec.cell == kLstm) {
    step.c_before = a.c.as<float>() + before * hidden;
    step.c = a.c.as<float>() + after * hidden;
  }
  if (l.rounded) step.h_rounded = a.h_rounded.as<__nv_bfloat16>() + after * hidden;
  if (l.spec.ids != 0) step.ids = ids + row, step.table = l.table.as<float>();
  return cell_forward(l.c, l.spec.cell, step);
}

// Equal lengths come again and again and are captured; others run step by step.
template <class Body>
Fault loop(Layer& l, const Activations& a, Graphs::Key key, const Body& body) {
  if (!a.equal) return body();
  key.insert(key.end(), {reinterpret_cast<std::uintptr_t>(&a),
                         reinterpret_cast<std::uintptr_t>(l.w_hh.as<void>()),
                         reinterpret_cast<std::uintptr_t>(l.table.as<void>()),
                         reinterpret_cast<std::uintptr_t>(l.bias.as<void>())});
  return l.graphs.run(l.c, key, body);
}

Fault last_state(Layer& l, const Activations& a, const Memory& from, float* to) {
  if (to == nullptr) return nullptr;
  const Size hidden = l.spec.hidden;
  if (a.equal) {
    RONDO_CUDA(cudaMemcpyAsync(to, from.as<float>() + a.rows * hidden,
                               static_cast<std::size_t>(a.batch * hidden * kFloat),
                               cudaMemcpyDeviceToDevice, l.c.stream));
    return nullptr;
  }
  // Gathered by place into scratch, then put back into the batch's order.
  RONDO_TRY(l.sums.ensure(l.c, a.batch * hidden * kFloat));
  RONDO_TRY(move_rows(l.c, {.from = from.as<float>(), .index = a.last.as<std::int32_t>(),
                            .rows = a.batch, .width = hidden, .to = l.sums.as<float>(),
                            .rounded = nullptr, .scatter = false}));
  return move_rows(l.c, {.from = l.sums.as<float>(), .index = a.order.as<std::int32_t>(),
                         .rows = a.batch, .width = hidden, .to = to, .rounded = nullptr,
                         .scatter = true});
}

Fault backward_step(Layer& l, Activations& a, const float* dy, Size t) {
  const Size hidden = l.spec.hidden, width = l.slots * hidden, row = a.at_of(t);
  const Size before = a.before(t), after = a.batch + row;
  CellBack step{.count = a.count(t), .hidden = hidden, .gates = a.gates.as<float>() + row * width,
                .h_before = a.h.as<float>() + before * hidden, .dy = dy + row * hidden,
                .dh = l.dh.as<float>()};
  if (l.spec.cell == kLstm) {
    step.c_before = a.c.as<float>() + before * hidden;
    step.c = a.c.as<float>() + after * hidden;
    step.dc = l.dc.as<float>();
  }
  if (l.rounded) step.rounded = l.gradients.as<__nv_bfloat16>() + row * width;
  RONDO_TRY(cell_backward(l.c, l.spec.cell, step));
  const void* all = l.rounded ? l.gradients.as<void>() : a.gates.as<void>();
  return multiply(l.c, {.rows = a.count(t), .columns = hidden, .depth = l.gates * hidden,
                        .a = element(l, all, row * width + recurrent_slot(l) * hidden),
                        .a_stride = width, .b = l.w_hh.as<void>(), .b_stride = hidden,
                        .c = l.dh.as<float>(), .c_stride = hidden,
                        .add = l.spec.cell == kGru, .precision = l.spec.precision});
}

// dw [groups·H, columns] = gradients of some slotsᵀ · rows [all rows, columns].
struct WeightGradient {
  Size slot, groups;
  const void* rows;
  Size columns;
  float* to;
  std::int32_t add;
};
Fault weight_gradient(Layer& l, const Activations& a, const void* all, const WeightGradient& w) {
  const Size hidden = l.spec.hidden;
  return multiply(l.c, {.rows = w.groups * hidden, .columns = w.columns, .depth = a.rows,
                        .a = element(l, all, w.slot * hidden), .a_stride = l.slots * hidden,
                        .a_transposed = 1, .b = w.rows, .b_stride = w.columns, .c = w.to,
                        .c_stride = w.columns, .add = w.add, .precision = l.spec.precision});
}

Fault input_gradients(Layer& l, Activations& a, const LayerBackward& b, const void* all) {
  const Size hidden = l.spec.hidden, inputs = l.spec.inputs, width = l.slots * hidden;
  if (l.spec.ids != 0) {
    RONDO_TRY(l.sums.ensure(l.c, inputs * width * kFloat));
    RONDO_TRY(scatter_add(l.c, {{all, a.rows, width, width, l.rounded}, b.ids, inputs,
                                l.sums.as<float>(), 0}));
    return table_gradient(l.c, l.spec.cell, hidden, inputs, l.sums.as<float>(), b.w_ih, b.add);
  }
  const void* rows = nullptr;
  RONDO_TRY(input(l, a, b.x, &rows));
  bool first = true;
  for (const Part& part : input_parts(l)) {
    RONDO_TRY(weight_gradient(l, a, all, {part.slot, part.groups, rows, inputs,
                                          b.w_ih + part.line * hidden * inputs, b.add}));
    if (b.dx == nullptr) continue;
    RONDO_TRY(multiply(l.c, {.rows = a.rows, .columns = inputs, .depth = part.groups * hidden,
                             .a = element(l, all, part.slot * hidden), .a_stride = width,
                             .b = element(l, l.w_ih.as<void>(), part.line * hidden * inputs),
                             .b_stride = inputs, .c = b.dx, .c_stride = inputs, .add = !first,
                             .precision = l.spec.precision}));
    first = false;
  }
  return nullptr;
}

// The states before every row: as they lie with equal lengths, else gathered.
Fault states_before(Layer& l, Activations& a, const void** out) {
  *out = states(l, a, 0);
  if (a.equal) return nullptr;
  const Size hidden = l.spec.hidden;
  RONDO_TRY(l.previous.ensure(l.c, a.rows * hidden * kFloat));
  *out = l.previous.as<void>();
  return move_rows(l.c, {.from = a.h.as<float>(), .index = a.previous.as<std::int32_t>(),
                         .rows = a.rows, .width = hidden,
                         .to = l.rounded ? nullptr : l.previous.as<float>(),
                         .rounded = l.rounded ? l.previous.as<__nv_bfloat16>() : nullptr,
                         .scatter = false});
}

Fault first_state(Layer& l, const Activations& a, const Memory& from, float* to) {
  if (to == nullptr) return nullptr;
  return move_rows(l.c, {.from = from.as<float>(),
                         .index = a.equal ? nullptr : a.order.as<std::int32_t>(),
                         .rows = a.batch, .width = l.spec.hidden, .to = to, .rounded = nullptr,
                         .scatter = true});
}

}  // namespace

Fault run_forward(Layer& l, Activations& a, const LayerForward& f) {
  RONDO_TRY(state_in(l, a, f.h_first, a.h, l.rounded ? &a.h_rounded : nullptr));
  if (l.spec.cell == kLstm) RONDO_TRY(state_in(l, a, f.c_first, a.c, nullptr));
  if (l.spec.ids == 0) RONDO_TRY(input_product(l, a, f.x));
  const auto steps = [&]() -> Fault {
    for (Size t = 0; t < a.steps; ++t) RONDO_TRY(forward_step(l, a, f.ids, t));
    return nullptr;
  };
  RONDO_TRY(loop(l, a, {0, reinterpret_cast<std::uintptr_t>(f.ids)}, steps));
  RONDO_TRY(last_state(l, a, a.h, f.h_last));
  return l.spec.cell == kLstm ? last_state(l, a, a.c, f.c_last) : nullptr;
}

Fault run_backward(Layer& l, Activations& a, const LayerBackward& b) {
  const Size hidden = l.spec.hidden, width = l.slots * hidden;
  const bool lstm = l.spec.cell == kLstm;
  RONDO_TRY(l.dh.ensure(l.c, a.batch * hidden * kFloat));
  if (lstm) RONDO_TRY(l.dc.ensure(l.c, a.batch * hidden * kFloat));
  if (l.rounded) RONDO_TRY(l.gradients.ensure(l.c, a.rows * width * 2));
  RONDO_TRY(state_in(l, a, b.dh_last, l.dh, nullptr));
  if (lstm) RONDO_TRY(state_in(l, a, b.dc_last, l.dc, nullptr));
  const Graphs::Key key = {1, reinterpret_cast<std::uintptr_t>(b.dy),
                           reinterpret_cast<std::uintptr_t>(l.dh.as<void>()),
                           reinterpret_cast<std::uintptr_t>(l.dc.as<void>()),
                           reinterpret_cast<std::uintptr_t>(l.gradients.as<void>())};
  const auto steps = [&]() -> Fault {
    for (Size t = a.steps - 1; t >= 0; --t) RONDO_TRY(backward_step(l, a, b.dy, t));
    return nullptr;
  };
  RONDO_TRY(loop(l, a, key, steps));
  RONDO_TRY(first_state(l, a, l.dh, b.dh_first));
  if (lstm) RONDO_TRY(first_state(l, a, l.dc, b.dc_first));
  const void* all = l.rounded ? l.gradients.as<void>() : a.gates.as<void>();
  const void* before = nullptr;
  RONDO_TRY(states_before(l, a, &before));
  RONDO_TRY(weight_gradient(l, a, all, {recurrent_slot(l), l.gates, before, hidden, b.w_hh,
                                        b.add}));
  RONDO_TRY(input_gradients(l, a, b, all));
  RONDO_TRY(l.sums.ensure(l.c, width * kFloat));
  RONDO_TRY(sum_columns(l.c, {all, a.rows, width, width, l.rounded}, l.sums.as<float>(), 0));
  return split_biases(l.c, l.spec.cell, hidden, l.sums.as<float>(), b.b_ih, b.b_hh, b.add);
}

}  // namespace rondo::ops::cuda
