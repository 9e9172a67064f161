#pragma once

#include <cstddef>
#include <cstdint>

// The table of entries between the program and the CUDA module (librondo_ops_cuda.so). The program
// is built without CUDA; it opens the module at run time (gpu.h) and asks for this table.
//
// `version` comes first and never moves: a module of another version is refused before anything
// else is read. Every entry returns null, or one sentence that says what failed; the sentence stays
// valid until the next call in the same thread. All pointers are device memory unless said
// otherwise ("host"). Work is put in line on the context's stream and runs later; entries that
// hand numbers to the host wait for it. Matrices are row-major, contiguous, float32.
// One call at a time on a context and on what was made from it; several contexts may share a
// device. Wrong shapes are sentences, not aborts. Same results from run to run (profile() names
// what they depend on); they differ from the CPU's by rounding.

namespace rondo::ops::cuda {

inline constexpr std::uint32_t kVersion = 4;
inline constexpr const char* kEntryName = "rondo_ops_cuda_entries";
inline constexpr const char* kModuleName = "librondo_ops_cuda.so";

using Fault = const char*;   // null: done
using Size = std::int64_t;

struct Context;       // a device, a stream, one for copies beside it, a workspace for products
struct Layer;         // a recurrent layer: copies of its weights, scratch, captured graphs
struct Activations;   // what a layer's forward leaves for its backward, for one shape

// What a product's inputs are rounded to; sums, states and results are always float32.
enum class Precision : std::int32_t { kFloat32, kTf32, kBf16 };

enum class Number : std::int32_t { kFloat32, kFloat64 };
enum class Joined : std::int32_t { kSum, kMax };   // a NaN on either side is the maximum

struct Combine {   // out = left + right per element, or the larger; out may be either
  Number number;
  Joined how;
  Size count;
  const void *left, *right;
  void* out;
};

struct MemoryName {   // of device memory, for other processes of the machine; plain bytes
  unsigned char bytes[64];
};

struct Product {   // c [rows,columns] = a·b (+ c); a [rows,depth], b [depth,columns]
  Size rows, columns, depth;
  const void* a;
  Size a_stride;
  std::int32_t a_transposed;   // stored [depth,rows]
  const void* b;
  Size b_stride;
  std::int32_t b_transposed;   // stored [columns,depth]
  float* c;
  Size c_stride;
  std::int32_t add;
  Precision precision;   // kBf16: a and b are bf16 (16 bits each), else float32
};

struct OptimizerStep {   // optimizer.h's rules; the constants are already worked out
  std::int32_t rule;     // rondo::ops::Optimizer
  Size count;
  float lr, decay, epsilon, a, one_minus_a, b, one_minus_b, correction1, correction2;
  const double* clip_squared_norm;   // optional: the gradient is scaled to clip_limit as it is read
  double clip_limit;
  const float *weight, *gradient, *moment1, *moment2;
  float *new_weight, *new_moment1, *new_moment2;
};

struct CrossEntropy {   // loss.h
  Size rows, classes;
  const float* logits;
  const std::int32_t* targets;
  float scale;
  float *row_loss, *dlogits;   // dlogits optional, may be logits
  double* sum;                 // one number
};

struct LayerNorm {   // layer_norm.h
  Size rows, features;
  float epsilon;
  const float *weight, *bias, *x;
  float *y, *mean, *inverse;
};

struct LayerNormBackward {
  Size rows, features;
  const float *weight, *x, *dy, *mean, *inverse;
  float *dx;                // may be dy; null: not wanted
  float *dweight, *dbias;   // sums over all rows; null: not wanted
  std::int32_t add;         // to the sums
};

struct Dropout {   // dropout.h: the same mask as on the CPU
  Size steps, batch, features, first_time;
  double probability;
  std::uint64_t seed;
  std::uint32_t step, sample, tensor;
  const float* x;
  float* y;   // may be x
};

struct Embedding {   // embedding.h; an id out of range gives a row of NaN, or is left out backward
  Size words, width, count;
  const std::int32_t* ids;
  const float* from;   // forward: table [words,width]; backward: dy [count,width]
  float* to;           // forward: y [count,width]; backward: dtable [words,width]
  std::int32_t add;    // backward only
};

// cell 0: h = in0·h' + in1; 1: minGRU (z v); 2: minLSTM (f i v). Slot s of step t, sequence n and
// unit u lies at in[s] + (t·batch + n)·row + u.
struct Scan {
  std::int32_t cell;
  Size steps, batch, units, row;
  float* in[3];        // forward of 1 and 2: gates before their logistic, overwritten by it
  float* out[3];       // backward: gradients of the slots; may be `in`
  float* h;            // [T+1,batch,units]: forward: h[0] given, the rest written; backward: read
  const float* dy;     // backward: [T,batch,units]
  const float* dlast;  // backward: [batch,units], optional
  float* dfirst;       // backward: [batch,units], written, optional
};

// How a layer goes through time. kChosen: persistent (all steps in one kernel, weights kept in the
// processors) where that fits, else step by step; what was chosen stands in profile(). kPersistent:
// a fault where it does not fit.
enum class Recurrence : std::int32_t { kChosen, kPersistent, kSteps };

// S, the width of h, is `hidden` or, in an LSTM with a projection, its width. A bidirectional layer
// is two layers, one of them `reverse`, and copy_columns for y, dy and back.
struct LayerSpec {
  std::int32_t cell;   // rondo::ops::Cell
  Size inputs, hidden;
  std::int32_t ids;
  Precision precision;
  Size projection = 0;        // LSTM only; 0: none
  std::int32_t reverse = 0;   // reads each sequence backwards; y and dx lie as x does
  Recurrence recurrence = Recurrence::kChosen;
  // That a persistent kernel may take; 0: all. Who gives shares sees to it that those of all lines
  // together are on the device: their kernels are started without the driver's word for it.
  std::int32_t processors = 0;
};

// How a layer would go through time with so many sequences.
struct LayerPlan {
  std::int32_t persistent;
  std::int32_t step_tiles;   // of a persistent one: tiles of 8 sequences that a block does a step
};

// Equal lengths: at and sequence null. Else packed as lengths.h says.
struct Sequences {
  Size steps, batch;
  const Size* at;               // host [steps+1]
  const std::int32_t* sequence; // host [batch]: who is at place k
};

struct LayerWeights {
  const float *w_ih, *w_hh, *b_ih, *b_hh;
  const float* w_hr = nullptr;   // [S,H], with a projection
};

// A pass may go part by part: steps [first, last), last 0 for all. Parts follow one another without
// a gap, forward from step 0 on, backward from the last step down; all pointers are those of the
// whole pass and the same in each part. Gradients of weights are written by the part with step 0.
struct LayerForward {
  const float* x;             // [rows,I], or
  const std::int32_t* ids;    // [rows]
  const float *h_first, *c_first;   // optional: zeros
  float *h_last, *c_last;           // optional; of a reverse layer: after the first step
  Size first = 0, last = 0;         // a part; not of a reverse layer
};

struct LayerBackward {
  const float* x;
  const std::int32_t* ids;
  const float *dy, *dh_last, *dc_last;   // dlast optional
  float *dx, *dh_first, *dc_first;       // optional
  float *w_ih, *w_hh, *b_ih, *b_hh;      // gradients
  std::int32_t add;
  float* w_hr = nullptr;
  Size first = 0, last = 0;
};

// Rows of `columns` floats from a matrix of one row stride to one of another. No aliasing.
struct CopyColumns {
  Size rows, columns;
  const float* from;
  Size from_stride;
  float* to;
  Size to_stride;
};

struct Entries {
  std::uint32_t version;
  std::uint32_t bytes;   // of this struct
  Fault (*device_count)(int* count);
  Fault (*open)(int device, Context** out);
  void (*close)(Context*);
  Fault (*profile)(Context*, char* text, std::size_t bytes);   // host
  Fault (*bus_id)(Context*, char* text, std::size_t bytes);    // host; one device's on its machine
  Fault (*wait)(Context*);                                     // until all is done
  Fault (*wait_for)(Context*, Context* other);   // in line behind what `other` has been given
  // A second line of work on the same device, closed before the first. What goes wrong there, and
  // what its layers choose, is told by the first.
  Fault (*open_beside)(Context*, Context** out);
  Fault (*processors)(Context*, std::int32_t* count);   // of the device
  Fault (*mark)(Context*, int which);            // 0, 1: a point in the line
  Fault (*between_marks)(Context*, double* seconds);   // host; waits for mark 1
  Fault (*note)(Context*, std::uint64_t* number);      // a point in the line; they count from 1
  Fault (*wait_for_note)(Context*, std::uint64_t number);   // host: until the line is there
  Fault (*allocate)(Context*, std::size_t bytes, void** out);   // aligned to 256, not cleared
  Fault (*release)(Context*, void*);
  Fault (*copy_in)(Context*, void* to, const void* from_host, std::size_t bytes);
  Fault (*copy_out)(Context*, void* to_host, const void* from, std::size_t bytes);
  Fault (*copy)(Context*, void* to, const void* from, std::size_t bytes);
  Fault (*fill)(Context*, void* to, int byte, std::size_t bytes);
  Fault (*stream)(Context*, void** stream);   // its cudaStream_t, for libraries like NCCL
  Fault (*idle)(Context*, int* idle);         // host: 1 when all is done; does not wait

