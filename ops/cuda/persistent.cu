// The host's part of the persistent recurrence: whether it fits, its weights' order, its start.

#include <rondo/ops/cuda/persistent.h>

#include <rondo/ops/cuda/ptx.h>
#include <rondo/ops/cuda/recurrent.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {
namespace {

constexpr int kWarps = kThreads / 32;
constexpr int kFragment = 512;   // bytes of a warp's: 16 a lane

enum Pass { kForward, kBackward };

// Sizes of a pass; as Peer and Multiplier in persistent_kernel.h have them.
struct Depth {
  int tiles;         // of 16 rows
  int length;        // of the depth
  int chunks, warp_chunks;
  int kept;          // bytes of a block's weights that lie in shared memory
  int carried;       // numbers of a sequence and unit
};

int chunk_of(const Layer& l) { return l.rounded ? 32 : 16; }

Depth depth_of(const Layer& l, Pass pass, int units, int blocks) {
  const int gates = static_cast<int>(l.gates);
  Depth d{};
  d.tiles = pass == kForward ? units * gates / 16 : units / 16;
  d.length = blocks * units * (pass == kForward ? 1 : gates);
  d.chunks = (d.length + chunk_of(l) - 1) / chunk_of(l);
  d.warp_chunks = (d.chunks + kWarps - 1) / kWarps;
  d.kept = std::max(0, d.warp_chunks - persistent_held(d.tiles)) * d.tiles * 2 * kFragment * kWarps;
  if (pass == kForward) d.carried = l.spec.cell == kLstm || l.spec.cell == kGru ? 1 : 0;
  else d.carried = l.spec.cell == kLstm ? 2 : 1;
  return d;
}

// How a batch is laid over the device.
struct Grid {
  int tiles = 1;    // kNt
  int groups = 0, slabs = 0;
};

int shared_bytes(const Depth& d, const Grid& g, int units) {
  const int sequences = 8 * g.tiles;
  const int partial = kWarps * sequences * (d.tiles * 16 + 4) * 4;
  return 128 + partial + d.kept + d.carried * g.slabs * units * sequences * 4;
}

bool fits(const Layer& l, const PersistentPlan& p, const Grid& g) {
  for (const Pass pass : {kForward, kBackward})
    if (shared_bytes(depth_of(l, pass, p.units, p.blocks), g, p.units) > p.shared_max)
      return false;
  return true;
}

// One tile of 8 sequences a group where the device has room for so many groups, else two.
bool lay_grid(const Layer& l, const PersistentPlan& p, Size batch, Grid* out) {
  const int tiles = static_cast<int>(ceil_div(batch, 8));
  for (const int nt : {tiles <= p.groups_max ? 1 : 2, 1}) {
    const int pieces = (tiles + nt - 1) / nt;
    Grid g{.tiles = nt};
    g.slabs = (pieces + p.groups_max - 1) / p.groups_max;
    g.groups = (pieces + g.slabs - 1) / g.slabs;
    *out = g;
    if (fits(l, p, g)) return true;
  }
  return false;
}

PersistentKernels kernels_of(const Layer& l, int units) {
  switch (l.spec.precision) {
    case Precision::kBf16: return persistent_bf16(l.spec.cell, units);
    case Precision::kTf32: return persistent_tf32(l.spec.cell, units);
    default: return persistent_float32(l.spec.cell, units);
  }
}

// A kernel may use that much shared memory, and a block of it fits on a processor.
template <class P>
Fault admit(void (*kernel)(P), int bytes, bool* resident) {
  int blocks = 0;
  RONDO_CUDA(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  RONDO_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &blocks, reinterpret_cast<const void*>(kernel), kThreads, static_cast<std::size_t>(bytes)));
  *resident = *resident && blocks >= 1;
  return nullptr;
}

Fault admit_all(const PersistentPlan& p, bool* resident) {
  *resident = true;
  for (int nt = 0; nt < 2; ++nt) {
    RONDO_TRY(admit(p.kernels.forward[nt], p.shared_max, resident));
    RONDO_TRY(admit(p.kernels.backward[nt], p.shared_max, resident));
  }
  return nullptr;
}

