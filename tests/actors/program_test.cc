// The programs as a user meets them: what they say, what they refuse, and with which exit code.

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "program.h"

namespace rondo::actors {
namespace {

using nlohmann::json;

std::vector<std::string> tiny(const std::string& text, const std::string& out) {
  return {"--text", text, "--out", out, "--hidden", "16", "--batch", "8", "--seq", "16",
          "--epochs", "2", "--layers", "2"};
}

std::vector<std::string> with(std::vector<std::string> arguments,
                              const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<json> events(const std::string& lines) {
  std::vector<json> all;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) all.push_back(json::parse(line));
  return all;
}

void expect_refused(const Ran& ran, int code, const std::string& words) {
  EXPECT_EQ(ran.code, code) << ran.err;
  EXPECT_NE(ran.err.find(words), std::string::npos) << ran.err;
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
}

TEST(Train, BadUsageIsOneSentenceAndExitCode2) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  const std::string out = scratch / "out";
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& words) {
    expect_refused(run("rondo-train", with(arguments, {"--out", out})), 2, words);
    EXPECT_FALSE(std::filesystem::exists(out)) << words;
  };
  refused({"--text", text, "--hiden", "3"}, "did you mean '--hidden'?");
  refused({"--text", scratch / "none"}, "there is no file");
  refused({}, "nothing to learn from");
  refused({"--text", text, "--csv", text}, "exclude one another");
  refused({"--text", text, "--model", "lsmt"}, "it is one of rnn, lstm, gru");
  refused({"--text", text, "--stages", "3"}, "more than the model's 2 layers");
  refused({"--text", text, "--replicas", "51"}, "more than --batch 50");
  refused({"--text", text, "--batch", "5000"}, "the text has 4000 characters");
  refused({"--text", text, "--lr", "-1"}, "'-1' is no finite number above 0");
  refused({"--text", text, "--lr", "nan"}, "'nan' is no finite number above 0");
  refused({"--text", text, "--clip", "nan"}, "'nan' is no finite number from 0 on");
  refused({"--text", text, "--val-frac", "1"}, "--val-frac: '1' is no number from 0 to 0.9");
  refused({"--text", text, "--seed", "-1"}, "'-1' is no whole number");
  refused({"--text", text, "--all-reduce", "mpi"}, "it is one of auto, shm, zmq, nccl");
  refused({"--text", text, "--all-reduce", "nccl"}, "--all-reduce goes with --replicas");
  refused({"--text", text, "--replicas", "2", "--all-reduce", "nccl"},
          "--all-reduce nccl sums on GPUs: it goes with --device gpu");
  refused({"--text", text, "--timeline", scratch / "none/t"}, "there is no folder");
  refused({"--text", text, "--timeline", "/dev/full"}, "is not a regular file");
  refused({"--text", text, "--layers", "0"}, "--layers");
  refused({"--text", text, "--text", text}, "--text is given 2 times: once is enough");
  refused({"--text", text, "--frob", "1"}, "unknown flag '--frob'; see --help");
  refused({"--text", text, "-o", "yaml"}, "one of text, json");
  refused({"--text", scratch.write("empty", "")}, "the text has 0 characters");
  refused({"--text", scratch.write("one", "x")}, "the text has 1 character,");
  refused({"--csv", scratch.write("c", "a,b\n1,2\n")}, "--csv needs --column");
  refused({"--csv", scratch / "c", "--column", "z"}, "has no column 'z'; its columns are: a, b");
  refused({"--text", text, "--resume"}, "there is no run in");
  refused({"--csv", scratch / "c", "--column", "a", "--test-rows", "1"},
          "--test-rows 1 leaves nothing to learn from: " + (scratch / "c") + " has 1 row");
  expect_refused(run("rondo-train", {"--text", text, "--out", ""}), 2, "--out wants the name");
  expect_refused(run("rondo-train", {"--text", text, "--layers"}), 2,
                 "--layers wants a value after it");
}

TEST(Train, ARunThatDivergesSaysSoAndKeepsNothingOfIt) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  const std::string out = scratch / "out";
  expect_refused(run("rondo-train", with(tiny(text, out), {"--lr", "1e38"})), 1,
                 "is no finite number, the run has diverged");
  EXPECT_FALSE(std::filesystem::exists(out));
  std::filesystem::create_directory(out);  // one that was there stays
  scratch.write("out/notes", "mine");
  EXPECT_EQ(run("rondo-train", with(tiny(text, out), {"--lr", "1e38"})).code, 1);
  EXPECT_EQ(slurp(out + "/notes"), "mine");
  EXPECT_FALSE(std::filesystem::exists(out + "/curve.csv"));
}

