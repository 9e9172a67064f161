#pragma once

#include <cstdint>
#include <string>
#include <vector>

// The shape of a recurrent network: which cell, how many layers, how wide, what stands between
// them; and the names and shapes of its tensors.
//
// Names and layouts are PyTorch's (nn.RNN, nn.LSTM, nn.GRU, then nn.Linear), without a prefix and
// whatever the layout of the run: `weight_ih_l0` [G*H, inputs], `weight_hh_l0` [G*H, S],
// `bias_ih_l0`, `bias_hh_l0` [G*H], ..., `linear.weight` [outputs, S], `linear.bias`; G = 1 (rnn),
// 4 (lstm, gates i f g o) or 3 (gru, gates r z n); S = H, or the projection's width with
// `weight_hr_l0` [S, H] (nn.LSTM's proj_size). min-gru (gates z v) and min-lstm (f i v) read no h:
// `weight_ih_l0`, `bias_ih_l0` alone (ops/min_recurrent.h). Layer norm: `layer_norm.0.weight`,
// `layer_norm.0.bias` [S], as an nn.ModuleList names them. A text model reads tokens: its first
// product is a gather of columns of `weight_ih_l0`, or, if it has one, `embedding.weight` [V, E].
//
// Plain values; any thread.

namespace rondo::actors {

enum class CellKind : unsigned char { kRnn, kLstm, kGru, kMinGru, kMinLstm };
enum class Activation : unsigned char { kTanh, kSigmoid, kRelu };

// What the network reads and is judged by: tokens and cross-entropy in nats, or real numbers and
// squared error.
enum class DataKind : unsigned char { kTokens, kSeries };

struct ModelSpec {
  CellKind cell = CellKind::kLstm;
  Activation activation = Activation::kTanh;  // of an rnn; the gates of lstm and gru have their own
  DataKind data = DataKind::kTokens;
  int layers = 2;
  int hidden = 128;
  int inputs = 0;   // vocabulary size, or 1
  int outputs = 0;  // likewise
  // What a layer's output goes through: first layer norm, then, in training and if another layer
  // follows, dropout with this probability. The state that is carried on goes through neither.
  bool layer_norm = false;
  double dropout = 0;
  int projection = 0;  // of an lstm: the width of h; 0: none
  int embedding = 0;   // of tokens: the width of their vectors; 0: none

  bool operator==(const ModelSpec&) const = default;
};

[[nodiscard]] int gates(CellKind cell);
// S, the width of what a layer gives to the next one.
[[nodiscard]] int output_width(const ModelSpec& model);
[[nodiscard]] int input_width(const ModelSpec& model, int layer);
// Floats a sequence and layer: h and, of an lstm, c.
[[nodiscard]] int state_width(const ModelSpec& model);
[[nodiscard]] bool has_min_cells(const ModelSpec& model);
// Layer `layer` reads ids.
[[nodiscard]] bool gathers(const ModelSpec& model, int layer);
[[nodiscard]] std::string_view to_string(CellKind cell);
[[nodiscard]] std::string_view to_string(Activation activation);
[[nodiscard]] bool parse(std::string_view text, CellKind& out);
[[nodiscard]] bool parse(std::string_view text, Activation& out);

// Consecutive layers [first, last); the range that ends with the model's last layer also holds the
// linear head.
struct LayerRange {
  int first = 0;
  int last = 0;
};

struct TensorSpec {
  std::string name;
  std::int64_t rows = 0;
  std::int64_t cols = 0;  // 0: a vector
  std::uint64_t key = 0;  // names the tensor for random numbers: the same whatever the layout
  std::size_t offset = 0;  // in floats, from the start of the range's parameters

  [[nodiscard]] std::size_t size() const {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols == 0 ? 1 : cols);
  }
};

// The tensors of a range, in the order in which they lie one after another: the embedding in front
// of the first layer; of each layer its cell's, then its layer norm's; then the head's.
[[nodiscard]] std::vector<TensorSpec> tensors_of(const ModelSpec& model, LayerRange range);
[[nodiscard]] std::size_t cell_tensors(const ModelSpec& model);   // of a layer, without its norm
[[nodiscard]] std::size_t layer_tensors(const ModelSpec& model);  // with it
[[nodiscard]] std::size_t parameter_count(const ModelSpec& model, LayerRange range);

}  // namespace rondo::actors
