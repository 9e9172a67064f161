#include <rondo/actors/train_options.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <rondo/actors/cli.h>
#include <rondo/actors/curve.h>

namespace rondo::actors {

namespace {

namespace fs = std::filesystem;

// The flags as they were typed; text where a word is meant.
struct Flags {
  std::string text, csv, column, tokens = "char";
  int test_rows = -1;
  std::string model = "lstm", activation = "tanh", optimizer = "rmsprop";
  double dropout = 0;
  bool layer_norm = false, bidirectional = false;
  int projection = 0, embedding = 0;
  int layers = 2, hidden = 128, seq = 50, batch = 50, epochs = 50;
  std::int64_t steps = 0;
  double lr = 2e-3, lr_decay = 0.97, clip = 5, val_frac = 0.05;
  int lr_decay_after = 10;
  std::uint64_t seed = 1;
  int replicas = 1, stages = 1, microbatches = 0, threads = 0;
  std::string device = "cpu", precision = "float32";
  std::string all_reduce = "auto", address, out = "rondo-out", output = "text";
  std::int64_t save_every = 0;
  bool resume = false;
  std::uint64_t chaos = 0;
  std::vector<std::string> chaos_phases;
  std::string chaos_victim = "worker";
  std::string timeline;
};

void add_data(CLI::App& app, Flags& flags) {
  app.add_option("--text", flags.text, "Learn to continue this text file")->group("Data");
  app.add_option("--tokens", flags.tokens, "Read the text as: char (UTF-8), byte")
      ->group("Data")->capture_default_str();
  app.add_option("--csv", flags.csv, "Learn to forecast a column of this CSV file")->group("Data");
  app.add_option("--column", flags.column, "The column's name in the header row")->group("Data");
  app.add_option("--test-rows", flags.test_rows,
                 "Last rows kept for rondo eval (default: a third)")
      ->group("Data")->check(CLI::Range(1, 1 << 30));
}

void add_model(CLI::App& app, Flags& flags) {
  const auto at_least_1 = CLI::Range(1, 1 << 20);
  app.add_option("--model", flags.model, "Cell: rnn, lstm, gru, min-gru, min-lstm (a series: gru)")
      ->group("Model")->capture_default_str();
  app.add_option("--activation", flags.activation, "Of an rnn: tanh, sigmoid, relu")
      ->group("Model")->capture_default_str();
  app.add_option("--layers", flags.layers, "Recurrent layers (a series: 1)")
      ->group("Model")->capture_default_str()->check(CLI::Range(1, 1024));
  app.add_option("--hidden", flags.hidden, "Units of a layer (a series: 16)")
      ->group("Model")->capture_default_str()->check(CLI::Range(1, 1 << 16));
  app.add_flag("--layer-norm", flags.layer_norm, "Layer norm on each layer's output")
      ->group("Model");
  app.add_option("--dropout", flags.dropout,
                 "Part of a layer's output that training drops before the next layer")
      ->group("Model")->capture_default_str()->check(number_between(0, 0.99));
  app.add_option("--projection", flags.projection, "Width of an lstm's h, below --hidden")
      ->group("Model")->check(CLI::Range(1, 1 << 16));
  app.add_option("--embedding", flags.embedding,
                 "Width of the tokens' vectors (default: none, weights by token)")
      ->group("Model")->check(CLI::Range(1, 1 << 16));
  // not in --help: known so that the refusal says why
  app.add_flag("--bidirectional", flags.bidirectional)->group("");
  app.add_option("--seq", flags.seq, "Time steps of a segment (a series: 128)")
      ->group("Run")->capture_default_str()->check(at_least_1);
  app.add_option("--batch", flags.batch, "Sequences of a step, over all replicas (a series: 1)")
      ->group("Run")->capture_default_str()->check(at_least_1);
}

void add_run(CLI::App& app, Flags& flags) {
  app.add_option("--epochs", flags.epochs, "Passes over the data (a series: 100)")
      ->group("Run")->capture_default_str()->check(CLI::Range(1, 1 << 30));
  app.add_option("--steps", flags.steps, "Weight updates, instead of --epochs")
      ->group("Run")->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 50));
  app.add_option("--optimizer", flags.optimizer,
                 "sgd, momentum, nesterov, rmsprop, adam (a series: adam)")
      ->group("Run")->capture_default_str();
  app.add_option("--lr", flags.lr, "Learning rate (a series: 0.003)")
      ->group("Run")->capture_default_str()->check(finite_number(false));
  app.add_option("--lr-decay", flags.lr_decay, "Factor an epoch on the learning rate")
      ->group("Run")->capture_default_str()->check(number_between(0, 1));
  app.add_option("--lr-decay-after", flags.lr_decay_after, "... after this many epochs")
      ->group("Run")->capture_default_str()->check(CLI::NonNegativeNumber);
  app.add_option("--clip", flags.clip, "Bound on each gradient value; 0: none")
      ->group("Run")->capture_default_str()->check(finite_number(true));
  app.add_option("--val-frac", flags.val_frac, "Held-out part of each stream (a series: 0.2)")
      ->group("Run")->capture_default_str()->check(number_between(0, 0.9));
  app.add_option("--seed", flags.seed, "Of all random numbers")
      ->group("Run")->capture_default_str()->check(whole_number());
}