TEST(Train, WhatIsNoRegularFileIsRefusedAtOnce) {
  const Scratch scratch;
  const std::string pipe = scratch / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {pipe, std::string("/dev/zero"), scratch / ""}) {
    expect_refused(run("rondo-train", {"--text", path, "--out", scratch / "out"}), 2,
                   "cannot read '" + path);
    expect_refused(run("rondo-train", {"--csv", path, "--column", "x", "--out", scratch / "out"}),
                   2, "cannot read '" + path);
    expect_refused(run("rondo-sample", {path}), 2, "cannot read '" + path);
    expect_refused(run("rondo-eval", {path, "--text", path}), 2, "cannot read '" + path);
  }
  EXPECT_FALSE(std::filesystem::exists(scratch / "out"));
}

TEST(Train, AHomeThatCannotBeUsedIsExitCode5AndABadAddressExitCode2) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  const std::vector<std::string> arguments = tiny(text, scratch / "out");
  const std::string before = std::getenv("RONDO_HOME") == nullptr ? "" : std::getenv("RONDO_HOME");
  ::setenv("RONDO_HOME", (scratch / std::string(100, 'x')).c_str(), 1);
  expect_refused(run("rondo-train", arguments), 5, "set RONDO_HOME to a shorter path");
  const std::string open = scratch / "open";
  std::filesystem::create_directory(open);
  std::filesystem::permissions(open, std::filesystem::perms::all);
  ::setenv("RONDO_HOME", open.c_str(), 1);
  expect_refused(run("rondo-train", arguments), 5, "is open to other users");
  if (before.empty()) ::unsetenv("RONDO_HOME");
  else ::setenv("RONDO_HOME", before.c_str(), 1);
  expect_refused(run("rondo-train", with(arguments, {"--address", "nonsense"})), 2,
                 "address nonsense");
  EXPECT_FALSE(std::filesystem::exists(scratch / "out"));
}

TEST(Train, AFinishedRunSaysSoOnResumeAndHowToGoOn) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  const std::string out = scratch / "out";
  ASSERT_EQ(run("rondo-train", tiny(text, out)).code, 0);
  const std::string last = slurp(out + "/last.safetensors");
  const Ran again = run("rondo-train", {"--resume", "--out", out});
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.out.find("is finished: its goal was 2 epochs"), std::string::npos) << again.out;
  EXPECT_NE(again.out.find("rondo train --resume --out " + out + " --epochs N"),
            std::string::npos);
  const std::vector<json> said =
      events(run("rondo-train", {"--resume", "--out", out, "-o", "json"}).out);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0]["event"], "done");
  EXPECT_EQ(slurp(out + "/last.safetensors"), last);
  const Ran more = run("rondo-train", {"--resume", "--out", out, "--epochs", "3", "-o", "json"});
  EXPECT_EQ(more.code, 0) << more.err;
  EXPECT_EQ(events(more.out).back()["epoch"], 3);
  // A goal of steps, inside an epoch: judged anew, and then the same is said.
  const std::string short_run = scratch / "short";
  std::vector<std::string> steps = tiny(text, short_run);
  std::replace(steps.begin(), steps.end(), std::string("--epochs"), std::string("--steps"));
  ASSERT_EQ(run("rondo-train", steps).code, 0);
  const Ran stays = run("rondo-train", {"--resume", "--out", short_run});
  EXPECT_EQ(stays.code, 0) << stays.err;
  EXPECT_NE(stays.err.find("its goal was 2 steps"), std::string::npos) << stays.err;
}

