#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <rondo/actors/chaos.h>
#include <rondo/actors/checkpoint.h>
#include <rondo/actors/gradient_sum.h>
#include <rondo/actors/run_spec.h>

// The command line of `rondo train`, as values: what was asked for, with every default filled in
// and every contradiction that flags and files can show refused (exit code 2) before anything is
// started.

namespace rondo::actors {

struct TrainOptions {
  // Without what only the data can tell: vocabulary, scale, hash, sizes of input and output
  RunSpec spec;
  std::string out;
  std::string address;
  int threads = 1;  // an actor
  SumWay all_reduce = SumWay::kAuto;
  std::int64_t save_every = 0;
  bool json = false;
  std::optional<Chaos::Options> chaos;  // planned kills
  std::string timeline;             // file for it; "": none
  std::optional<RunState> resumed;  // what `--resume` continues from
};

// Throws Exit.
[[nodiscard]] TrainOptions parse_train_options(int argc, char** argv);

}  // namespace rondo::actors