void add_placement(CLI::App& app, Flags& flags) {
  const auto at_least_1 = CLI::Range(1, 1 << 20);
  app.add_option("--replicas", flags.replicas, "Copies of the model, each with a part of the batch")
      ->group("Placement")->capture_default_str()->check(at_least_1);
  app.add_option("--stages", flags.stages, "Actors that share the layers of a replica")
      ->group("Placement")->capture_default_str()->check(at_least_1);
  app.add_option("--microbatches", flags.microbatches,
                 "Parts of a replica's batch that follow one another (default: stages)")
      ->group("Placement")->check(at_least_1);
  app.add_option("--threads", flags.threads,
                 "Threads of an actor (default: cores over actors of the node)")
      ->group("Placement")->check(CLI::Range(1, 1024));
  app.add_option("--device", flags.device, "Where the stages compute: cpu, gpu")
      ->group("Placement")->capture_default_str();
  app.add_option("--precision", flags.precision,
                 "What a gpu rounds the inputs of products to: float32, tf32, bf16")
      ->group("Placement")->capture_default_str();
  app.add_option("--all-reduce", flags.all_reduce,
                 "How replicas sum gradients: auto, shm (shared memory), zmq (ZeroMQ), nccl (on "
                 "their GPUs)")
      ->group("Placement")->capture_default_str();
  app.add_option("--address", flags.address,
                 "Run on this cluster (default: RONDO_ADDRESS, or a private one here)")
      ->group("Placement");
  app.add_option("--out", flags.out, "Folder for checkpoints and curve")
      ->group("Output")->capture_default_str();
  app.add_option("--save-every", flags.save_every, "Save every so many steps, besides each epoch")
      ->group("Output")->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 50));
  app.add_flag("--resume", flags.resume, "Go on with the run in --out")->group("Output");
  app.add_option("--timeline", flags.timeline,
                 "Write what each stage did when to this file, for ui.perfetto.dev")
      ->group("Output");
  // for tests: kills on purpose; not in --help
  app.add_option("--chaos", flags.chaos, "Seed of planned deaths")->group("");
  app.add_option("--chaos-phases", flags.chaos_phases, "Phases that they are aimed at")
      ->group("")->delimiter(',');
  app.add_option("--chaos-victim", flags.chaos_victim, "worker, or node: the worker's whole node")
      ->group("");
  app.add_option("-o,--output", flags.output, "Format: text, json")
      ->group("Output")->capture_default_str();
}

bool given(const CLI::App& app, const char* flag) { return app.get_option(flag)->count() > 0; }

// A series has defaults of its own: short, noisy, soon learnt by heart.
void series_defaults(const CLI::App& app, Flags& flags) {
  const auto set = [&](const char* flag, auto& value, auto standard) {
    if (!given(app, flag)) value = standard;
  };
  set("--model", flags.model, "gru");
  set("--layers", flags.layers, 1);
  set("--hidden", flags.hidden, 16);
  set("--seq", flags.seq, 128);
  set("--batch", flags.batch, 1);
  set("--epochs", flags.epochs, 100);
  set("--optimizer", flags.optimizer, "adam");
  set("--lr", flags.lr, 3e-3);
  set("--lr-decay", flags.lr_decay, 1.0);
  set("--val-frac", flags.val_frac, 0.2);
}

[[noreturn]] void usage(const std::string& text) { throw Exit{kExitUsage, text}; }