// A plan, or why there is none.
Fault try_plan(Layer& l, PersistentPlan* plan, const char** why) {
  int shared = 0, cooperative = 0;
  RONDO_CUDA(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, l.c.device));
  RONDO_CUDA(cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, l.c.device));
  *why = nullptr;
  if (l.spec.recurrence == Recurrence::kSteps) *why = "as asked for";
  else if (l.projected()) *why = "its states are projected";
  else if (l.spec.hidden > kPersistentHiddenMax) *why = "it has more than 1024 units";
  else if (cooperative == 0) *why = "the GPU starts no cooperative kernels";
  if (*why != nullptr) return nullptr;
  const int processors = l.spec.processors > 0 ? std::min(l.spec.processors, l.c.processors)
                                               : l.c.processors;
  *why = "its weights do not fit into the processors";
  for (const int units : {32, 16}) {
    PersistentPlan p{.units = units, .blocks = static_cast<int>(ceil_div(l.spec.hidden, units)),
                     .shared_max = shared, .kernels = kernels_of(l, units)};
    p.groups_max = processors / p.blocks;
    if (p.groups_max < 1 || !fits(l, p, {.tiles = 1, .groups = 1, .slabs = 1})) continue;
    bool resident = false;
    RONDO_TRY(admit_all(p, &resident));
    if (!resident) continue;
    *plan = p, *why = nullptr;
    return nullptr;
  }
  return nullptr;
}

__device__ float weight_at(const void* w, bool rounded, Size i) {
  return rounded ? __bfloat162float(static_cast<const __nv_bfloat16*>(w)[i])
                 : static_cast<const float*>(w)[i];
}

struct Packing {
  const void* w_hh;   // [gates·H, H]
  Precision precision;
  bool backward;
  int hidden, gates, units, blocks, tiles, length, warp_chunks;
  uint4* to;
};

// Row `row` of block `block`'s product, at `depth`; zero where there is no such unit.
__device__ float element_of(const Packing& p, int block, int row, int depth) {
  int unit = 0, gate = 0, column = 0;   // of w_hh
  if (depth >= p.length) return 0;
  if (p.backward) {
    unit = depth / (p.gates * p.units) * p.units + depth % p.units;
    gate = depth / p.units % p.gates;
    column = block * p.units + row;
  } else {
    unit = block * p.units + row % p.units;
    gate = row / p.units;
    column = depth;
  }
  if (unit >= p.hidden || column >= p.hidden) return 0;
  const Size at = (static_cast<Size>(gate) * p.hidden + unit) * p.hidden + column;
  return weight_at(p.w_hh, p.precision == Precision::kBf16, at);
}

__device__ std::uint32_t word_of(const Packing& p, int block, int row, int chunk, int half,
                                 int word) {
  const int t = static_cast<int>(threadIdx.x % 4);
  if (p.precision == Precision::kBf16) {
    const int depth = chunk * 32 + 8 * t + 4 * half + 2 * (word / 2);
    const std::uint32_t low = __float_as_uint(element_of(p, block, row, depth)) >> 16;
    return low | (__float_as_uint(element_of(p, block, row, depth + 1)) & 0xffff0000U);
  }
  const float v = element_of(p, block, row, chunk * 16 + 4 * t + 2 * half + word / 2);
  return p.precision == Precision::kTf32 ? to_tf32(v) : __float_as_uint(v);
}

// Fragments of a as mma_bf16 and mma_tf32 want them, the depth dealt out as InBf16 says.
__global__ void pack_kernel(Packing p) {
  const Size count = static_cast<Size>(p.blocks) * kWarps * p.warp_chunks * p.tiles * 2 * 32;
  for (Size i = flat_index(); i < count; i += flat_step()) {
    const int lane = static_cast<int>(i % 32), half = static_cast<int>(i / 32 % 2);
    Size rest = i / 64;
    const int tile = static_cast<int>(rest % p.tiles);
    rest /= p.tiles;
    const int chunk = static_cast<int>(rest % (kWarps * p.warp_chunks));
    const int block = static_cast<int>(rest / (kWarps * p.warp_chunks));
    const int row = tile * 16 + lane / 4;
    p.to[i] = make_uint4(word_of(p, block, row, chunk, half, 0),
                         word_of(p, block, row + 8, chunk, half, 1),
                         word_of(p, block, row, chunk, half, 2),
                         word_of(p, block, row + 8, chunk, half, 3));
  }
}

