#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <rondo/actors/layout.h>
#include <rondo/actors/model.h>
#include <rondo/actors/series.h>
#include <rondo/actors/text.h>
#include <rondo/base/result.h>
#include <rondo/ops/cuda/entries.h>
#include <rondo/ops/optimizer.h>

// Everything that a training run's bits are a function of, besides the data's own bytes: model,
// data preparation, hyperparameters, seed and layout. It travels to the stages, and into every
// checkpoint, from which `--resume`, `rondo sample` and `rondo eval` read it back.
//
// Plain values; any thread.

namespace rondo::actors {

struct DataSpec {
  std::string path;          // absolute, as it was given
  std::uint64_t hash = 0;    // of the file's bytes: a resumed run must see the same ones
  TokenKind tokens = TokenKind::kChar;  // of a text
  std::string column;                   // of a series
  int test_rows = 0;
  SeriesScale scale;
  Vocabulary vocabulary;
};

// Where the stages compute. Part of what the bits depend on.
enum class Device : unsigned char { kCpu, kGpu };

struct RunSpec {
  ModelSpec model;
  DataSpec data;
  int seq = 50;
  int batch = 50;
  double val_frac = 0.05;
  ops::Optimizer optimizer = ops::Optimizer::kRmsprop;
  double lr = 2e-3;
  double lr_decay = 0.97;
  int lr_decay_after = 10;
  double clip = 5;
  std::uint64_t seed = 1;
  int epochs = 50;          // the goal: this many epochs,
  std::int64_t steps = 0;   // or this many steps, if not 0
  Layout layout;
  Device device = Device::kCpu;
  // What a GPU rounds the inputs of products to; a CPU has float32 only. Weights, moments, sums and
  // states are float32 in any case.
  ops::cuda::Precision precision = ops::cuda::Precision::kFloat32;
  std::string profile;   // what else the bits of a saved run depend on; empty: not yet known
};

[[nodiscard]] std::string_view to_string(ops::Optimizer rule);
[[nodiscard]] bool parse(std::string_view text, ops::Optimizer& out);
[[nodiscard]] std::string_view to_string(Device device);
[[nodiscard]] bool parse(std::string_view text, Device& out);
[[nodiscard]] std::string_view to_string(ops::cuda::Precision precision);
[[nodiscard]] bool parse(std::string_view text, ops::cuda::Precision& out);

// The learning rate during `epoch` (from 1): lr, times lr_decay for every epoch after
// `lr_decay_after`.
[[nodiscard]] double learning_rate(const RunSpec& spec, int epoch);

// The run as a map of JSON texts for a checkpoint's metadata, and back (kInvalid, naming what is
// missing or absurd).
[[nodiscard]] std::map<std::string, std::string> to_metadata(const RunSpec& spec);
[[nodiscard]] Result<RunSpec> from_metadata(const std::map<std::string, std::string>& metadata);

}  // namespace rondo::actors
