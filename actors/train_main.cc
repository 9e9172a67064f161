// rondo-train: trains a recurrent network. See `rondo train --help`.

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include <unistd.h>

#include <rondo/actors/cli.h>
#include <rondo/actors/dataset.h>
#include <rondo/actors/out_folder.h>
#include <rondo/actors/stop_signals.h>
#include <rondo/actors/timeline.h>
#include <rondo/actors/train_options.h>
#include <rondo/actors/trainer.h>
#include <rondo/ops/gpu.h>
#include <rondo/runtime.h>

namespace rondo::actors {
namespace {

int exit_code(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kNotFound:    // no such file or column
    case ErrorCode::kOverloaded:  // batch larger than the data
      return kExitUsage;
    case ErrorCode::kUnavailable: return kExitMachine;  // the disk refused
    default: return kExitFailed;
  }
}

// The value, or the end of the program.
template <class T>
T need(Result<T> result) {
  if (!result) throw Exit{exit_code(result.error()), result.error().what()};
  return std::move(result).value();
}
void need(const Result<void>& result) {
  if (!result) throw Exit{exit_code(result.error()), result.error().what()};
}

std::string how_to_go_on(const std::string& out) {
  return "go on with: rondo train --resume --out " + out;
}

std::string finished_text(std::int64_t step, const RunSpec& spec, const std::string& out) {
  const bool by_steps = spec.steps > 0;
  const std::int64_t goal = by_steps ? spec.steps : spec.epochs;
  const std::string unit = std::string(by_steps ? "step" : "epoch") + (goal == 1 ? "" : "s");
  return "the run in '" + out + "' is finished: its goal was " + std::to_string(goal) + " " + unit +
         ", and it has done " + std::to_string(step) +
         (step == 1 ? " step" : " steps") + "; to go on, give it a farther one: rondo train " +
         "--resume --out " + out + (by_steps ? " --steps N" : " --epochs N");
}

int stopped(const TrainOptions& options, std::int64_t step, int signal) {
  std::fprintf(stderr, "%sstopped after step %lld, saved in %s; %s\n", options.json ? "" : "\n",
               static_cast<long long>(step), options.out.c_str(),
               how_to_go_on(options.out).c_str());
  return 128 + signal;
}

// The first version, or the one that the run goes on from.
std::vector<StageSnapshot> versions_of(TrainOptions& options) {
  if (options.resumed) return std::move(options.resumed->stages);
  std::vector<StageSnapshot> all;
  const Layout& layout = options.spec.layout;
  for (int replica = 0; replica < layout.replicas; ++replica)
    for (int stage = 0; stage < layout.stages; ++stage)
      all.push_back(first_version({options.spec, replica, stage}));
  return all;
}

// The driver's own node died; the run can go on from another one, with what is saved.
struct NodeLost {
  std::string text;
  std::int64_t step = 0;
  bool saved = false;  // that step; else an earlier one may be
};

// What a run keeps while it goes from one node to the next.
struct Companions {
  Reporter& reporter;
  const Streams& streams;
  StopSignals& stop;
  OutFolder& folder;
  std::optional<Chaos> chaos;
  std::optional<Timeline> timeline;
  int nodes_lost = 0;
};

template <class T>
T* address_or_null(std::optional<T>& value) {
  return value ? &*value : nullptr;
}

int train(TrainOptions options, Runtime& runtime, Companions& with) {
  const std::string name = "train" + std::to_string(::getpid()) +
                           (with.nodes_lost == 0 ? "" : "." + std::to_string(with.nodes_lost));
  RunSpec& spec = options.spec;
  const Progress progress = options.resumed ? options.resumed->progress : Progress{};
  Curve curve(options.out);
  if (options.resumed) curve.resume(progress.step);
  const std::atomic<int>& asked = with.stop.asked();
  Group group(runtime, spec, with.streams, with.reporter, asked,
              {options.threads, name, address_or_null(with.chaos), with.timeline.has_value(),
               options.all_reduce});
  Trainer trainer(spec, progress, {with.streams, group, curve, with.reporter, asked},
                  {options.out, options.save_every, address_or_null(with.chaos),
                   address_or_null(with.timeline), [&with] { with.stop.ask_first(); }});
  try {
    if (!group.start(versions_of(options), progress.step))
      return stopped(options, progress.step, asked);
    const std::string profile = std::exchange(spec.profile, group.profile());
    if (with.nodes_lost == 0)
      with.reporter.start(spec, options.out, parameter_count(spec.model, {0, spec.model.layers}),
                          options.threads);
    if (!profile.empty() && profile != spec.profile)
      std::fprintf(stderr,
                   "rondo train: the run was saved under the numeric profile '%s', now it is '%s': "
                   "its bits may differ from here on\n",
                   profile.c_str(), spec.profile.c_str());
    if (!need(trainer.run())) return stopped(options, trainer.progress().step, asked);
    if (options.resumed && trainer.progress().step == progress.step)
      std::fprintf(stderr, "%s\n", finished_text(progress.step, spec, options.out).c_str());
    return 0;
  } catch (const Error& error) {  // the cluster is gone, or cannot carry the run any more
    const bool lost = error.code() == ErrorCode::kUnavailable;
    const bool advanced = trainer.progress().step > progress.step;   // else there is nothing new
    const bool saved = advanced && group.has_version() && trainer.rescue();
    if (lost && !options.address.empty())
      throw NodeLost{error.what(), trainer.progress().step, saved};
    if (!saved) throw;
    throw Exit{lost ? kExitCluster : kExitFailed,
               std::string(error.what()) + "; the run is saved up to step " +
                   std::to_string(trainer.progress().step) + ": " +
                   how_to_go_on(options.out)};
  }
}

std::unique_ptr<Runtime> join_cluster(const std::string& program, const std::string& address,
                                      const Registry& registry) {
  std::string name = program;
  std::string flag = "--rondo-address=" + address;
  char* words[] = {name.data(), flag.data(), nullptr};
  int count = address.empty() ? 1 : 2;
  if (address.empty()) words[1] = nullptr;
  try {
    return std::make_unique<Runtime>(count, words, registry);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInvalid) throw Exit{kExitUsage, error.what()};  // no address
    if (error.code() == ErrorCode::kUnavailable && address.empty())
      throw Exit{kExitMachine, error.what()};  // no room for a private cluster
    throw;
  }
}

