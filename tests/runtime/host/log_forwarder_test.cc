#include <rondo/host/log_forwarder.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>

namespace rondo::host {
namespace {

namespace fs = std::filesystem;

class LogForwarderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("rondo-logs-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    auto opened = LogForwarder::open(folder_, [this](const WorkerLines& lines) {
      const std::lock_guard lock(mutex_);
      for (const std::string& line : lines.lines) lines_.push_back(lines.label + ": " + line);
      came_.notify_all();
    });
    ASSERT_TRUE(opened.ok()) << opened.error().what();
    logs_ = std::move(opened).value();
  }
  void TearDown() override {
    logs_.reset();
    fs::remove_all(folder_);
  }
  void append(const std::string& text) { std::ofstream(folder_ / "w.log", std::ios::app) << text; }
  std::vector<std::string> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, std::chrono::seconds(20), [&] { return lines_.size() >= count; });
    return lines_;
  }

  fs::path folder_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::string> lines_;
  std::unique_ptr<LogForwarder> logs_;
};

TEST_F(LogForwarderTest, HandsOnWholeLinesAsTheyAreWritten) {
  append("before\n");
  logs_->follow(ProcessId{1}, JobId{1}, "A", 12, folder_ / "w.log");
  append("one\ntw");
  EXPECT_EQ(wait_for(2), (std::vector<std::string>{"A: before", "A: one"}));
  append("o\n");
  EXPECT_EQ(wait_for(3).back(), "A: two");
}

TEST_F(LogForwarderTest, FinishGivesTheRestAtOnceAndNothingLater) {
  logs_->follow(ProcessId{1}, JobId{1}, "A", 12, folder_ / "w.log");
  append("last words without an end");
  logs_->finish(ProcessId{1});
  {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(lines_.back(), "A: last words without an end");
  }
  const std::size_t before = wait_for(1).size();
  append("more\n");
  logs_->drain();
  EXPECT_EQ(wait_for(before).size(), before);
}

TEST_F(LogForwarderTest, AFolderThatIsNotThereIsSaidInWords) {
  const auto refused = LogForwarder::open(folder_ / "none", [](const WorkerLines&) {});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.error().what()).find("cannot be watched"), std::string::npos);
}

TEST(ShownLineTest, NamesWorkerNodeAndPid) {
  EXPECT_EQ(shown_line("Counter c", "n1", 12, "hi"), "(Counter c, n1, pid 12) hi");
}

}  // namespace
}  // namespace rondo::host
