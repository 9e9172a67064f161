// A recurrent layer as products and fused cells. (1) The input product of all steps at once.
// (2) Step by step: the recurrent product onto the gates, then the cell; all of it one captured
// graph. (3) Backward the same way round, then dx and the weights' gradients as large products.

#include <new>
#include <utility>

#include <rondo/ops/cuda/recurrent.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {

Memory::~Memory() {
  if (data_ != nullptr) (void)free_memory(*context_, data_);
}

Fault Memory::ensure(Context& c, Size bytes) {
  if (bytes_ >= bytes) return nullptr;
  bytes_ = 0;
  RONDO_TRY(free_memory(c, std::exchange(data_, nullptr)));
  RONDO_TRY(allocate(&c, static_cast<std::size_t>(bytes), &data_));
  context_ = &c, bytes_ = bytes;
  return nullptr;
}

Graphs::~Graphs() { forget(); }

void Graphs::forget() {
  for (auto& [key, entry] : entries_)
    if (entry.ready != nullptr) (void)cudaGraphExecDestroy(entry.ready);
  entries_.clear();
}

// Full: the entry that has waited longest goes.
Graphs::Entry& Graphs::entry_of(const Key& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end() && entries_.size() >= kEntriesMax) {
    auto oldest = entries_.begin();
    for (auto it = entries_.begin(); it != entries_.end(); ++it)
      if (it->second.used < oldest->second.used) oldest = it;
    if (oldest->second.ready != nullptr) (void)cudaGraphExecDestroy(oldest->second.ready);
    entries_.erase(oldest);
  }
  Entry& entry = entries_[key];
  entry.used = ++calls_;
  return entry;
}

Fault Graphs::begin(Context& c) {
  RONDO_CUDA(cudaStreamBeginCapture(c.stream, cudaStreamCaptureModeThreadLocal));
  return nullptr;
}

// A capture that was begun is always ended, also after a fault inside it.
Fault Graphs::end(Context& c, Entry& entry, Fault fault) {
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(c.stream, &graph);
  if (fault != nullptr) {
    if (graph != nullptr) (void)cudaGraphDestroy(graph);
    (void)cudaGetLastError();
    return fault;
  }
  RONDO_CUDA(ended);
  const cudaError_t made = cudaGraphInstantiate(&entry.ready, graph, 0);
  (void)cudaGraphDestroy(graph);
  if (made != cudaSuccess) entry.ready = nullptr;
  return check(made, "cudaGraphInstantiate");
}

Fault Graphs::replay(Context& c, Entry& entry) {
  RONDO_CUDA(cudaGraphLaunch(entry.ready, c.stream));
  return nullptr;
}

