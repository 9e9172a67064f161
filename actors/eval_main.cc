// rondo-eval: says what a trained network is worth on a file. See `rondo eval --help`.

#include <cstdio>
#include <numbers>
#include <thread>

#include <nlohmann/json.hpp>

#include <rondo/actors/checkpoint.h>
#include <rondo/actors/cli.h>
#include <rondo/actors/csv.h>
#include <rondo/actors/evaluate.h>

namespace rondo::actors {
namespace {

struct Flags {
  std::string checkpoint, text, csv, column, output = "text";
};

Flags parse_eval_flags(int argc, char** argv) {
  Flags flags;
  CLI::App app(
      "Judges a network that rondo train trained: nats a character of a text, read as one\n"
      "sequence, or the error of one-step forecasts of a series' test rows.",
      "rondo eval");
  app.add_option("checkpoint", flags.checkpoint, "A checkpoint, as rondo-out/best.safetensors");
  app.add_option("--text", flags.text, "The text to read");
  app.add_option("--csv", flags.csv, "The series whose last rows are forecast");
  app.add_option("--column", flags.column, "Its column (default: the one trained on)");
  app.add_option("-o,--output", flags.output, "Format: text, json")->capture_default_str();
  parse_flags(app, argc, argv);
  if (flags.checkpoint.empty())
    throw Exit{kExitUsage,
               "name a checkpoint, as: rondo eval rondo-out/best.safetensors --text FILE"};
  if (flags.text.empty() == flags.csv.empty())
    throw Exit{kExitUsage, "give one of --text FILE and --csv FILE"};
  if (!flags.text.empty() && !flags.column.empty())
    throw Exit{kExitUsage, "--column goes with --csv"};
  if (flags.output != "text" && flags.output != "json")
    throw Exit{kExitUsage, "-o '" + flags.output + "' is unknown: it is one of text, json"};
  return flags;
}

template <class T>
T need(Result<T> result) {
  if (result) return std::move(result).value();
  const ErrorCode code = result.error().code();
  const bool usage = code == ErrorCode::kNotFound || code == ErrorCode::kOverloaded;
  throw Exit{usage ? kExitUsage : kExitFailed, result.error().what()};
}

int eval_text(const Flags& flags, const Vocabulary& vocabulary, Stage& stage) {
  const std::string bytes = need(read_file(flags.text));
  auto tokens = encode(vocabulary, bytes);
  if (!tokens) throw Exit{kExitFailed, "'" + flags.text + "': " + tokens.error().what()};
  if (tokens.value().size() < 2)
    throw Exit{kExitFailed, "'" + flags.text + "' is too short: two characters are needed"};
  const double nats = nats_per_token(stage, tokens.value());
  if (flags.output == "json") {
    const nlohmann::json out{{"checkpoint", flags.checkpoint},
                             {"file", flags.text},
                             {"characters", tokens.value().size()},
                             {"nats_per_char", nats}};
    std::printf("%s\n", out.dump().c_str());
  } else {
    std::printf("nats_per_char %.6f  (%.4f bits, %zu characters)\n", nats, nats / std::numbers::ln2,
                tokens.value().size());
  }
  return 0;
}

int eval_csv(const Flags& flags, const DataSpec& data, Stage& stage) {
  const std::string bytes = need(read_file(flags.csv));
  const std::string& column = flags.column.empty() ? data.column : flags.column;
  const std::vector<double> rows = need(read_column(flags.csv, bytes, column));
  const Forecast result = need(forecast(stage, data.scale, rows, data.test_rows));
  if (flags.output == "json") {
    const nlohmann::json out{{"checkpoint", flags.checkpoint},
                             {"file", flags.csv},
                             {"test_rows", data.test_rows},
                             {"rmse", result.rmse},
                             {"persistence_rmse", result.persistence_rmse},
                             {"forecasts", result.values}};
    std::printf("%s\n", out.dump().c_str());
  } else {
    std::printf("rmse %.4f  persistence_rmse %.4f  (%d test rows)\n", result.rmse,
                result.persistence_rmse, data.test_rows);
  }
  return 0;
}

int run(int argc, char** argv) {
  const Flags flags = parse_eval_flags(argc, argv);
  const TrainedModel model = need(load_model(flags.checkpoint));
  const bool text = model.spec.model.data == DataKind::kTokens;
  if (text != flags.csv.empty())
    throw Exit{kExitUsage, "'" + flags.checkpoint + "' was trained on a " +
                               (text ? "text: give --text" : "series: give --csv")};
  const ops::Executor executor(std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  const auto stage = single_stage(model, executor);
  return text ? eval_text(flags, model.spec.data.vocabulary, *stage)
              : eval_csv(flags, model.spec.data, *stage);
}

}  // namespace
}  // namespace rondo::actors

int main(int argc, char** argv) {
  return rondo::actors::run_program("eval", [&] { return rondo::actors::run(argc, argv); });
}
