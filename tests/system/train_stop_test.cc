// Ctrl-C in `rondo train`, at any instant: it ends soon, what is worth saving is saved, and nothing
// else is left.

#include <poll.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "cluster_test.h"

namespace rondo::cli_test {
namespace {

namespace fs = std::filesystem;

class TrainStop : public ClusterTest {
 protected:
  void SetUp() override {
    text_ = home_.scratch() + "/text";
    out_ = home_.scratch() + "/out";
    std::string words;
    while (words.size() < 400'000) words += "the river at night runs slow, and light falls on it. ";
    std::ofstream(text_) << words;
  }
  std::unique_ptr<Beside> train(const std::vector<std::string>& more) {
    return home_.beside(with({"rondo", "train", "--text", text_, "--out", out_, "-o", "json"},
                             more));
  }
  // Either nothing, or a run that can be gone on from.
  void expect_nothing_or_a_run(const Beside& run) {
    if (!fs::exists(out_)) return;
    EXPECT_TRUE(fs::exists(out_ + "/last.safetensors")) << run.err();
    for (const auto& entry : fs::directory_iterator(out_))
      EXPECT_NE(entry.path().extension(), ".part") << entry.path();
    fs::remove_all(out_);
  }
  std::string text_;
  std::string out_;
};

TEST_F(TrainStop, AtAnyInstantOfTheStartOnceAndTwiceLeavesNothing) {
  for (const int times : {1, 2}) {
    for (int instant_ms = 0; instant_ms < 420; instant_ms += 20) {
      SCOPED_TRACE(instant_ms);
      const auto run = train({"--hidden", "32", "--layers", "1", "--batch", "16", "--seq", "32"});
      ::poll(nullptr, 0, instant_ms);
      for (int n = 0; n < times; ++n) run->signal(SIGINT);
      const double before = now_s();
      EXPECT_EQ(run->end(10), 128 + SIGINT) << run->err();
      EXPECT_LT(now_s() - before, 8) << run->err();
      EXPECT_LE(lines_in(run->err()), 2u) << run->err();
      expect_nothing_left();
      expect_nothing_or_a_run(*run);
    }
  }
}

TEST_F(TrainStop, WhileALargeModelIsSetUpItEndsPromptlyAndSaysThatThereIsNothingToSave) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const auto run = train({"--hidden", "2048", "--layers", "2"});
    ASSERT_TRUE(wait_until([&] { return fs::exists(out_); }, 20)) << run->err();
    run->signal(signal);
    const double before = now_s();
    EXPECT_EQ(run->end(10), 128 + signal) << run->err();
    EXPECT_LT(now_s() - before, 8);
    EXPECT_NE(run->err().find("stopped before the first step: there is nothing to save"),
              std::string::npos)
        << run->err();
    EXPECT_FALSE(fs::exists(out_));
    expect_nothing_left();
  }
}

// A step here takes some seconds on two cores.
TEST_F(TrainStop, AStepThatTakesLongIsNotWaitedForAndTheOneBeforeItIsSaved) {
  const std::vector<std::string> slow{"--hidden", "512", "--layers", "1",
                                      "--batch",  "64",  "--seq",    "1000"};
  const auto run = train(slow);
  ASSERT_TRUE(run->waits_for("\"event\":\"step\"", 60)) << run->err();
  run->signal(SIGINT);
  const double before = now_s();
  EXPECT_EQ(run->end(20), 128 + SIGINT) << run->err();
  EXPECT_LT(now_s() - before, 8);
  EXPECT_NE(run->err().find("rondo train --resume --out " + out_), std::string::npos)
      << run->err();
  EXPECT_TRUE(fs::exists(out_ + "/last.safetensors"));
  expect_nothing_left();

  // Gone on with, and stopped before a step is done: the run stays as it was.
  const auto again = home_.beside({"rondo", "train", "--resume", "--out", out_, "-o", "json"});
  ASSERT_TRUE(again->waits_for("\"event\":\"start\"", 20)) << again->err();
  again->signal(SIGINT);
  EXPECT_EQ(again->end(10), 128 + SIGINT);
  EXPECT_NE(again->err().find("the run is as it was saved after step"), std::string::npos)
      << again->err();
  EXPECT_TRUE(fs::exists(out_ + "/last.safetensors"));
}

TEST_F(TrainStop, OnAClusterOfDaemonsTheSecondOneEndsAtOnceAndTheClusterForgetsTheRun) {
  up(1);
  home_.environment()["RONDO_ADDRESS"] = address();
  const auto run = train({"--hidden", "512", "--layers", "1", "--batch", "64", "--seq", "1000"});
  ASSERT_TRUE(run->waits_for("\"event\":\"step\"", 60)) << run->err();
  run->signal(SIGINT);    // asks
  run->signal(SIGTERM);   // another signal: two of one number may become one
  const int code = run->end(10);
  EXPECT_TRUE(code == 128 + SIGTERM || code == 128 + SIGINT) << code << run->err();
  EXPECT_NE(run->err().find("stopped at once, without another save"), std::string::npos)
      << run->err();
  EXPECT_FALSE(fs::exists(out_));
  EXPECT_TRUE(
      home_.list_until("workers", [](const auto& rows) { return rows.empty(); }, 10).empty());
}

}  // namespace
}  // namespace rondo::cli_test