Fault pack(Layer& l, Pass pass, Memory& to) {
  const PersistentPlan& plan = l.plan;
  const Depth d = depth_of(l, pass, plan.units, plan.blocks);
  const Size fragments = static_cast<Size>(plan.blocks) * kWarps * d.warp_chunks * d.tiles * 2;
  RONDO_TRY(to.ensure(l.c, fragments * kFragment));
  return launch(l.c, pack_kernel, flat_blocks(fragments * 32 * 4),
                Packing{.w_hh = l.w_hh.as<void>(), .precision = l.spec.precision,
                        .backward = pass == kBackward, .hidden = static_cast<int>(l.spec.hidden),
                        .gates = static_cast<int>(l.gates), .units = plan.units,
                        .blocks = plan.blocks, .tiles = d.tiles, .length = d.length,
                        .warp_chunks = d.warp_chunks, .to = to.as<uint4>()});
}

// Mail boxes and flags of a pass; flags start at 0. Depth that no unit fills must be 0.
Fault connect(Layer& l, Size batch, const Depth& d, const Grid& g, PersistentLink* link) {
  const Size places = static_cast<Size>(g.groups) * g.slabs;
  const Size mail = places * 2 * d.chunks * g.tiles * kFragment;
  const Size flags = places * kPersistentFlags * 4;
  RONDO_TRY(l.mail.ensure(l.c, mail));
  RONDO_TRY(l.flags.ensure(l.c, flags));
  RONDO_CUDA(cudaMemsetAsync(l.flags.as<void>(), 0, static_cast<std::size_t>(flags), l.c.stream));
  if (d.length % chunk_of(l) != 0)
    RONDO_CUDA(cudaMemsetAsync(l.mail.as<void>(), 0, static_cast<std::size_t>(mail), l.c.stream));
  *link = {.mail = l.mail.as<uint4>(), .flags = l.flags.as<std::uint32_t>(),
           .stalled = l.c.top().stalled, .patience_ns = l.c.top().patience_ns,
           .blocks = l.plan.blocks, .slabs = g.slabs, .chunks = d.chunks,
           .warp_chunks = d.warp_chunks,
           .batch = static_cast<int>(batch), .hidden = static_cast<int>(l.spec.hidden)};
  return nullptr;
}

// A layer that has the device to itself is launched cooperatively: the driver sees to it that all
// blocks are there at once. It may let such grids of several streams wait for one another's end,
// so a layer with a share is launched plainly. All its blocks come to be there too: a grid has at
// most a block for each processor of the share (lay_grid), every processor holds one (admit_all),
// the shares of all lines together are at most the device (LayerSpec::processors), a line has one
// grid at a time, and any other kernel ends without waiting for these. A kernel that waits for
// another GPU (NCCL's) may hold processors for long: whoever runs such, runs none of these beside.
bool launches_together(const Layer& l) {
  return l.spec.processors == 0 || l.spec.processors >= l.c.processors;
}

template <class P>
Fault start(Layer& l, void (*const (&kernels)[2])(P), const Grid& g, const Depth& d, const P& p) {
  cudaLaunchAttribute together{};
  together.id = cudaLaunchAttributeCooperative;
  together.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(g.groups * l.plan.blocks));
  config.blockDim = dim3(static_cast<unsigned>(kThreads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes(d, g, l.plan.units));
  config.stream = l.c.stream;
  config.attrs = &together;
  config.numAttrs = launches_together(l) ? 1 : 0;
  return check(cudaLaunchKernelEx(&config, kernels[g.tiles - 1], p),
               "the start of a persistent kernel");
}

const char* cell_name(std::int32_t cell) {
  if (cell == kLstm) return "LSTM";
  return cell == kGru ? "GRU" : "Elman";
}

Fault open_stalled(Context& c) {
  if (c.stalled != nullptr) return nullptr;
  void* word = nullptr;
  RONDO_CUDA(cudaMallocHost(&word, sizeof *c.stalled));
  c.stalled = static_cast<std::uint32_t*>(word);
  *c.stalled = 0;
  return nullptr;
}

}  // namespace

