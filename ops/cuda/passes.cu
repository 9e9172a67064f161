// The two passes of a recurrent layer over a batch of sequences, or over some steps of it.

#include <rondo/ops/cuda/persistent.h>
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
  return element(l, base, row * l.state);
}

bool reversed(const Layer& l) { return l.spec.reverse != 0; }

// Rows of `width` floats in the other order of time; its own inverse.
Fault turn_rows(Layer& l, const Activations& a, const float* from, Size width, float* to) {
  return move_rows(l.c, {.from = from, .index = a.turned.as<std::int32_t>(), .rows = a.rows,
                         .width = width, .to = to, .rounded = nullptr, .scatter = false});
}

// The steps that a pass works on, and their rows.
struct Range {
  Size first, last, row, rows;
};
Range range_of(const Activations& a, Size first, Size last) {
  return {first, last, a.at_of(first), a.at_of(last) - a.at_of(first)};
}
Range whole(const Activations& a) { return range_of(a, 0, a.steps); }

// The rows of x in a range, as the products want them.
Fault input(Layer& l, const Activations& a, const float* x, const Range& r, const void** out) {
  const Size inputs = l.spec.inputs;
  *out = x + r.row * inputs;
  if (!l.rounded || l.spec.ids != 0) return nullptr;
  RONDO_TRY(l.x.ensure(l.c, a.rows * inputs * 2));
  __nv_bfloat16* rounded = l.x.as<__nv_bfloat16>() + r.row * inputs;
  *out = rounded;
  return to_bf16(&l.c, x + r.row * inputs, r.rows * inputs, rounded);
}

