// rondo-sample: lets a trained network write. See `rondo sample --help`.

#include <cstdio>

#include <nlohmann/json.hpp>

#include <rondo/actors/checkpoint.h>
#include <rondo/actors/cli.h>
#include <rondo/actors/evaluate.h>

namespace rondo::actors {
namespace {

struct Flags {
  std::string checkpoint, prime, output = "text";
  SampleOptions options;
};

Flags parse_sample_flags(int argc, char** argv) {
  Flags flags;
  CLI::App app("Writes text with a network that rondo train trained.", "rondo sample");
  app.add_option("checkpoint", flags.checkpoint, "A checkpoint, as rondo-out/best.safetensors");
  app.add_option("--length", flags.options.length, "Characters to write")
      ->capture_default_str()->check(CLI::Range(1, 1 << 30));
  app.add_option("--temperature", flags.options.temperature, "Below 1: safer; above 1: wilder")
      ->capture_default_str()->check(number_between(1e-3, 1e3));
  app.add_option("--prime", flags.prime, "Text to go on from (default: a line's start)");
  app.add_option("--seed", flags.options.seed, "Of the draws")
      ->capture_default_str()->check(whole_number());
  app.add_option("-o,--output", flags.output, "Format: text, json")->capture_default_str();
  parse_flags(app, argc, argv);
  if (flags.checkpoint.empty())
    throw Exit{kExitUsage, "name a checkpoint, as: rondo sample rondo-out/best.safetensors"};
  if (flags.output != "text" && flags.output != "json")
    throw Exit{kExitUsage, "-o '" + flags.output + "' is unknown: it is one of text, json"};
  return flags;
}

std::vector<std::int32_t> prime_tokens(const Vocabulary& vocabulary, const std::string& prime) {
  if (!prime.empty()) {
    auto tokens = encode(vocabulary, prime);
    if (!tokens) throw Exit{kExitFailed, std::string("--prime: ") + tokens.error().what()};
    return std::move(tokens).value();
  }
  const auto newline = encode(vocabulary, "\n");
  if (newline) return newline.value();
  return {0};
}

int run(int argc, char** argv) {
  const Flags flags = parse_sample_flags(argc, argv);
  const auto model = load_model(flags.checkpoint);
  if (!model)
    throw Exit{model.error().code() == ErrorCode::kNotFound ? kExitUsage : kExitFailed,
               model.error().what()};
  const RunSpec& spec = model.value().spec;
  if (spec.model.data != DataKind::kTokens)
    throw Exit{kExitUsage, "'" + flags.checkpoint +
                               "' forecasts a series: rondo eval CHECKPOINT --csv FILE reads it"};
  const ops::Executor executor(1);
  const auto stage = single_stage(model.value(), executor);
  const bool json = flags.output == "json";
  std::string text = flags.prime;
  const std::vector<std::int32_t> prime = prime_tokens(spec.data.vocabulary, flags.prime);
  if (!json) std::fputs(flags.prime.c_str(), stdout);
  sample(*stage, prime, flags.options,
         [&](std::int32_t token) {
           const std::string& piece = spec.data.vocabulary.tokens[static_cast<std::size_t>(token)];
           if (json) text += piece;
           else std::fwrite(piece.data(), 1, piece.size(), stdout);
           return std::ferror(stdout) == 0;
         });
  if (json) {
    const nlohmann::json out{{"checkpoint", flags.checkpoint},
                             {"seed", flags.options.seed},
                             {"temperature", flags.options.temperature},
                             {"text", text}};
    text = out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::fputs(text.c_str(), stdout);
  }
  std::fputc('\n', stdout);
  return 0;
}

}  // namespace
}  // namespace rondo::actors

int main(int argc, char** argv) {
  return rondo::actors::run_program("sample", [&] { return rondo::actors::run(argc, argv); });
}