// The last save, if there is one; else the run begins anew.
void go_back(TrainOptions& options, Reporter& reporter, const NodeLost& lost) {
  const std::string path = options.out + "/last.safetensors";
  std::error_code error;
  if (lost.saved || std::filesystem::exists(path, error)) {
    options.resumed = need(load_run(path));
  } else {
    options.resumed.reset();
  }
  const std::int64_t step = options.resumed ? options.resumed->progress.step : 0;
  reporter.failure("the driver's node",
                   lost.text + (lost.saved ? ""
                                           : "; the run goes back to its last save, after step " +
                                                 std::to_string(step)),
                   step);
}

// A cluster that lost its nodes or its head is given time to start them again.
std::unique_ptr<Runtime> join_again(const std::string& program, const TrainOptions& options,
                                    const Registry& registry, const NodeLost& lost) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kPatience = std::chrono::seconds(60);
  const auto began = Clock::now();
  while (true) {
    try {
      return join_cluster(program, options.address, registry);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnavailable) throw;
      if (Clock::now() - began > kPatience)
        throw Exit{kExitCluster, lost.text + ", and no other took the run: " + error.what() +
                                     "; " + how_to_go_on(options.out)};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

// Trains on the cluster; when the driver's own node dies, goes on from another node of this
// machine with what was just saved, as a resumed run would: to the same bits.
int train_on_nodes(TrainOptions options, const char* program, const Registry& registry,
                   Companions& with) {
  constexpr int kNodesLostMax = 50;
  auto runtime = join_cluster(program, options.address, registry);
  if (const auto made = with.folder.make(options.out); !made)
    throw Exit{kExitMachine, made.error().what()};
  while (true) {
    try {
      return train(options, *runtime, with);
    } catch (const NodeLost& lost) {
      if (++with.nodes_lost > kNodesLostMax)
        throw Exit{kExitCluster, lost.text + ", as " + std::to_string(kNodesLostMax) +
                                     " did before; " + how_to_go_on(options.out)};
      if (with.chaos) tell_hit(with.chaos->lost_own_node());
      with.stop.end_at_once("stopped while the run had no node; " + how_to_go_on(options.out));
      runtime.reset();
      go_back(options, with.reporter, lost);
      if (with.stop.asked() != 0 && !options.resumed)
        throw Exit{128 + with.stop.asked(), "stopped before anything was saved"};
      if (with.stop.asked() != 0)
        return stopped(options, options.resumed->progress.step, with.stop.asked());
      runtime = join_again(program, options, registry, lost);
    }
  }
}

// What the data alone can tell; of a resumed run: that they are the same.
void look_at_data(const std::string& bytes, const TrainOptions& options, RunSpec& spec) {
  if (!options.resumed) return need(describe_data(bytes, spec));
  if (hash_of(bytes) != spec.data.hash)
    throw Exit{kExitFailed, "'" + spec.data.path + "' is no longer what the run in '" +
                                options.out + "' learns from: its bytes have changed"};
}

// A private cluster computes on this machine: whether it can is known before anything starts. For
// another one the module is opened here so that it goes along with the job's libraries.
void look_at_device(const TrainOptions& options) {
  if (options.spec.device != Device::kGpu) return;
  const ops::GpuOrReason found = ops::open_gpu();
  if (!found.gpu && options.address.empty())
    throw Exit{kExitMachine, "--device gpu: " + found.reason};
}

// A resumed run that has reached its goal and was judged and saved there. (One that stopped inside
// an epoch is judged anew: whether it has been is not known.)
bool is_finished(const TrainOptions& options, const Streams& streams) {
  return options.resumed && options.resumed->progress.position == 0 &&
         options.resumed->progress.step >= Trainer::goal_steps(options.spec, streams);
}

int run(int argc, char** argv, const Registry& registry) {
  OutFolder folder;
  StopSignals stop([&folder](int code) {
    folder.leave_for_good();
    end_now(code);
  });
  TrainOptions options = parse_train_options(argc, argv);
  look_at_device(options);
  RunSpec& spec = options.spec;
  if (options.resumed)
    stop.end_at_once("stopped before a step was done: the run is as it was saved after step " +
                     std::to_string(options.resumed->progress.step) + "; " +
                     how_to_go_on(options.out));
  const std::string bytes = need(read_file(spec.data.path));
  look_at_data(bytes, options, spec);
  const Streams streams = need(load_streams(bytes, spec));
  Reporter reporter({.json = options.json,
                     .terminal = !options.json && ::isatty(STDOUT_FILENO) == 1,
                     .data = spec.model.data,
                     .goal_steps = Trainer::goal_steps(spec, streams),
                     .first_step = options.resumed ? options.resumed->progress.step : 0,
                     .goal_epochs = spec.steps > 0 ? 0 : spec.epochs});
  if (is_finished(options, streams)) {
    const std::int64_t step = options.resumed->progress.step;
    reporter.nothing_left(step, finished_text(step, spec, options.out));
    return 0;
  }
  Companions with{.reporter = reporter, .streams = streams, .stop = stop, .folder = folder,
                  .chaos = {}, .timeline = {}};
  if (options.chaos) with.chaos.emplace(*options.chaos, spec.layout);
  if (!options.timeline.empty()) with.timeline.emplace(spec.layout);
  const std::string timeline = options.timeline;
  try {
    const int code = train_on_nodes(std::move(options), argv[0], registry, with);
    if (with.timeline) need(with.timeline->save(timeline));
    return code;
  } catch (const Exit& exit) {
    reporter.error(exit.text);
    throw;
  } catch (const std::exception& error) {
    reporter.error(error.what());
    throw;
  }
}

}  // namespace
}  // namespace rondo::actors

int main(int argc, char** argv) {
  rondo::Registry registry;
  rondo::actors::register_stage_actor(registry);
  return rondo::actors::run_program("train", [&] {
    rondo::serve_if_worker(argc, argv, registry);  // a worker of the run serves here until it ends
    return rondo::actors::run(argc, argv, registry);
  });
}
