// `rondo train` with every layer that a model can have: what it refuses, and that kills, threads
// and a resumed run change no bit.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "program.h"

namespace rondo::actors {
namespace {

using Words = std::vector<std::string>;

Words with(Words arguments, const Words& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Words tiny(const std::string& text, const std::string& out) {
  return {"--text", text, "--out", out, "--hidden", "16", "--batch", "8", "--seq", "12",
          "--layers", "2", "--steps", "48", "--replicas", "2", "--stages", "2"};
}

struct Kind {
  const char* name;
  Words flags;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class TrainLayers : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(
    Models, TrainLayers,
    testing::Values(
        Kind{"lstm_with_all",
             {"--layer-norm", "--dropout", "0.3", "--projection", "10", "--embedding", "6"}},
        Kind{"gru_dropout", {"--model", "gru", "--dropout", "0.5"}},
        Kind{"min_gru", {"--model", "min-gru", "--layer-norm", "--dropout", "0.2"}},
        Kind{"min_lstm", {"--model", "min-lstm", "--embedding", "6"}}),
    [](const testing::TestParamInfo<Kind>& kind) { return kind.param.name; });

TEST_P(TrainLayers, KillsThreadsAvx2AndAResumedRunEndWithTheSameBits) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(20000));
  const auto train = [&](const std::string& out, const Words& more) {
    return run("rondo-train", with(with(tiny(text, scratch / out), GetParam().flags), more));
  };
  const Ran plain = train("plain", {});
  ASSERT_EQ(plain.code, 0) << plain.err;
  const std::string wanted = slurp(scratch / "plain/last.safetensors");
  const Ran killed = train("killed", {"--chaos", "5"});
  ASSERT_EQ(killed.code, 0) << killed.err;
  int hits = 0;
  for (std::size_t at = 0; (at = killed.err.find("chaos: hit: ", at)) != std::string::npos; ++at)
    ++hits;
  EXPECT_GE(hits, 8) << killed.err;   // of ten phases
  EXPECT_TRUE(slurp(scratch / "killed/last.safetensors") == wanted);
  ASSERT_EQ(train("threads", {"--threads", "2", "--all-reduce", "zmq"}).code, 0);
  EXPECT_TRUE(slurp(scratch / "threads/last.safetensors") == wanted);
  ::setenv("LIBXSMM_TARGET", "hsw", 1);
  ASSERT_EQ(train("avx2", {}).code, 0);
  ::unsetenv("LIBXSMM_TARGET");
  EXPECT_TRUE(slurp(scratch / "avx2/last.safetensors") == wanted);
  Words shorter = with(tiny(text, scratch / "cut"), GetParam().flags);
  *(std::find(shorter.begin(), shorter.end(), "--steps") + 1) = "21";
  ASSERT_EQ(run("rondo-train", shorter).code, 0);
  const Ran resumed =
      run("rondo-train", with({"--resume", "--out", scratch / "cut", "--steps", "48"},
                              GetParam().flags));
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_TRUE(slurp(scratch / "cut/last.safetensors") == wanted);
}

TEST_P(TrainLayers, ItsCheckpointIsSampledAndJudged) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(8000));
  const Ran ran = run("rondo-train", with(with(tiny(text, scratch / "out"), GetParam().flags),
                                          {"--optimizer", "adam", "--lr", "0.01"}));
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::string last = scratch / "out/last.safetensors";
  const Words sample{last, "--length", "40", "--prime", "the "};
  const Ran said = run("rondo-sample", sample);
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_EQ(said.out.size(), 4u + 40u + 1u);
  EXPECT_EQ(said.out, run("rondo-sample", sample).out);
  const Ran judged = run("rondo-eval", {last, "--text", text, "-o", "json"});
  ASSERT_EQ(judged.code, 0) << judged.err;
  EXPECT_LT(nlohmann::json::parse(judged.out)["nats_per_char"].get<double>(), 3.0);
  EXPECT_EQ(judged.out, run("rondo-eval", {last, "--text", text, "-o", "json"}).out);
}

