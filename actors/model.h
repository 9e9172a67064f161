#pragma once

#include <cstdint>
#include <string>
#include <vector>

// The shape of a recurrent network: which cell, how many layers, how wide; and the names and
// shapes of its tensors.
//
// Names and layouts are PyTorch's (nn.RNN, nn.LSTM, nn.GRU, then nn.Linear), without a prefix and
// whatever the layout of the run: `weight_ih_l0` [G*H, inputs], `weight_hh_l0` [G*H, H],
// `bias_ih_l0`, `bias_hh_l0` [G*H], ..., `linear.weight` [outputs, H], `linear.bias`; G = 1 (rnn),
// 4 (lstm, gates i f g o) or 3 (gru, gates r z n). A text model reads tokens: its first product is
// a gather of columns of `weight_ih_l0`, there is no embedding layer.
//
// Plain values; any thread.

namespace rondo::actors {

enum class CellKind : unsigned char { kRnn, kLstm, kGru };
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

  bool operator==(const ModelSpec&) const = default;
};

[[nodiscard]] int gates(CellKind cell);
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

// The tensors of a range, in the order in which they lie one after another.
[[nodiscard]] std::vector<TensorSpec> tensors_of(const ModelSpec& model, LayerRange range);
[[nodiscard]] std::size_t parameter_count(const ModelSpec& model, LayerRange range);

}  // namespace rondo::actors
