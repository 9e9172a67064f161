#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <rondo/actors/run_spec.h>
#include <rondo/actors/safetensors.h>
#include <rondo/actors/stage.h>
#include <rondo/base/result.h>

// A checkpoint is one safetensors file that holds a whole run: the weights under PyTorch's names,
// whatever the layout; the run's description in the metadata; and under `train.*` what only
// training needs (optimiser moments, boundary states by slice and microbatch, step, epoch,
// position). A run continued from it gives the same bits as one that was never interrupted.
// Without `train.*` the file still serves sampling and evaluation.
//
// Any thread. Errors are one sentence that names the file and what is wrong with it.

namespace rondo::actors {

// Where a run stands between two steps.
struct Progress {
  std::int64_t step = 0;      // steps done
  int epoch = 1;              // the one under way, from 1
  std::int64_t position = 0;  // segments of it that are done
  double epoch_loss = 0;      // sum over the tokens of this epoch so far
  std::int64_t epoch_tokens = 0;
  double best = 0;  // lowest validation loss; of no meaning while best_epoch is 0
  int best_epoch = 0;
};

// Everything that is committed. `stages` by slice, then by stage.
struct RunState {
  RunSpec spec;
  Progress progress;
  std::vector<StageSnapshot> stages;
};

[[nodiscard]] Result<void> save_run(const std::string& path, const RunState& state,
                                    const WriteOptions& options = {});
[[nodiscard]] Result<RunState> load_run(const std::string& path);

// A trained model alone.
struct TrainedModel {
  RunSpec spec;
  std::vector<float> parameters;  // of all layers and the head
};
[[nodiscard]] Result<TrainedModel> load_model(const std::string& path);

// A stage that holds the whole model, for one sequence at a time.
[[nodiscard]] std::unique_ptr<Stage> single_stage(const TrainedModel& model,
                                                  const ops::Executor& executor);

}  // namespace rondo::actors