TEST(TrainLayersRefused, WhatCannotBeTogetherIsOneSentenceAndExitCode2) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  const std::string csv = std::string(RONDO_EXAMPLES_DIR) + "/data/airline.csv";
  const auto refused = [&](const Words& flags, const std::string& words) {
    const Ran ran = run("rondo-train", with(flags, {"--out", scratch / "out"}));
    EXPECT_EQ(ran.code, 2) << ran.err;
    EXPECT_NE(ran.err.find(words), std::string::npos) << ran.err;
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
    EXPECT_FALSE(std::filesystem::exists(scratch / "out")) << words;
  };
  const auto of_text = [&](const Words& flags, const std::string& words) {
    refused(with({"--text", text}, flags), words);
  };
  of_text({"--model", "mingru"}, "it is one of rnn, lstm, gru, min-gru, min-lstm");
  of_text({"--model", "min-gru", "--activation", "relu"}, "--activation goes with --model rnn");
  of_text({"--dropout", "1"}, "--dropout: '1' is no number from 0 to 0.99");
  of_text({"--dropout", "-0.1"}, "is no number from 0 to 0.99");
  of_text({"--dropout", "nan"}, "is no number from 0 to 0.99");
  of_text({"--dropout", "0.5", "--layers", "1"}, "--layers 1 has no such place");
  of_text({"--projection", "8", "--model", "gru"}, "--projection goes with --model lstm");
  of_text({"--projection", "128"}, "--projection 128 is not below --hidden 128");
  of_text({"--projection", "0"}, "--projection");
  of_text({"--embedding", "0"}, "--embedding");
  of_text({"--bidirectional"}, "--bidirectional would see the answer");
  refused({"--csv", csv, "--column", "passengers", "--embedding", "4"},
          "--embedding goes with --text");
  refused({"--csv", csv, "--column", "passengers", "--bidirectional"}, "would see the answer");
  refused({"--csv", csv, "--column", "passengers", "--dropout", "0.1"}, "--layers 1");
}

TEST(TrainLayersRefused, AResumedRunIsNoOtherModel) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000)), out = scratch / "out";
  ASSERT_EQ(run("rondo-train", with(tiny(text, out), {"--dropout", "0.2", "--layer-norm"})).code,
            0);
  const std::vector<Words> others{{"--model", "min-gru"}, {"--dropout", "0.3"},
                                  {"--projection", "8"},  {"--embedding", "8"}};
  for (const Words& other : others) {
    const Ran ran = run("rondo-train", with({"--resume", "--out", out}, other));
    EXPECT_EQ(ran.code, 2) << ran.err;
    EXPECT_NE(ran.err.find(other[0] + " differs from the run"), std::string::npos) << ran.err;
  }
  const Ran both = run("rondo-train", {"--resume", "--out", out, "--bidirectional"});
  EXPECT_EQ(both.code, 2);
  EXPECT_NE(both.err.find("would see the answer"), std::string::npos) << both.err;
  const Ran same = run("rondo-train", {"--resume", "--out", out, "--dropout", "0.2",
                                       "--layer-norm", "--steps", "50"});
  EXPECT_EQ(same.code, 0) << same.err;
}

TEST(TrainLayersHelp, NamesThem) {
  const Ran ran = run("rondo-train", {"--help"});
  EXPECT_EQ(ran.code, 0);
  for (const char* word :
       {"--layer-norm", "--dropout", "--projection", "--embedding", "min-gru", "min-lstm"})
    EXPECT_NE(ran.out.find(word), std::string::npos) << word;
}

TEST(TrainLayersEvents, TheStartSaysWhatTheModelHas) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  const Words flags{"--dropout", "0.25", "--layer-norm", "--projection", "8", "--embedding", "6"};
  const Ran ran = run("rondo-train", with(with(tiny(text, scratch / "out"), flags),
                                          {"-o", "json"}));
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto start = nlohmann::json::parse(ran.out.substr(0, ran.out.find('\n')));
  EXPECT_EQ(start["event"], "start");
  EXPECT_EQ(start["dropout"], 0.25);
  EXPECT_EQ(start["layer_norm"], true);
  EXPECT_EQ(start["projection"], 8);
  EXPECT_EQ(start["embedding"], 6);
  const Ran plain = run("rondo-train", with(tiny(text, scratch / "plain"), flags));
  EXPECT_NE(plain.out.find("lstm of 2 layers x 16 units, embedding 6, projection 8, layer norm, "
                           "dropout 0.25, "),
            std::string::npos)
      << plain.out;
}

// A series has layers of its own too, and its forecasts drop nothing.
TEST(TrainLayersSeries, ForecastsWithLayerNormAndDropoutAreTheSameTwice) {
  const Scratch scratch;
  const std::string csv = std::string(RONDO_EXAMPLES_DIR) + "/data/airline.csv";
  for (const char* model : {"lstm", "min-lstm"}) {
    const std::string out = scratch / model;
    const Ran ran =
        run("rondo-train", {"--csv", csv, "--column", "passengers", "--test-rows", "48", "--model",
                            model, "--layers", "2", "--layer-norm", "--dropout", "0.1", "--out",
                            out});
    ASSERT_EQ(ran.code, 0) << ran.err;
    const Words judge{out + "/best.safetensors", "--csv", csv, "-o", "json"};
    const Ran once = run("rondo-eval", judge);
    ASSERT_EQ(once.code, 0) << once.err;
    EXPECT_EQ(once.out, run("rondo-eval", judge).out);
    EXPECT_LT(nlohmann::json::parse(once.out)["rmse"].get<double>(), 48.0);  // as it was before
  }
}

}  // namespace
}  // namespace rondo::actors