  // Copies that run beside the line: from what it has made so far, while it goes on. Whoever
  // writes over their source, or over what they have copied, waits for them first.
  Fault (*allocate_host)(Context*, std::size_t bytes, void** out);   // pinned
  Fault (*release_host)(Context*, void*);
  Fault (*copy_out_later)(Context*, void* to_pinned, const void* from, std::size_t bytes);
  Fault (*copies_begun)(Context*, std::uint64_t* number);       // the last one's; they count from 1
  Fault (*wait_for_copy)(Context*, std::uint64_t number);       // until it is done
  Fault (*after_copies)(Context*);      // what is put in line from here on comes after them

  // Memory that another process may open by its name, while this one lives. It must be closed
  // there before it is released here; what a reader of a dead process's memory gets is undefined.
  Fault (*allocate_named)(Context*, std::size_t bytes, void** out, MemoryName*);
  Fault (*open_named)(Context*, const MemoryName*, void** out);
  Fault (*close_named)(Context*, void*);   // waits for the line

  Fault (*add)(Context*, const float* a, const float* b, Size count, float* out);
  Fault (*combine)(Context*, const Combine*);
  Fault (*scale)(Context*, const float* a, float factor, Size count, float* out);
  Fault (*clip_value)(Context*, const float* a, float limit, Size count, float* out);
  Fault (*squared_norm)(Context*, const float* x, Size count, double* sum, int add);
  Fault (*clip_norm)(Context*, const float* a, const double* squared_norm, double limit,
                     Size count, float* out);
  Fault (*not_finite)(Context*, const float* x, Size count, Size* first);   // host; −1: none
  Fault (*to_bf16)(Context*, const float* x, Size count, void* out);
  Fault (*copy_columns)(Context*, const CopyColumns*);
  Fault (*transpose)(Context*, const float* from, Size rows, Size columns, float* to);
  Fault (*column_sums)(Context*, const float* x, Size rows, Size columns, float* sums, int add);
  Fault (*optimizer_step)(Context*, const OptimizerStep*);
  Fault (*cross_entropy)(Context*, const CrossEntropy*);
  Fault (*squared_error)(Context*, const float* y, const float* target, Size count, float scale,
                         float* dy, double* sum);   // dy optional
  Fault (*softmax)(Context*, const float* x, Size rows, Size columns, float temperature, float* y);
  Fault (*layer_norm)(Context*, const LayerNorm*);
  Fault (*layer_norm_backward)(Context*, const LayerNormBackward*);
  Fault (*dropout)(Context*, const Dropout*);
  Fault (*embedding)(Context*, const Embedding*);
  Fault (*embedding_backward)(Context*, const Embedding*);
  Fault (*product)(Context*, const Product*);
  Fault (*add_bias)(Context*, float* x, const float* bias, Size rows, Size columns);
  Fault (*scan)(Context*, const Scan*);
  Fault (*scan_backward)(Context*, const Scan*);

  Fault (*layer_open)(Context*, const LayerSpec*, Layer** out);
  Fault (*layer_plan)(Context*, const LayerSpec*, Size batch, LayerPlan*);   // host; opens nothing
  void (*layer_close)(Layer*);   // its activations are closed before it
  Fault (*layer_pack)(Layer*, const LayerWeights*);
  Fault (*activations_open)(Layer*, const Sequences*, Activations** out);
  void (*activations_close)(Activations*);
  Fault (*activations_y)(Activations*, const float** y);   // [rows,S], valid after forward
  Fault (*layer_forward)(Layer*, Activations*, const LayerForward*);
  Fault (*layer_backward)(Layer*, Activations*, const LayerBackward*);   // once after a forward
};

using GetEntries = const Entries* (*)();

}  // namespace rondo::ops::cuda