Fault state_in(Layer& l, Activations& a, const float* from, Size width, Memory& to,
               Memory* rounded) {
  return move_rows(l.c, {.from = from, .index = a.equal ? nullptr : a.order.as<std::int32_t>(),
                         .rows = a.batch, .width = width, .to = to.as<float>(),
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

Fault input_product(Layer& l, Activations& a, const float* x, const Range& r) {
  const Size hidden = l.spec.hidden, inputs = l.spec.inputs, width = l.slots * hidden;
  const void* rows = nullptr;
  RONDO_TRY(input(l, a, x, r, &rows));
  float* gates = a.gates.as<float>() + r.row * width;
  for (const Part& part : input_parts(l))
    RONDO_TRY(multiply(l.c, {.rows = r.rows, .columns = part.groups * hidden, .depth = inputs,
                             .a = rows, .a_stride = inputs,
                             .b = element(l, l.w_ih.as<void>(), part.line * hidden * inputs),
                             .b_stride = inputs, .b_transposed = 1,
                             .c = gates + part.slot * hidden, .c_stride = width,
                             .precision = l.spec.precision}));
  if (l.spec.cell == kGru)   // the recurrent product adds to m too
    RONDO_CUDA(cudaMemset2DAsync(gates + 3 * hidden, static_cast<std::size_t>(width * kFloat), 0,
                                 static_cast<std::size_t>(hidden * kFloat),
                                 static_cast<std::size_t>(r.rows), l.c.stream));
  return nullptr;
}

// h = w_hr·u of the rows of a step.
Fault project(Layer& l, Activations& a, Size t) {
  const Size hidden = l.spec.hidden, at = (a.batch + a.at_of(t)) * l.state;
  float* h = a.h.as<float>() + at;
  RONDO_TRY(multiply(l.c, {.rows = a.count(t), .columns = l.state, .depth = hidden,
                           .a = element(l, a.u.as<void>(), a.at_of(t) * hidden),
                           .a_stride = hidden, .b = l.w_hr.as<void>(), .b_stride = hidden,
                           .b_transposed = 1, .c = h, .c_stride = l.state,
                           .precision = l.spec.precision}));
  if (!l.rounded) return nullptr;
  return to_bf16(&l.c, h, a.count(t) * l.state, a.h_rounded.as<__nv_bfloat16>() + at);
}

Fault forward_step(Layer& l, Activations& a, const std::int32_t* ids, Size t) {
  const Size hidden = l.spec.hidden, width = l.slots * hidden, row = a.at_of(t);
  const Size before = a.before(t), after = a.batch + row;
  float* gates = a.gates.as<float>() + row * width;
  RONDO_TRY(multiply(l.c, {.rows = a.count(t), .columns = l.gates * hidden, .depth = l.state,
                           .a = states(l, a, before), .a_stride = l.state,
                           .b = l.w_hh.as<void>(), .b_stride = l.state, .b_transposed = 1,
                           .c = gates + recurrent_slot(l) * hidden, .c_stride = width,
                           .add = l.spec.ids == 0, .precision = l.spec.precision}));
  CellStep step{.count = a.count(t), .hidden = hidden, .gates = gates,
                .bias = l.bias.as<float>(), .h_before = a.h.as<float>() + before * l.state,
                .h = a.h.as<float>() + after * l.state, .words = l.spec.inputs};
  if (l.spec.cell == kLstm) {
    step.c_before = a.c.as<float>() + before * hidden;
    step.c = a.c.as<float>() + after * hidden;
  }
  if (l.rounded) step.h_rounded = a.h_rounded.as<__nv_bfloat16>() + after * l.state;
  if (l.spec.ids != 0) step.ids = ids + row, step.table = l.table.as<float>();
  if (l.projected()) {   // the cell gives u, in the one form that the products read
    step.h = l.rounded ? nullptr : a.u.as<float>() + row * hidden;
    if (l.rounded) step.h_rounded = a.u.as<__nv_bfloat16>() + row * hidden;
  }
  RONDO_TRY(cell_forward(l.c, l.spec.cell, step));
  return l.projected() ? project(l, a, t) : nullptr;
}

// Equal lengths come again and again and are captured; others run step by step.
template <class Body>
Fault loop(Layer& l, const Activations& a, Graphs::Key key, const Body& body) {
  if (!a.equal) return body();
  key.insert(key.end(), {reinterpret_cast<std::uintptr_t>(&a),
                         reinterpret_cast<std::uintptr_t>(l.w_hh.as<void>()),
                         reinterpret_cast<std::uintptr_t>(l.w_hr.as<void>()),
                         reinterpret_cast<std::uintptr_t>(l.table.as<void>()),
                         reinterpret_cast<std::uintptr_t>(l.bias.as<void>())});
  return l.graphs.run(l.c, key, body);
}

Fault last_state(Layer& l, const Activations& a, const Memory& from, Size width, float* to) {
  if (to == nullptr) return nullptr;
  if (a.equal) {
    RONDO_CUDA(cudaMemcpyAsync(to, from.as<float>() + a.rows * width,
                               static_cast<std::size_t>(a.batch * width * kFloat),
                               cudaMemcpyDeviceToDevice, l.c.stream));
    return nullptr;
  }
  // Gathered by place into scratch, then put back into the batch's order.
  RONDO_TRY(l.sums.ensure(l.c, a.batch * width * kFloat));
  RONDO_TRY(move_rows(l.c, {.from = from.as<float>(), .index = a.last.as<std::int32_t>(),
                            .rows = a.batch, .width = width, .to = l.sums.as<float>(),
                            .rounded = nullptr, .scatter = false}));
  return move_rows(l.c, {.from = l.sums.as<float>(), .index = a.order.as<std::int32_t>(),
                         .rows = a.batch, .width = width, .to = to, .rounded = nullptr,
                         .scatter = true});
}

// The gradient of a step's u: that of its h, kept for w_hr's own, through w_hr.
Fault unproject(Layer& l, Activations& a, const float* dy, Size t) {
  const Size hidden = l.spec.hidden, at = a.at_of(t) * l.state, count = a.count(t) * l.state;
  float* sum = l.rounded ? l.dh_step.as<float>() : l.dh_rows.as<float>() + at;
  RONDO_TRY(add(&l.c, dy + at, l.dh.as<float>(), count, sum));
  if (l.rounded)
    RONDO_TRY(to_bf16(&l.c, sum, count, l.dh_rows.as<__nv_bfloat16>() + at));
  return multiply(l.c, {.rows = a.count(t), .columns = hidden, .depth = l.state,
                        .a = element(l, l.dh_rows.as<void>(), at), .a_stride = l.state,
                        .b = l.w_hr.as<void>(), .b_stride = hidden, .c = l.du.as<float>(),
                        .c_stride = hidden, .precision = l.spec.precision});
}

Fault backward_step(Layer& l, Activations& a, const float* dy, Size t) {
  const Size hidden = l.spec.hidden, width = l.slots * hidden, row = a.at_of(t);
  const Size before = a.before(t), after = a.batch + row;
  CellBack step{.count = a.count(t), .hidden = hidden, .gates = a.gates.as<float>() + row * width,
                .h_before = a.h.as<float>() + before * l.state, .dy = dy + row * l.state,
                .dh = l.dh.as<float>()};
  if (l.projected()) {
    RONDO_TRY(unproject(l, a, dy, t));
    step.dy = l.du.as<float>(), step.dh = nullptr;
  }
  if (l.spec.cell == kLstm) {
    step.c_before = a.c.as<float>() + before * hidden;
    step.c = a.c.as<float>() + after * hidden;
    step.dc = l.dc.as<float>();
  }
  if (l.rounded) step.rounded = l.gradients.as<__nv_bfloat16>() + row * width;
  RONDO_TRY(cell_backward(l.c, l.spec.cell, step));
  const void* all = l.rounded ? l.gradients.as<void>() : a.gates.as<void>();
  return multiply(l.c, {.rows = a.count(t), .columns = l.state, .depth = l.gates * hidden,
                        .a = element(l, all, row * width + recurrent_slot(l) * hidden),
                        .a_stride = width, .b = l.w_hh.as<void>(), .b_stride = l.state,
                        .c = l.dh.as<float>(), .c_stride = l.state,
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

struct Inputs {   // what the layer works on: a reverse one's lie turned
  const float* x;
  const std::int32_t* ids;
  const float* dy;
  float* dx;
};

// w_ih's gradient, from all rows.
Fault input_weight_gradient(Layer& l, Activations& a, const LayerBackward& b, const Inputs& in,
                            const void* all) {
  const Size hidden = l.spec.hidden, inputs = l.spec.inputs, width = l.slots * hidden;
  if (l.spec.ids != 0) {
    RONDO_TRY(l.sums.ensure(l.c, inputs * width * kFloat));
    RONDO_TRY(scatter_add(l.c, {{all, a.rows, width, width, l.rounded}, in.ids, inputs,
                                l.sums.as<float>(), 0}));
    return table_gradient(l.c, l.spec.cell, hidden, inputs, l.sums.as<float>(), b.w_ih, b.add);
  }
  const void* rows = nullptr;
  RONDO_TRY(input(l, a, in.x, whole(a), &rows));
  for (const Part& part : input_parts(l))
    RONDO_TRY(weight_gradient(l, a, all, {part.slot, part.groups, rows, inputs,
                                          b.w_ih + part.line * hidden * inputs, b.add}));
  return nullptr;
}

Fault input_gradient(Layer& l, const Range& r, const Inputs& in, const void* all) {
  if (in.dx == nullptr) return nullptr;
  const Size hidden = l.spec.hidden, inputs = l.spec.inputs, width = l.slots * hidden;
  bool first = true;
  for (const Part& part : input_parts(l)) {
    RONDO_TRY(multiply(l.c, {.rows = r.rows, .columns = inputs, .depth = part.groups * hidden,
                             .a = element(l, all, r.row * width + part.slot * hidden),
                             .a_stride = width,
                             .b = element(l, l.w_ih.as<void>(), part.line * hidden * inputs),
                             .b_stride = inputs, .c = in.dx + r.row * inputs,
                             .c_stride = inputs, .add = !first, .precision = l.spec.precision}));
    first = false;
  }
  return nullptr;
}

// The states before every row: as they lie with equal lengths, else gathered.
Fault states_before(Layer& l, Activations& a, const void** out) {
  *out = states(l, a, 0);
  if (a.equal) return nullptr;
  RONDO_TRY(l.previous.ensure(l.c, a.rows * l.state * kFloat));
  *out = l.previous.as<void>();
  return move_rows(l.c, {.from = a.h.as<float>(), .index = a.previous.as<std::int32_t>(),
                         .rows = a.rows, .width = l.state,
                         .to = l.rounded ? nullptr : l.previous.as<float>(),
                         .rounded = l.rounded ? l.previous.as<__nv_bfloat16>() : nullptr,
                         .scatter = false});
}

Fault first_state(Layer& l, const Activations& a, const Memory& from, Size width, float* to) {
  if (to == nullptr) return nullptr;
  return move_rows(l.c, {.from = from.as<float>(),
                         .index = a.equal ? nullptr : a.order.as<std::int32_t>(),
                         .rows = a.batch, .width = width, .to = to, .rounded = nullptr,
                         .scatter = true});
}

Fault turn_input(Layer& l, Activations& a, const LayerForward& f) {
  if (l.spec.ids != 0) {
    RONDO_TRY(a.ids.ensure(l.c, a.rows * 4));
    return move_ids(l.c, f.ids, a.turned.as<std::int32_t>(), a.rows, a.ids.as<std::int32_t>());
  }
  RONDO_TRY(a.x.ensure(l.c, a.rows * l.spec.inputs * kFloat));
  return turn_rows(l, a, f.x, l.spec.inputs, a.x.as<float>());
}

Fault inputs_of(Layer& l, Activations& a, const LayerBackward& b, Inputs* in) {
  *in = {b.x, b.ids, b.dy, b.dx};
  if (!reversed(l)) return nullptr;
  RONDO_TRY(l.dy.ensure(l.c, a.rows * l.state * kFloat));
  RONDO_TRY(turn_rows(l, a, b.dy, l.state, l.dy.as<float>()));
  if (b.dx != nullptr) RONDO_TRY(l.dx.ensure(l.c, a.rows * l.spec.inputs * kFloat));
  *in = {a.x.as<float>(), a.ids.as<std::int32_t>(), l.dy.as<float>(),
         b.dx == nullptr ? nullptr : l.dx.as<float>()};
  return nullptr;
}

// Memory of the backward pass, and the gradients that flow in at the end.
Fault begin_backward(Layer& l, Activations& a, const LayerBackward& b) {
  const Size hidden = l.spec.hidden;
  RONDO_TRY(l.dh.ensure(l.c, a.batch * l.state * kFloat));
  if (l.rounded) RONDO_TRY(l.gradients.ensure(l.c, a.rows * l.slots * hidden * 2));
  RONDO_TRY(state_in(l, a, b.dh_last, l.state, l.dh, nullptr));
  if (l.projected()) {
    RONDO_TRY(l.dh_rows.ensure(l.c, a.rows * l.state * (l.rounded ? 2 : kFloat)));
    RONDO_TRY(l.du.ensure(l.c, a.batch * hidden * kFloat));
    if (l.rounded) RONDO_TRY(l.dh_step.ensure(l.c, a.batch * l.state * kFloat));
  }
  if (l.spec.cell != kLstm) return nullptr;
  RONDO_TRY(l.dc.ensure(l.c, a.batch * hidden * kFloat));
  return state_in(l, a, b.dc_last, hidden, l.dc, nullptr);
}

Fault forward_loop(Layer& l, Activations& a, const std::int32_t* ids, const Range& r) {
  if (runs_persistent(l, a)) return persistent_forward(l, a, ids, r.first, r.last);
  const auto steps = [&]() -> Fault {
    for (Size t = r.first; t < r.last; ++t) RONDO_TRY(forward_step(l, a, ids, t));
    return nullptr;
  };
  return loop(l, a, {0, static_cast<std::uintptr_t>(r.first), static_cast<std::uintptr_t>(r.last),
                     reinterpret_cast<std::uintptr_t>(ids)}, steps);
}

Fault backward_loop(Layer& l, Activations& a, const float* dy, const Range& r) {
  if (runs_persistent(l, a)) return persistent_backward(l, a, dy, r.first, r.last);
  Graphs::Key key = {1, static_cast<std::uintptr_t>(r.first), static_cast<std::uintptr_t>(r.last),
                     reinterpret_cast<std::uintptr_t>(dy)};
  for (const Memory* m : {&l.dh, &l.dc, &l.gradients, &l.dh_rows, &l.du, &l.dh_step})
    key.push_back(reinterpret_cast<std::uintptr_t>(m->as<void>()));
  const auto steps = [&]() -> Fault {
    for (Size t = r.last - 1; t >= r.first; --t) RONDO_TRY(backward_step(l, a, dy, t));
    return nullptr;
  };
  return loop(l, a, key, steps);
}

Fault projection_gradient(Layer& l, const Activations& a, const LayerBackward& b) {
  return multiply(l.c, {.rows = l.state, .columns = l.spec.hidden, .depth = a.rows,
                        .a = l.dh_rows.as<void>(), .a_stride = l.state, .a_transposed = 1,
                        .b = a.u.as<void>(), .b_stride = l.spec.hidden, .c = b.w_hr,
                        .c_stride = l.spec.hidden, .add = b.add,
                        .precision = l.spec.precision});
}

// What comes of all rows: the gradients of weights and biases.
Fault weight_gradients(Layer& l, Activations& a, const LayerBackward& b, const Inputs& in,
                       const void* all) {
  const Size width = l.slots * l.spec.hidden;
  const void* before = nullptr;
  RONDO_TRY(states_before(l, a, &before));
  RONDO_TRY(weight_gradient(l, a, all, {recurrent_slot(l), l.gates, before, l.state, b.w_hh,
                                        b.add}));
  if (l.projected()) RONDO_TRY(projection_gradient(l, a, b));
  RONDO_TRY(input_weight_gradient(l, a, b, in, all));
  RONDO_TRY(l.sums.ensure(l.c, width * kFloat));
  RONDO_TRY(sum_columns(l.c, {all, a.rows, width, width, l.rounded}, l.sums.as<float>(), 0));
  return split_biases(l.c, l.spec.cell, l.spec.hidden, l.sums.as<float>(), b.b_ih, b.b_hh, b.add);
}

}  // namespace

Fault run_forward(Layer& l, Activations& a, const LayerForward& f) {
  const Size hidden = l.spec.hidden;
  const bool lstm = l.spec.cell == kLstm;
  const Range r = range_of(a, f.first, f.last == 0 ? a.steps : f.last);
  const std::int32_t* ids = f.ids;
  const float* x = f.x;
  if (reversed(l)) {
    RONDO_TRY(turn_input(l, a, f));
    ids = a.ids.as<std::int32_t>(), x = a.x.as<float>();
  }
  if (r.first == 0) {
    RONDO_TRY(state_in(l, a, f.h_first, l.state, a.h, l.rounded ? &a.h_rounded : nullptr));
    if (lstm) RONDO_TRY(state_in(l, a, f.c_first, hidden, a.c, nullptr));
  }
  if (l.spec.ids == 0) RONDO_TRY(input_product(l, a, x, r));
  RONDO_TRY(forward_loop(l, a, ids, r));
  if (r.last < a.steps) return nullptr;
  if (reversed(l))
    RONDO_TRY(turn_rows(l, a, a.h.as<float>() + a.batch * l.state, l.state, a.y.as<float>()));
  RONDO_TRY(last_state(l, a, a.h, l.state, f.h_last));
  return lstm ? last_state(l, a, a.c, hidden, f.c_last) : nullptr;
}

Fault run_backward(Layer& l, Activations& a, const LayerBackward& b) {
  const Range r = range_of(a, b.first, b.last == 0 ? a.steps : b.last);
  Inputs in{};
  RONDO_TRY(inputs_of(l, a, b, &in));
  if (r.last == a.steps) RONDO_TRY(begin_backward(l, a, b));
  RONDO_TRY(backward_loop(l, a, in.dy, r));
  const void* all = l.rounded ? l.gradients.as<void>() : a.gates.as<void>();
  RONDO_TRY(input_gradient(l, r, in, all));
  if (r.first > 0) return nullptr;
  RONDO_TRY(first_state(l, a, l.dh, l.state, b.dh_first));
  if (l.spec.cell == kLstm) RONDO_TRY(first_state(l, a, l.dc, l.spec.hidden, b.dc_first));
  if (in.dx != b.dx) RONDO_TRY(turn_rows(l, a, in.dx, l.spec.inputs, b.dx));
  return weight_gradients(l, a, b, in, all);
}

}  // namespace rondo::ops::cuda