TEST(Train, BadContentIsOneSentenceAndExitCode1) {
  const Scratch scratch;
  const std::string wide = scratch.write("wide.csv", "m,v\n1,2\n1,3,4\n");
  expect_refused(run("rondo-train", {"--csv", wide, "--column", "v", "--out", scratch / "o"}), 1,
                 "wide.csv, line 3: it has 3 cells under a header of 2");
  const std::string hole = scratch.write("hole.csv", "m,v\n1,2\n2,\n3,4\n");
  expect_refused(run("rondo-train", {"--csv", hole, "--column", "v", "--out", scratch / "o"}), 1,
                 "hole.csv, line 3: column 'v' has a hole");
  const std::string latin = scratch.write("latin", "caf\xE9 au lait");
  expect_refused(run("rondo-train", {"--text", latin, "--out", scratch / "o"}), 1,
                 "not UTF-8 at offset 3");
  const std::string bare = scratch.write("bare.csv", "m,v\n");
  expect_refused(run("rondo-train", {"--csv", bare, "--column", "v", "--out", scratch / "o"}), 1,
                 "has a header row and no others");
  EXPECT_FALSE(std::filesystem::exists(scratch / "o"));
}

TEST(Train, AFolderThatCannotBeMadeIsExitCode5) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  expect_refused(run("rondo-train", tiny(text, "/proc/rondo-out")), 5, "cannot make folder");
}

TEST(Train, HelpNamesTheFlagsAndEndsWell) {
  const Ran ran = run("rondo-train", {"--help"});
  EXPECT_EQ(ran.code, 0);
  for (const char* flag : {"--text", "--csv", "--stages", "--resume", "--val-frac", "--address"})
    EXPECT_NE(ran.out.find(flag), std::string::npos) << flag;
}

TEST(Train, JsonLinesCarryTheEventsOfARun) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  const Ran ran = run("rondo-train", with(tiny(text, scratch / "out"), {"-o", "json"}));
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::vector<json> all = events(ran.out);
  EXPECT_EQ(all.front()["event"], "start");
  EXPECT_EQ(all.back()["event"], "done");
  int steps = 0, epochs = 0;
  double first = 0;
  for (const json& event : all) {
    if (event["event"] == "step") {
      EXPECT_EQ(event["step"], ++steps);
      if (steps == 1) first = event["loss"];
      EXPECT_GT(event["tokens_per_s"], 0);
    } else if (event["event"] == "epoch") {
      EXPECT_EQ(event["epoch"], ++epochs);
      EXPECT_GT(event["val_loss"], 0);
    }
  }
  EXPECT_EQ(epochs, 2);
  EXPECT_LT(all.back()["loss"], first);
  const std::string curve = slurp(scratch / "out/curve.csv");
  EXPECT_TRUE(curve.starts_with("step,epoch,loss,val_loss,tokens_per_s\n"));
  EXPECT_EQ(std::count(curve.begin(), curve.end(), '\n'), steps + 1);
  EXPECT_TRUE(slurp(scratch / "out/curve.svg").starts_with("<svg"));
}

TEST(Train, AFolderWithARunIsRefusedWithoutResume) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  ASSERT_EQ(run("rondo-train", tiny(text, scratch / "out")).code, 0);
  expect_refused(run("rondo-train", tiny(text, scratch / "out")), 2, "already holds a run");
  expect_refused(run("rondo-train", with(tiny(text, scratch / "out"), {"--resume", "--seed", "2"})),
                 2, "--seed differs");
  scratch.write("text", small_text(4001));
  expect_refused(run("rondo-train", {"--resume", "--out", scratch / "out"}), 1, "have changed");
}

TEST(Train, CtrlCSavesAndResumeEndsWithTheSameBits) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(20000));
  const auto arguments = [&](const std::string& out) {
    return with(tiny(text, scratch / out), {"-o", "json", "--replicas", "2", "--stages", "2"});
  };
  ASSERT_EQ(run("rondo-train", arguments("whole")).code, 0);
  Started started("rondo-train", arguments("cut"));
  while (true) {
    const std::string line = started.line();
    ASSERT_FALSE(line.empty());
    const json event = json::parse(line);
    if (event["event"] == "step" && event["step"] == 40) break;
  }
  started.signal(SIGINT);
  const Ran stopped = started.finish();
  EXPECT_EQ(stopped.code, 130);
  EXPECT_NE(stopped.err.find("rondo train --resume --out"), std::string::npos) << stopped.err;
  const Ran resumed =
      run("rondo-train", {"--resume", "--out", scratch / "cut", "-o", "json"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_GT(events(resumed.out).front()["step"], 0);
  for (const char* name : {"last.safetensors", "best.safetensors"})
    EXPECT_EQ(slurp(scratch / ("whole/" + std::string(name))),
              slurp(scratch / ("cut/" + std::string(name)))) << name;
  const std::string whole = slurp(scratch / "whole/curve.csv");
  const std::string cut = slurp(scratch / "cut/curve.csv");
  EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), std::count(cut.begin(), cut.end(), '\n'));
}

