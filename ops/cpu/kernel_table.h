#pragma once

#include <cstddef>
#include <cstdint>

// The inner loops of every op, one table for each instruction set, chosen once at run time. Plain
// pointers and counts: shapes are checked by the ops that call them. Entries agree bit for bit
// between tables.

namespace rondo::ops {

// One panel of one time step: `rows` sequences of gate tiles. A tile row holds kTile values:
// Elman: 64 units; LSTM: 16 units each of i f g o; GRU: n r z of 16 units and the recurrent part
// of n.
inline constexpr std::int64_t kTile = 64;
inline constexpr std::int64_t kCellLanes = 16;   // units a panel of a gated cell
inline constexpr std::int64_t kStreamedRow = 4096;

template <class T>
struct CellForward {
  std::int64_t rows = 0;
  std::int64_t units = 0;         // units of this panel that exist; the other lanes are padding
  T* gates = nullptr;             // [rows][64] in: sums; out: gate values
  const T* c_before = nullptr;    // [rows][16], LSTM
  T* c = nullptr;                 // [rows][16] written, LSTM
  T* c_tanh = nullptr;            // [rows][16] written, LSTM
  const T* h_before = nullptr;    // [rows], row stride h_stride, GRU
  T* h = nullptr;                 // likewise, written
  std::int64_t h_stride = 0;
};

template <class T>
struct CellBackward {
  std::int64_t rows = 0;
  std::int64_t units = 0;
  T* gates = nullptr;             // [rows][64] in: gate values; out: gradients of the sums
  const T* c_before = nullptr;    // [rows][16], LSTM
  const T* c_tanh = nullptr;      // [rows][16], LSTM
  T* dc = nullptr;                // [rows][16] in: of c; out: of c_before
  const T* h_before = nullptr;    // [rows], row stride h_stride, GRU
  const T* dy = nullptr;          // [rows], row stride h_stride
  std::int64_t h_stride = 0;
  T* dh = nullptr;                // [rows], row stride 64: of the step after; GRU leaves dh·z
  std::int64_t back = 0;          // rows from the step before to this one: it is asked for
};

template <class T>
struct OptimizerRun {
  std::int64_t count = 0;
  const T *weight = nullptr, *gradient = nullptr, *moment1 = nullptr, *moment2 = nullptr;
  T *new_weight = nullptr, *new_moment1 = nullptr, *new_moment2 = nullptr;
  T lr = 0, decay = 0, a = 0, one_minus_a = 0, b = 0, one_minus_b = 0, epsilon = 0;
  T correction1 = 1, correction2 = 1;   // adam: 1/(1−β1^t), 1/(1−β2^t)
  bool stream = false;                  // see KernelTable::fence
};

// C (rows × columns, row stride ldc) = [C +] Σ over blocks of B (rows × depth) · A (depth ×
// columns).
template <class T>
struct ProductRun {
  std::int64_t rows = 0, columns = 0, depth = 0, lda = 0, ldb = 0, ldc = 0;
  bool b_by_depth = false;        // B is stored depth × rows
  bool accumulate = false;
  const T *a = nullptr, *b = nullptr;
  T* c = nullptr;
  std::int64_t blocks = 1;
  const std::uint64_t *a_offsets = nullptr, *b_offsets = nullptr;   // bytes; null for one block
};

// to[c][r] = [to[c][r] +] from[r][c].
template <class T>
struct TransposeRun {
  std::int64_t rows = 0, columns = 0;
  const T* from = nullptr;
  std::int64_t from_stride = 0;
  T* to = nullptr;
  std::int64_t to_stride = 0;
  bool add = false;
};

// to[c] = Σ over `count` rows of from[row·width + c], in their order, c < columns.
template <class T>
struct RowSum {
  const T* from = nullptr;
  const std::int64_t* rows = nullptr;           // [count + after]
  std::int64_t count = 0, after = 0;            // after: rows that will be wanted next
  std::int64_t width = 0, columns = 0;
  T* to = nullptr;
  bool stream = false;
};

// Rows of a layer norm, one after another.
template <class T>
struct NormForward {
  std::int64_t rows = 0, count = 0;
  const T *x = nullptr, *weight = nullptr, *bias = nullptr;
  T epsilon = 0;
  T *y = nullptr, *mean = nullptr, *inverse = nullptr;   // written; mean and inverse: [rows]
  bool stream = false;
};

template <class T>
struct NormBackward {
  std::int64_t rows = 0, count = 0;
  const T *x = nullptr, *dy = nullptr, *weight = nullptr;
  const T *mean = nullptr, *inverse = nullptr;   // [rows]
  T* dx = nullptr;                               // written; may be dy
  bool stream = false;
  T *dweight = nullptr, *dbias = nullptr;        // added to
};

struct DropoutKey {
  std::uint32_t seed_low = 0, seed_high = 0, step = 0, sample = 0, tensor = 0;
};

// One row: an element is kept if its 24 random bits are at least the threshold.
template <class T>
struct DropoutRun {
  std::int64_t count = 0;
  DropoutKey key;
  std::uint32_t first_block = 0;   // number of the row's first four draws
  std::uint32_t threshold = 0;
  T scale = 1;
  const T* x = nullptr;
  T* y = nullptr;                  // may be x
  bool stream = false;
};

// A block of steps of h = a·h' + b for a strip: some units of one sequence or whole sequences; a
// and b come from up to three slots by the rule of the cell (scan_kernel.h).
enum class ScanCell : std::uint8_t { kPlain, kMinGru, kMinLstm };

template <class T>
struct ScanRun {
  std::int64_t steps = 0, rows = 1, units = 0;   // rows: sequences
  std::int64_t stride = 0, row_stride = 0;  // between steps and between rows, in all slots
  const T* in[3] = {};
  T* out[3] = {};                           // opened gates, gradients; may be `in`
  bool raw = false;                         // the gates are sums yet: open them
  bool stream = false;                      // h of a forward pass, `out` of a backward pass
  T* h = nullptr;                           // forward: written
  const T *dy = nullptr, *h_before = nullptr;   // backward: read
  std::int64_t h_stride = 0, h_row_stride = 0;   // likewise, in these three
  T* carry = nullptr;                       // [rows][units] in and out
  T *product = nullptr, *local = nullptr;   // likewise: the block's summary, updated; optional
};

template <class T>
struct ScanKernels {
  using Kernel = void (*)(const ScanRun<T>&);
  Kernel summary = nullptr, forward = nullptr, back_summary = nullptr, backward = nullptr;
};

template <class T>
struct KernelTable {
  const char* name = "";
  void (*cell_forward[5])(const CellForward<T>&) = {};     // by Cell
  void (*cell_backward[5])(const CellBackward<T>&) = {};
  void (*optimizer[5])(const OptimizerRun<T>&) = {};       // by Optimizer
  void (*product)(const ProductRun<T>&) = nullptr;         // the fallback of the gemm seam
  // Before a result is told of that was written with `stream`: past the caches (vec.h).
  void (*fence)() = nullptr;
  void (*transpose)(const TransposeRun<T>&) = nullptr;
  void (*sum_rows)(const RowSum<T>&) = nullptr;
  void (*copy)(const T* from, std::int64_t count, T* to, bool stream) = nullptr;
  // One row: −ln p(target) and, if d is given, d = (softmax − one-hot)·scale; d may be x. To
  // stream, count may be kStreamedRow at most.
  T (*cross_entropy)(const T* x, std::int64_t count, std::int32_t target, T scale, T* d,
                     bool stream) = nullptr;
  void (*softmax)(const T* x, std::int64_t count, T inverse_temperature, T* p) = nullptr;
  T (*block_squares)(const T* x, std::int64_t count) = nullptr;            // Σ x²
  T (*squared_error)(const T* y, const T* target, std::int64_t count, T factor, T* d,
                     bool stream) = nullptr;
  void (*add)(const T* a, const T* b, std::int64_t count, T* out, bool stream) = nullptr;
  void (*scale)(const T* a, T factor, std::int64_t count, T* out, bool stream) = nullptr;
  void (*clip)(const T* a, T limit, std::int64_t count, T* out, bool stream) = nullptr;
  // sums[c] = Σ over rows of x[row][c], rows ascending, c < 64.
  void (*column_sums)(const T* x, std::int64_t rows, std::int64_t stride, T* sums) = nullptr;
  void (*layer_norm)(const NormForward<T>&) = nullptr;
  void (*layer_norm_backward)(const NormBackward<T>&) = nullptr;
  void (*dropout)(const DropoutRun<T>&) = nullptr;
  ScanKernels<T> scan[3];                                  // by ScanCell
  T (*fma1)(T a, T b, T c) = nullptr;
  bool (*finite)(const T* x, std::int64_t count) = nullptr;
  void (*map)(int function, const T* x, std::int64_t count, T* out) = nullptr;   // tests: exp …
};

enum class Isa { kGeneric, kAvx2, kAvx512 };
[[nodiscard]] Isa isa_in_use();             // the best that processor and LIBXSMM_TARGET allow
[[nodiscard]] bool isa_runs_here(Isa);      // the processor has it and this build contains it
[[nodiscard]] const KernelTable<float>& kernel_table(Isa);   // Requires: isa_runs_here.

template <class T>
[[nodiscard]] const KernelTable<T>& kernels();   // the table in use

// What the translation units provide.
void fill_generic(KernelTable<float>&);
void fill_generic_double(KernelTable<double>&);
void fill_avx2(KernelTable<float>&);
void fill_avx512(KernelTable<float>&);

}  // namespace rondo::ops