namespace {

constexpr Size kFloat = sizeof(float);

// Copies of the weights, so that the graphs' pointers stay: float32 or bf16.
Fault keep(Layer& l, Memory& to, const float* from, Size count) {
  if (l.rounded) {
    RONDO_TRY(to.ensure(l.c, count * 2));
    return to_bf16(&l.c, from, count, to.as<void>());
  }
  RONDO_TRY(to.ensure(l.c, count * kFloat));
  RONDO_CUDA(cudaMemcpyAsync(to.as<void>(), from, static_cast<std::size_t>(count * kFloat),
                             cudaMemcpyDeviceToDevice, l.c.stream));
  return nullptr;
}

Fault upload(Context& c, Memory& to, const std::vector<std::int32_t>& from) {
  RONDO_TRY(to.ensure(c, static_cast<Size>(from.size()) * 4));
  RONDO_CUDA(cudaMemcpyAsync(to.as<void>(), from.data(), from.size() * 4, cudaMemcpyHostToDevice,
                             c.stream));
  RONDO_CUDA(cudaStreamSynchronize(c.stream));   // `from` goes
  return nullptr;
}

Fault check_sequences(const Sequences& s) {
  if (s.steps <= 0 || s.batch <= 0)
    return fail("a recurrent layer on the GPU needs steps and sequences, not %lld and %lld",
                static_cast<long long>(s.steps), static_cast<long long>(s.batch));
  RONDO_NEED(s.steps * s.batch < 0x7fffffff);
  if (s.at == nullptr) return nullptr;
  RONDO_NEED(s.sequence != nullptr && s.at[0] == 0 && s.at[1] == s.batch);
  for (Size t = 0; t < s.steps; ++t) {
    const Size count = s.at[t + 1] - s.at[t];
    RONDO_NEED(count > 0 && (t == 0 || count <= s.at[t] - s.at[t - 1]));
  }
  std::vector<bool> seen(static_cast<std::size_t>(s.batch), false);
  for (Size k = 0; k < s.batch; ++k) {
    RONDO_NEED(s.sequence[k] >= 0 && s.sequence[k] < s.batch);
    RONDO_NEED(!seen[static_cast<std::size_t>(s.sequence[k])]);
    seen[static_cast<std::size_t>(s.sequence[k])] = true;
  }
  return nullptr;
}

// Row at(t) + k of the turned batch is its sequence's step length − 1 − t.
Fault turn(Activations& a) {
  std::vector<std::int32_t> turned(static_cast<std::size_t>(a.rows));
  Size length = a.steps;
  for (Size k = 0; k < a.batch; ++k) {
    while (a.count(length - 1) <= k) --length;   // places are sorted, the longest first
    for (Size t = 0; t < length; ++t)
      turned[static_cast<std::size_t>(a.at_of(t) + k)] =
          static_cast<std::int32_t>(a.at_of(length - 1 - t) + k);
  }
  return upload(a.layer.c, a.turned, turned);
}

// Where the state before each row lies, and where each place's last one does.
Fault lay_out(Activations& a, const Sequences& s) {
  for (Size t = 0; t <= a.steps; ++t) a.at.push_back(a.equal ? t * a.batch : s.at[t]);
  a.rows = a.at.back();
  if (a.layer.spec.reverse != 0) RONDO_TRY(turn(a));
  if (a.equal) return nullptr;
  std::vector<std::int32_t> order(s.sequence, s.sequence + a.batch), previous, last(order.size());
  for (Size t = 0; t < a.steps; ++t) {
    for (Size k = 0; k < a.count(t); ++k) {
      previous.push_back(static_cast<std::int32_t>(a.before(t) + k));
      last[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(a.batch + a.at_of(t) + k);
    }
  }
  const std::vector<std::int32_t> at(a.at.begin(), a.at.end());
  RONDO_TRY(upload(a.layer.c, a.at_device, at));
  RONDO_TRY(upload(a.layer.c, a.order, order));
  RONDO_TRY(upload(a.layer.c, a.previous, previous));
  return upload(a.layer.c, a.last, last);
}

}  // namespace

namespace {

Fault check_spec(const LayerSpec* s) {
  RONDO_NEED(s->inputs > 0 && s->hidden > 0);
  if (s->cell < kTanh || s->cell > kGru)
    return fail("the GPU knows no recurrent cell %d", static_cast<int>(s->cell));
  if (s->precision < Precision::kFloat32 || s->precision > Precision::kBf16)
    return fail("the GPU knows no precision %d", static_cast<int>(s->precision));
  RONDO_NEED(s->projection >= 0);
  if (s->projection > 0 && s->cell != kLstm)
    return fail("on the GPU, as elsewhere, only an LSTM has a projection");
  return nullptr;
}

Layer layer_of(Context& c, const LayerSpec& s) {
  return Layer{.c = c, .spec = s, .slots = slots_of(s.cell), .gates = gates_of(s.cell),
               .state = s.projection > 0 ? s.projection : s.hidden,
               .rounded = s.precision == Precision::kBf16};
}

}  // namespace

Fault layer_open(Context* c, const LayerSpec* s, Layer** out) {
  *out = nullptr;
  RONDO_TRY(check_spec(s));
  *out = new (std::nothrow) Layer(layer_of(*c, *s));
  if (*out == nullptr) return fail("out of memory");
  const Fault fault = plan_persistent(**out);
  if (fault != nullptr) layer_close(std::exchange(*out, nullptr));
  return fault;
}

Fault layer_plan(Context* c, const LayerSpec* s, Size batch, LayerPlan* out) {
  RONDO_TRY(check_spec(s));
  RONDO_NEED(batch > 0);
  RONDO_TRY(use(*c));
  Layer layer = layer_of(*c, *s);
  return plan_for(layer, batch, out);
}

void layer_close(Layer* l) { delete l; }

Fault layer_pack(Layer* l, const LayerWeights* w) {
  const Size lines = l->gates * l->spec.hidden;
  RONDO_TRY(use(l->c));
  RONDO_TRY(keep(*l, l->w_hh, w->w_hh, lines * l->state));
  if (l->projected()) {
    RONDO_NEED(w->w_hr != nullptr);
    RONDO_TRY(keep(*l, l->w_hr, w->w_hr, l->state * l->spec.hidden));
  }
  if (l->spec.ids != 0) {
    RONDO_TRY(l->table.ensure(l->c, lines * l->spec.inputs * kFloat));
    RONDO_TRY(transpose(l->c, w->w_ih, lines, l->spec.inputs, l->table.as<float>()));
  } else {
    RONDO_TRY(keep(*l, l->w_ih, w->w_ih, lines * l->spec.inputs));
  }
  RONDO_TRY(l->bias.ensure(l->c, l->slots * l->spec.hidden * kFloat));
  RONDO_TRY(join_biases(l->c, l->spec.cell, l->spec.hidden, w->b_ih, w->b_hh,
                        l->bias.as<float>()));
  RONDO_TRY(pack_persistent(*l));
  l->packed = true;
  return nullptr;
}

Fault activations_open(Layer* l, const Sequences* s, Activations** out) {
  *out = nullptr;
  RONDO_TRY(check_sequences(*s));
  RONDO_TRY(use(l->c));
  std::unique_ptr<Activations> a(new (std::nothrow) Activations{
      .layer = *l, .steps = s->steps, .batch = s->batch, .rows = 0, .at = {},
      .equal = s->at == nullptr});
  if (a == nullptr) return fail("out of memory");
  RONDO_TRY(lay_out(*a, *s));
  const Size states = (a->rows + a->batch) * l->state;
  RONDO_TRY(a->gates.ensure(l->c, a->rows * l->slots * l->spec.hidden * kFloat));
  RONDO_TRY(a->h.ensure(l->c, states * kFloat));
  if (l->rounded) RONDO_TRY(a->h_rounded.ensure(l->c, states * 2));
  if (l->spec.cell == kLstm)
    RONDO_TRY(a->c.ensure(l->c, (a->rows + a->batch) * l->spec.hidden * kFloat));
  if (l->projected())
    RONDO_TRY(a->u.ensure(l->c, a->rows * l->spec.hidden * (l->rounded ? 2 : kFloat)));
  if (l->spec.reverse != 0) RONDO_TRY(a->y.ensure(l->c, a->rows * l->state * kFloat));
  *out = a.release();
  return nullptr;
}

// The layer's graphs name this memory.
void activations_close(Activations* a) {
  if (a == nullptr) return;
  (void)cudaStreamSynchronize(a->layer.c.stream);
  a->layer.graphs.forget();
  delete a;
}

Fault activations_y(Activations* a, const float** y) {
  *y = a->layer.spec.reverse != 0 ? a->y.as<float>()
                                  : a->h.as<float>() + a->batch * a->layer.state;
  return nullptr;
}

Fault layer_forward(Layer* l, Activations* a, const LayerForward* f) {
  const Size last = f->last == 0 ? a->steps : f->last;
  RONDO_NEED(&a->layer == l && l->packed);
  RONDO_NEED(l->spec.ids != 0 ? f->ids != nullptr : f->x != nullptr);
  RONDO_NEED(f->first >= 0 && f->first < last && last <= a->steps);
  RONDO_NEED(f->first == 0 || f->first == a->forward_done);
  RONDO_NEED(l->spec.reverse == 0 || (f->first == 0 && last == a->steps));
  RONDO_TRY(use(l->c));
  a->backward_left = 0;
  RONDO_TRY(run_forward(*l, *a, *f));
  a->forward_done = last;
  if (last == a->steps) a->backward_left = last;
  return nullptr;
}

Fault layer_backward(Layer* l, Activations* a, const LayerBackward* b) {
  const Size last = b->last == 0 ? a->steps : b->last;
  RONDO_NEED(&a->layer == l && l->packed && b->dy != nullptr);
  RONDO_NEED(!l->projected() || b->w_hr != nullptr);
  RONDO_NEED(l->spec.ids != 0 ? b->ids != nullptr && b->dx == nullptr : b->x != nullptr);
  if (a->backward_left == 0)
    return fail("backward on the GPU needs a forward before it, once for each");
  RONDO_NEED(b->first >= 0 && b->first < last && last == a->backward_left);
  RONDO_NEED(l->spec.reverse == 0 || (b->first == 0 && last == a->steps));
  RONDO_TRY(use(l->c));
  a->backward_left = b->first;
  return run_backward(*l, *a, *b);
}

}  // namespace rondo::ops::cuda