void check_data_flags(const CLI::App& app, const Flags& flags) {
  if (flags.text.empty() == flags.csv.empty())
    usage(flags.text.empty() ? "nothing to learn from: give --text FILE or --csv FILE --column NAME"
                             : "--text and --csv exclude one another");
  if (!flags.csv.empty() && flags.column.empty())
    usage("--csv needs --column NAME, a name of the header row");
  for (const char* flag : {"--column", "--test-rows"})
    if (!flags.text.empty() && given(app, flag)) usage(std::string(flag) + " goes with --csv");
  if (!flags.csv.empty() && given(app, "--tokens")) usage("--tokens goes with --text");
  const std::string& path = flags.text.empty() ? flags.csv : flags.text;
  std::error_code error;
  if (!fs::exists(path, error)) usage("there is no file '" + path + "'");
}

void check_layout(const Flags& flags, RunSpec& spec) {
  Layout& layout = spec.layout;
  if (layout.stages > spec.model.layers)
    usage("--stages " + std::to_string(layout.stages) + " is more than the model's " +
          std::to_string(spec.model.layers) + " layers: a stage needs at least one");
  if (layout.replicas > spec.batch)
    usage("--replicas " + std::to_string(layout.replicas) + " is more than --batch " +
          std::to_string(spec.batch) + ": a replica needs at least one sequence");
  if (layout.replicas > kReplicasMax)
    usage("--replicas " + std::to_string(layout.replicas) + " is more than " +
          std::to_string(kReplicasMax) + ", the most that sum gradients together");
  const int slice = spec.batch / layout.replicas;
  if (flags.microbatches == 0) {
    layout.microbatches = std::min(layout.stages, slice);
  } else if (flags.microbatches > slice) {
    usage("--microbatches " + std::to_string(flags.microbatches) + " is more than the " +
          std::to_string(slice) + " sequences of a replica");
  }
}

void refuse_bidirectional(const Flags& flags) {
  if (flags.bidirectional)
    usage("--bidirectional would see the answer: rondo train predicts each element from those "
          "before it, and a layer that reads backwards has read it already");
}

// Layers that cannot be together, or not with these data.
void check_model(const Flags& flags, const RunSpec& spec) {
  const ModelSpec& model = spec.model;
  refuse_bidirectional(flags);
  if (model.dropout > 0 && model.layers == 1)
    usage("--dropout is between layers, after each but the last: --layers 1 has no such place");
  if (model.projection > 0 && model.cell != CellKind::kLstm)
    usage("--projection goes with --model lstm");
  if (model.projection >= model.hidden)
    usage("--projection " + std::to_string(model.projection) + " is not below --hidden " +
          std::to_string(model.hidden));
  if (model.embedding > 0 && model.data != DataKind::kTokens)
    usage("--embedding goes with --text: a series has no tokens");
}

RunSpec spec_of(const CLI::App& app, Flags& flags) {
  check_data_flags(app, flags);
  if (given(app, "--steps") && given(app, "--epochs"))
    usage("--steps and --epochs exclude one another");
  const bool text = !flags.text.empty();
  if (!text) series_defaults(app, flags);
  RunSpec spec;
  spec.model = {parse_word<CellKind>("--model", flags.model, "rnn, lstm, gru, min-gru, min-lstm"),
                parse_word<Activation>("--activation", flags.activation, "tanh, sigmoid, relu"),
                text ? DataKind::kTokens : DataKind::kSeries, flags.layers, flags.hidden, 1, 1,
                flags.layer_norm, flags.dropout, flags.projection, flags.embedding};
  if (given(app, "--activation") && spec.model.cell != CellKind::kRnn)
    usage("--activation goes with --model rnn");
  spec.data.path = fs::absolute(text ? flags.text : flags.csv).lexically_normal().string();
  spec.data.tokens = parse_word<TokenKind>("--tokens", flags.tokens, "char, byte");
  spec.data.column = flags.column;
  spec.data.test_rows = flags.test_rows;
  spec.seq = flags.seq;
  spec.batch = flags.batch;
  spec.val_frac = flags.val_frac;
  spec.optimizer = parse_word<ops::Optimizer>("--optimizer", flags.optimizer,
                                              "sgd, momentum, nesterov, rmsprop, adam");
  spec.lr = flags.lr;
  spec.lr_decay = flags.lr_decay;
  spec.lr_decay_after = flags.lr_decay_after;
  spec.clip = flags.clip;
  spec.seed = flags.seed;
  spec.epochs = flags.epochs;
  spec.steps = flags.steps;
  spec.layout = {flags.replicas, flags.stages, flags.microbatches};
  spec.device = parse_word<Device>("--device", flags.device, "cpu, gpu");
  spec.precision =
      parse_word<ops::cuda::Precision>("--precision", flags.precision, "float32, tf32, bf16");
  if (spec.precision != ops::cuda::Precision::kFloat32 && spec.device != Device::kGpu)
    usage("--precision " + flags.precision + " goes with --device gpu: the cores compute in "
          "float32");
  check_model(flags, spec);
  check_layout(flags, spec);
  return spec;
}