Fault plan_persistent(Layer& l) {
  const char* why = nullptr;
  RONDO_TRY(use(l.c));
  RONDO_TRY(try_plan(l, &l.plan, &why));
  if (why != nullptr && l.spec.recurrence == Recurrence::kPersistent)
    return fail("this layer of %lld units cannot run as one persistent kernel: %s",
                static_cast<long long>(l.spec.hidden), why);
  const char* precisions[] = {"float32", "TF32", "bf16"};
  char text[160];
  const int length = std::snprintf(text, sizeof text, "%s %lld %s ", cell_name(l.spec.cell),
                                   static_cast<long long>(l.spec.hidden),
                                   precisions[static_cast<int>(l.spec.precision)]);
  const auto left = sizeof text - static_cast<std::size_t>(length);
  if (why != nullptr) std::snprintf(text + length, left, "step by step (%s)", why);
  else std::snprintf(text + length, left, "persistent (%d units a block)", l.plan.units);
  l.c.top().recurrences.insert(text);
  return why == nullptr ? open_stalled(l.c.top()) : nullptr;
}

Fault plan_for(Layer& l, Size batch, LayerPlan* out) {
  const char* why = nullptr;
  Grid g;
  *out = {};
  RONDO_TRY(try_plan(l, &l.plan, &why));
  if (l.plan.units == 0 || batch > kPersistentBatchMax || !lay_grid(l, l.plan, batch, &g))
    return nullptr;
  *out = {.persistent = 1, .step_tiles = g.slabs * g.tiles};
  return nullptr;
}

Fault pack_persistent(Layer& l) {
  if (l.plan.units == 0) return nullptr;
  RONDO_TRY(pack(l, kForward, l.persistent_forward));
  return pack(l, kBackward, l.persistent_backward);
}

bool runs_persistent(const Layer& l, const Activations& a) {
  Grid g;
  return l.plan.units > 0 && a.batch <= kPersistentBatchMax && lay_grid(l, l.plan, a.batch, &g);
}

Fault persistent_forward(Layer& l, Activations& a, const std::int32_t* ids, Size first,
                         Size last) {
  const Depth d = depth_of(l, kForward, l.plan.units, l.plan.blocks);
  Grid g;
  RONDO_NEED(lay_grid(l, l.plan, a.batch, &g));
  PersistentForward p{.first = static_cast<int>(first), .last = static_cast<int>(last),
                      .cell = l.spec.cell,
                      .at = a.equal ? nullptr : a.at_device.as<std::int32_t>(),
                      .gates = a.gates.as<float>(), .bias = l.bias.as<float>(),
                      .h = a.h.as<float>(), .c = a.c.as<float>(),
                      .h_rounded = a.h_rounded.as<__nv_bfloat16>(), .ids = ids,
                      .table = l.table.as<float>(), .words = l.spec.inputs};
  RONDO_TRY(connect(l, a.batch, d, g, &p.link));
  p.link.weights = l.persistent_forward.as<uint4>();
  if (l.spec.ids == 0) p.ids = nullptr;
  return start(l, l.plan.kernels.forward, g, d, p);
}

Fault persistent_backward(Layer& l, Activations& a, const float* dy, Size first, Size last) {
  const Depth d = depth_of(l, kBackward, l.plan.units, l.plan.blocks);
  Grid g;
  RONDO_NEED(lay_grid(l, l.plan, a.batch, &g));
  PersistentBackward p{.first = static_cast<int>(first), .last = static_cast<int>(last),
                       .cell = l.spec.cell,
                       .at = a.equal ? nullptr : a.at_device.as<std::int32_t>(),
                       .gates = a.gates.as<float>(),
                       .rounded = l.rounded ? l.gradients.as<__nv_bfloat16>() : nullptr,
                       .h = a.h.as<float>(), .c = a.c.as<float>(), .dy = dy,
                       .dh = l.dh.as<float>(), .dc = l.dc.as<float>()};
  RONDO_TRY(connect(l, a.batch, d, g, &p.link));
  p.link.weights = l.persistent_backward.as<uint4>();
  return start(l, l.plan.kernels.backward, g, d, p);
}

Fault check_stalled(Context& c) {
  const volatile std::uint32_t* stalled = c.top().stalled;
  if (stalled == nullptr || *stalled == 0) return nullptr;
  return fail("a recurrent layer's kernel waited more than %d s for another of its blocks and gave "
              "up; what this GPU has computed since is not valid",
              static_cast<int>(c.top().patience_ns / kNsOfASecond));
}

}  // namespace rondo::ops::cuda
