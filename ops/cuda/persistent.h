#pragma once

// The recurrence as one kernel for all time steps: the recurrent weights stay in the registers and
// the shared memory of the processors, and only h (backward: the gates' gradients) travels.
//
// Picture the batch cut into groups, and each group served by its own set of blocks that together
// hold the whole recurrent matrix; block p keeps the rows (backward: the columns) of its `units`
// units. A step is a turn: every block sends what its units have become to all blocks of its group
// through L2 and raises its flag; each of its eight warps waits for the flags of the blocks whose
// values it needs, multiplies them with its eighth of the depth on the tensor cores, and the eight
// partial sums are added in order in shared memory, where the pointwise part follows. No atomics,
// no barrier over the grid. Two mail boxes suffice: who has seen everyone's flag of turn e knows
// that everyone has read turn e − 1. Groups never meet; a group whose sequences do not fit at once
// takes them in slabs of 8 or 16 (kNt tiles), and the flags of one travel while another computes.
// (Diamos et al. 2016, "Persistent RNNs"; the warps' waiting for parts only is ours.)
//
// float32 is three TF32 products of operands split in two (as CUTLASS does): about float32's error.
// All blocks of a launch must be on the device at once (launches_together in persistent.cu). A wait
// has an end: after `patience` a block gives up, says so in a word of host memory, and every call
// that hands numbers to the host is a fault from then on. That is 10 s, or as many seconds as
// RONDO_GPU_PATIENCE says, for tools that slow a kernel down a hundred times.

#include <rondo/ops/cuda/device.h>

namespace rondo::ops::cuda {

struct Layer;
struct Activations;

// How a group's blocks reach one another; the same in both passes.
struct PersistentLink {
  const uint4* weights;    // fragments: [blocks][8 warps][warp_chunks][tiles of 16 rows][2][32]
  uint4* mail;             // [groups][slabs][2][chunks][kNt][8 sequences][64 bytes of depth]
  std::uint32_t* flags;    // [groups][slabs][kPersistentFlags]: turns done by each block
  std::uint32_t* stalled;  // in host memory
  std::uint64_t patience_ns;
  int blocks, slabs, chunks, warp_chunks;   // of a group; a chunk is 64 bytes of the depth
  int batch, hidden;
};
inline constexpr int kPersistentFlags = 128;   // words of a slab: at least `blocks`

struct PersistentForward {
  PersistentLink link;
  int first, last;           // steps
  std::int32_t cell;         // which activation of an Elman layer
  const std::int32_t* at;    // [steps+1]: a step's first row; null: step · batch
  float* gates;              // [rows][slots][H]: input parts in, values out
  const float* bias;         // [slots][H]
  float *h, *c;              // [batch first | rows][H]
  __nv_bfloat16* h_rounded;  // or null
  const std::int32_t* ids;   // or null
  const float* table;        // [words][gates·H]
  Size words;
};

struct PersistentBackward {
  PersistentLink link;
  int first, last;
  std::int32_t cell;
  const std::int32_t* at;
  float* gates;             // values in, gradients out, unless rounded is given
  __nv_bfloat16* rounded;
  const float *h, *c, *dy;
  float *dh, *dc;           // [batch][H]: in and out
};

// The kernels of one precision, cell and number of units, for 1 and 2 tiles of sequences.
struct PersistentKernels {
  void (*forward[2])(PersistentForward) = {};
  void (*backward[2])(PersistentBackward) = {};
};
PersistentKernels persistent_bf16(std::int32_t cell, int units);
PersistentKernels persistent_tf32(std::int32_t cell, int units);
PersistentKernels persistent_float32(std::int32_t cell, int units);

// Chunks of a warp's weights that registers hold, for so many tiles of 16 rows: 128 registers.
constexpr int persistent_held(int tiles) { return 16 / tiles; }

inline constexpr Size kPersistentHiddenMax = 1024;
inline constexpr Size kPersistentBatchMax = 256;   // beyond it one product a step is as good

// What layer_open has chosen for a layer.
struct PersistentPlan {
  int units = 0;        // of a block; 0: the layer runs step by step
  int blocks = 0;       // of a group
  int groups_max = 0;   // that the device, or the layer's share of it, holds at once
  int shared_max = 0;   // bytes of shared memory of a block
  PersistentKernels kernels;
};

Fault plan_persistent(Layer&);             // also names the choice in the context's profile
Fault plan_for(Layer&, Size batch, LayerPlan*);   // says nothing in the profile
Fault pack_persistent(Layer&);             // after w_hh
bool runs_persistent(const Layer&, const Activations&);
// Steps [first, last); the input parts of their gates are there.
Fault persistent_forward(Layer&, Activations&, const std::int32_t* ids, Size first, Size last);
Fault persistent_backward(Layer&, Activations&, const float* dy, Size first, Size last);
Fault check_stalled(Context&);

}  // namespace rondo::ops::cuda