std::optional<Chaos::Options> chaos_of(const CLI::App& app, const Flags& flags) {
  if (!given(app, "--chaos")) {
    if (given(app, "--chaos-phases") || given(app, "--chaos-victim"))
      usage("--chaos-phases and --chaos-victim go with --chaos");
    return std::nullopt;
  }
  Chaos::Options chaos;
  chaos.seed = flags.chaos;
  if (flags.chaos_victim != "worker" && flags.chaos_victim != "node")
    usage("--chaos-victim '" + flags.chaos_victim + "' is unknown: it is one of worker, node");
  chaos.nodes = flags.chaos_victim == "node";
  if (chaos.nodes && flags.address.empty())
    usage("--chaos-victim node needs --address: a private cluster lives in this process");
  if (!flags.chaos_phases.empty()) chaos.ways.clear();
  for (const std::string& word : flags.chaos_phases) {
    const std::optional<Way> way = way_of(word);
    if (!way) usage("--chaos-phases: '" + word + "' is no phase of a kill");
    chaos.ways.push_back(*way);
  }
  return chaos;
}

// What --resume may not change: the run would no longer be the same run.
void check_same_run(const CLI::App& app, const Flags& flags, const RunSpec& was) {
  const auto same = [&](const char* flag, const auto& asked, const auto& had) {
    if (given(app, flag) && asked != had)
      usage(std::string(flag) + " differs from the run in '" + flags.out +
            "': a resumed run goes on as it was; leave the flag out, "
            "or start anew in another --out");
  };
  const bool text = was.model.data == DataKind::kTokens;
  if (given(app, text ? "--csv" : "--text"))
    usage("the run in '" + flags.out + "' learns from " + (text ? "a text" : "a CSV file"));
  same("--column", flags.column, was.data.column);
  same("--test-rows", flags.test_rows, was.data.test_rows);
  same("--tokens", flags.tokens, to_string(was.data.tokens));
  same("--model", flags.model, to_string(was.model.cell));
  same("--activation", flags.activation, to_string(was.model.activation));
  same("--layer-norm", flags.layer_norm, was.model.layer_norm);
  same("--dropout", flags.dropout, was.model.dropout);
  same("--projection", flags.projection, was.model.projection);
  same("--embedding", flags.embedding, was.model.embedding);
  refuse_bidirectional(flags);
  same("--layers", flags.layers, was.model.layers);
  same("--hidden", flags.hidden, was.model.hidden);
  same("--seq", flags.seq, was.seq);
  same("--batch", flags.batch, was.batch);
  same("--val-frac", flags.val_frac, was.val_frac);
  same("--optimizer", flags.optimizer, to_string(was.optimizer));
  same("--lr", flags.lr, was.lr);
  same("--lr-decay", flags.lr_decay, was.lr_decay);
  same("--lr-decay-after", flags.lr_decay_after, was.lr_decay_after);
  same("--clip", flags.clip, was.clip);
  same("--seed", flags.seed, was.seed);
  same("--replicas", flags.replicas, was.layout.replicas);
  same("--stages", flags.stages, was.layout.stages);
  same("--microbatches", flags.microbatches, was.layout.microbatches);
  same("--device", flags.device, to_string(was.device));
  same("--precision", flags.precision, to_string(was.precision));
}

