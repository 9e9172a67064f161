#pragma once

// Inside the recurrent layer: how gates lie in memory, and the cells' kernels.
//
// A row (a step of a sequence) of the gates has `slots` groups of H values: Elman 1; LSTM 4, i f g
// o; GRU 4, n r z m, where m is the recurrent part of n. Weights keep PyTorch's order of rows, in
// which r z n are 1 2 0 of the slots for the input and 1 2 3 for the state.
// States: h and c are [batch first | row after row]; before(t) says where the state before step t
// lies (lengths.h). In bf16 every h is also kept rounded, and backward leaves the gates' gradients
// rounded in a buffer of its own; else they overwrite the gates.
//
// With a projection (LSTM) the cell's output u = o·tanh c lies row after row in a buffer of its
// own, and h = w_hr·u. Backward keeps dh of every row, for w_hr's gradient.
// A reverse layer works on its input turned in time, and turns y, dy and dx.

#include <map>
#include <memory>
#include <vector>

#include <rondo/ops/cuda/device.h>
#include <rondo/ops/cuda/persistent.h>

namespace rondo::ops::cuda {

enum CellKind : std::int32_t { kTanh, kSigmoid, kRelu, kLstm, kGru };
inline int slots_of(std::int32_t cell) { return cell == kLstm || cell == kGru ? 4 : 1; }
inline int gates_of(std::int32_t cell) { return cell == kLstm ? 4 : cell == kGru ? 3 : 1; }

struct CellStep {   // one step forward: `count` rows, row k at place k
  Size count, hidden;
  float* gates;              // [count][slots][H], sums in, values out
  const float* bias;         // [slots][H]
  const float* h_before;     // [count][H]; GRU only
  const float* c_before;     // LSTM only
  float *h, *c;              // h: or null, with h_rounded
  __nv_bfloat16* h_rounded;  // or null
  const std::int32_t* ids;   // or null: [count]
  const float* table;        // [words][gates·H]: w_ih transposed
  Size words;
};
Fault cell_forward(Context&, std::int32_t cell, const CellStep&);

struct CellBack {   // one step backward
  Size count, hidden;
  float* gates;              // values in; gradients out, unless rounded is given
  __nv_bfloat16* rounded;
  const float *h_before, *c_before, *c, *dy;
  float *dh, *dc;            // [batch][H], at the rows' places: carried from step to step; dh null
                             // with a projection: dy is all of it
};
Fault cell_backward(Context&, std::int32_t cell, const CellBack&);

Fault join_biases(Context&, std::int32_t cell, Size hidden, const float* b_ih, const float* b_hh,
                  float* bias);
// sums [slots][H] of the gates' gradients to both biases.
Fault split_biases(Context&, std::int32_t cell, Size hidden, const float* sums, float* b_ih,
                   float* b_hh, int add);

struct Moved {   // rows of `width` floats; row i of `to` is row index[i] of `from`
  const float* from;
  const std::int32_t* index;   // null: i
  Size rows, width;
  float* to;                   // or null
  __nv_bfloat16* rounded;      // or null
  bool scatter;                // the other way: row index[i] of `to` is row i of `from`
};
Fault move_rows(Context&, const Moved&);   // from null: zeros
Fault move_ids(Context&, const std::int32_t* from, const std::int32_t* index, Size rows,
               std::int32_t* to);
Fault transpose(Context&, const float* from, Size rows, Size columns, float* to);
// dw [gates·H, words] = or += the transposed sums [words, in slots' order].
Fault table_gradient(Context&, std::int32_t cell, Size hidden, Size words, const float* sums,
                     float* dw, int add);

// Device memory of one owner.
class Memory {
 public:
  Memory() = default;
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  Fault ensure(Context&, Size bytes);   // never shrinks; growing loses what it held
  template <class T>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(data_);
  }
  [[nodiscard]] Size bytes() const { return bytes_; }

 private:
  Context* context_ = nullptr;
  void* data_ = nullptr;
  Size bytes_ = 0;
};

// A loop over time as a captured graph, one for each set of pointers and shape it was called with.
// The first call of a set runs step by step, the second captures, later ones replay.
class Graphs {
 public:
  Graphs() = default;
  ~Graphs();
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  using Key = std::vector<std::uintptr_t>;
  template <class Body>
  Fault run(Context& c, const Key& key, const Body& body) {
    Entry& entry = entry_of(key);
    if (entry.ready != nullptr) return replay(c, entry);
    if (!entry.seen) {
      entry.seen = true;
      return body();
    }
    RONDO_TRY(begin(c));
    const Fault fault = body();
    RONDO_TRY(end(c, entry, fault));
    return replay(c, entry);
  }
  void forget();   // pointers may have changed hands

 private:
  struct Entry {
    bool seen = false;
    cudaGraphExec_t ready = nullptr;
    std::uint64_t used = 0;
  };
  static constexpr std::size_t kEntriesMax = 256;   // a layer in parts has one a part
  Entry& entry_of(const Key&);
  static Fault begin(Context&);
  static Fault end(Context&, Entry&, Fault);
  static Fault replay(Context&, Entry&);
  std::map<Key, Entry> entries_;
  std::uint64_t calls_ = 0;
};

struct Layer {
  Context& c;
  LayerSpec spec;
  Size slots, gates;   // groups of H in a row of the gates, in w_ih
  Size state;          // S
  bool rounded;        // bf16
  Memory w_ih, w_hh, w_hr, table, bias;
  Memory x, previous, gradients, dh, dc, sums;
  Memory dh_step, dh_rows, du;   // with a projection: bf16's sum of a step; of all rows; of a step
  Memory dy, dx;                 // reverse: turned
  [[nodiscard]] bool projected() const { return spec.projection > 0; }
  Graphs graphs;
  PersistentPlan plan;
  Memory persistent_forward, persistent_backward, mail, flags;   // weights; see PersistentLink
  bool packed = false;
};

struct Activations {
  Layer& layer;
  Size steps, batch, rows;
  std::vector<Size> at;          // steps + 1
  bool equal;
  Memory order, previous;        // int32: who is at place k; where the state before a row lies
  Memory last;                   // int32 [batch]: where the last state of place k lies
  Memory gates, h, h_rounded, c;
  Memory u;                      // with a projection [rows,H], float32 or bf16
  Memory turned;                 // reverse: int32 [rows]: where a row lies in the turned batch
  Memory x, ids, y;              // reverse: the input turned, the output turned back
  Memory at_device;              // int32 [steps+1], unless equal; for persistent kernels
  Size forward_done = 0;         // steps
  Size backward_left = 0;        // steps; 0: backward needs a forward before it
  [[nodiscard]] Size count(Size t) const { return at_of(t + 1) - at_of(t); }
  [[nodiscard]] Size at_of(Size t) const { return at[static_cast<std::size_t>(t)]; }
  [[nodiscard]] Size before(Size t) const { return t == 0 ? 0 : batch + at_of(t - 1); }
};

Fault run_forward(Layer&, Activations&, const LayerForward&);
Fault run_backward(Layer&, Activations&, const LayerBackward&);

}  // namespace rondo::ops::cuda