TEST(Train, StagesGiveTheWeightsOfOneStageBitForBit) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(8000));
  for (const char* stages : {"1", "2"}) {
    const Ran ran = run("rondo-train", with(tiny(text, scratch / stages),
                                            {"--microbatches", "2", "--stages", stages}));
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  const auto said = [&](const char* stages) {
    return run("rondo-sample", {scratch / (std::string(stages) + "/last.safetensors")}).out;
  };
  EXPECT_EQ(said("1"), said("2"));
}

TEST(Sample, WritesTheLengthAskedForAndTheSameAgain) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  ASSERT_EQ(run("rondo-train", tiny(text, scratch / "out")).code, 0);
  const std::string best = scratch / "out/best.safetensors";
  const Ran one = run("rondo-sample", {best, "--length", "50", "--prime", "the "});
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_TRUE(one.out.starts_with("the "));
  EXPECT_EQ(one.out.size(), 4u + 50u + 1u);
  EXPECT_EQ(one.out, run("rondo-sample", {best, "--length", "50", "--prime", "the "}).out);
  EXPECT_NE(one.out,
            run("rondo-sample", {best, "--length", "50", "--prime", "the ", "--seed", "2"}).out);
  expect_refused(run("rondo-sample", {best, "--prime", "§"}), 1,
                 "unknown character '§' at offset 0");
  expect_refused(run("rondo-sample", {scratch / "none"}), 2, "cannot read");
  expect_refused(run("rondo-sample", {best, "--temperature", "nan"}), 2,
                 "--temperature: 'nan' is no number from 0.001 to 1000");
  expect_refused(run("rondo-sample", {text}), 1,
                 "is no checkpoint: it does not begin as a safetensors file does");
  expect_refused(run("rondo-sample", {scratch / "out"}), 2, "it is a folder, with " + best);
  expect_refused(run("rondo-sample", {scratch.write("empty", "")}), 1,
                 "is no checkpoint: it is empty");
  const Ran latin = run("rondo-sample", {best, "--prime", "the \xE9"});
  expect_refused(latin, 1, "--prime: the text is not UTF-8 at offset 4");
  EXPECT_EQ(latin.err.find("--tokens"), std::string::npos) << latin.err;
}

TEST(Eval, JudgesATextAndNamesWhatItCannotRead) {
  const Scratch scratch;
  const std::string text = scratch.write("text", small_text(4000));
  ASSERT_EQ(run("rondo-train", tiny(text, scratch / "out")).code, 0);
  const std::string best = scratch / "out/best.safetensors";
  const Ran ran = run("rondo-eval", {best, "--text", text, "-o", "json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const double nats = json::parse(ran.out)["nats_per_char"];
  EXPECT_GT(nats, 0.5);
  EXPECT_LT(nats, 3.5);
  const std::string strange = scratch.write("strange", "the river @ night");
  expect_refused(run("rondo-eval", {best, "--text", strange}), 1,
                 "unknown character '@' at offset 10");
  expect_refused(run("rondo-eval", {best, "--csv", text}), 2, "was trained on a text");
}

TEST(Eval, AirlineForecastsBeatPersistenceAsTheMedianOfFiveSeeds) {
  const Scratch scratch;
  const std::string csv = std::string(RONDO_EXAMPLES_DIR) + "/data/airline.csv";
  std::vector<double> errors;
  for (const char* seed : {"1", "2", "3", "4", "5"}) {
    const std::string out = scratch / ("out" + std::string(seed));
    const Ran trained = run("rondo-train", {"--csv", csv, "--column", "passengers", "--test-rows",
                                            "48", "--seed", seed, "--out", out});
    ASSERT_EQ(trained.code, 0) << trained.err;
    const Ran ran = run("rondo-eval", {out + "/best.safetensors", "--csv", csv, "-o", "json"});
    ASSERT_EQ(ran.code, 0) << ran.err;
    errors.push_back(json::parse(ran.out)["rmse"]);
    EXPECT_NEAR(json::parse(ran.out)["persistence_rmse"].get<double>(), 48.0, 0.1);
  }
  std::sort(errors.begin(), errors.end());
  EXPECT_LT(errors[2], 20);
}

}  // namespace
}  // namespace rondo::actors