RunState resume(const CLI::App& app, const Flags& flags) {
  const std::string path = flags.out + "/last.safetensors";
  std::error_code error;
  if (!fs::exists(path, error)) {
    const bool best = fs::exists(flags.out + "/best.safetensors", error);
    usage("--resume: there is no run in '" + flags.out + "' (no last.safetensors" +
          (best ? "; best.safetensors can be sampled and judged, but not gone on from)" : ")"));
  }
  auto state = load_run(path);
  if (!state) throw Exit{kExitFailed, state.error().what()};
  RunState run = std::move(state).value();
  check_same_run(app, flags, run.spec);
  if (given(app, "--steps") && given(app, "--epochs"))
    usage("--steps and --epochs exclude one another");
  if (given(app, "--epochs")) run.spec.steps = 0;
  if (given(app, "--epochs")) run.spec.epochs = flags.epochs;
  if (given(app, "--steps")) run.spec.steps = flags.steps;
  const std::string& file = run.spec.model.data == DataKind::kTokens ? flags.text : flags.csv;
  if (!file.empty()) run.spec.data.path = fs::absolute(file).lexically_normal().string();
  if (!fs::exists(run.spec.data.path, error))
    usage("the run's data file '" + run.spec.data.path +
          "' is gone: name it anew with --text or --csv");
  return run;
}

void claim_folder(const std::string& out) {
  std::error_code error;
  if (fs::exists(fs::path(out) / "last.safetensors", error))
    usage("'" + out + "' already holds a run: go on with --resume, or choose another --out");
  if (fs::exists(fs::path(out) / "best.safetensors", error))
    usage("'" + out + "' holds the best.safetensors of another run: choose another --out");
  // A run that was killed in its first save leaves a curve alone.
  const std::string curve = (fs::path(out) / "curve.csv").string();
  if (fs::exists(curve, error) && !is_curve(curve))
    usage("'" + curve + "' is no run's curve and would be overwritten: choose another --out");
  if (fs::exists(out, error) && !fs::is_directory(out, error))
    usage("--out '" + out + "' is a file, not a folder");
}

// Found out now, and not after hours of training.
void check_timeline(const std::string& path) {
  std::error_code error;
  const fs::path folder = fs::path(path).parent_path();
  if (!folder.empty() && !fs::is_directory(folder, error))
    usage("--timeline '" + path + "': there is no folder '" + folder.string() + "'");
  if (fs::exists(path, error) && !fs::is_regular_file(path, error))
    usage("--timeline '" + path + "' is not a regular file: name another");
}

}  // namespace

TrainOptions parse_train_options(int argc, char** argv) {
  Flags flags;
  CLI::App app(
      "Trains a recurrent network on a text or a series, with checkpoints and a learning curve.\n"
      "Text defaults are those of char-rnn; a series has defaults of its own.\n\n"
      "  rondo train --text FILE\n"
      "  rondo train --csv FILE --column NAME --test-rows 48",
      "rondo train");
  add_data(app, flags);
  add_model(app, flags);
  add_run(app, flags);
  add_placement(app, flags);
  parse_flags(app, argc, argv);
  if (flags.output != "text" && flags.output != "json")
    usage("-o '" + flags.output + "' is unknown: it is one of text, json");

  if (flags.out.empty()) usage("--out wants the name of a folder");

  TrainOptions options;
  options.out = flags.out;
  const char* named = std::getenv("RONDO_ADDRESS");
  if (flags.address.empty() && named != nullptr) flags.address = named;
  options.address = flags.address;
  options.save_every = flags.save_every;
  options.json = flags.output == "json";
  options.timeline = flags.timeline;
  if (!flags.timeline.empty()) check_timeline(flags.timeline);
  options.chaos = chaos_of(app, flags);
  if (flags.resume) {
    options.resumed = resume(app, flags);
    options.spec = options.resumed->spec;
  } else {
    options.spec = spec_of(app, flags);
    claim_folder(flags.out);
  }
  options.all_reduce = parse_word<SumWay>("--all-reduce", flags.all_reduce, "auto, shm, zmq, nccl");
  const Layout& layout = options.spec.layout;
  if (options.all_reduce != SumWay::kAuto && layout.replicas == 1)
    usage("--all-reduce goes with --replicas: one replica has nothing to sum");
  if (options.all_reduce == SumWay::kNccl && options.spec.device == Device::kCpu)
    usage("--all-reduce nccl sums on GPUs: it goes with --device gpu");
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  options.threads =
      flags.threads > 0 ? flags.threads : std::max(1, cores / (layout.replicas * layout.stages));
  return options;
}

}  // namespace rondo::actors
