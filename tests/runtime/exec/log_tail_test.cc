#include <gtest/gtest.h>

#include <fstream>

#include <rondo/exec/log_tail.h>

#include "started.h"

namespace rondo::exec {
namespace {

struct Log {
  TemporaryFolder folder;
  std::string path = folder.path + "/log";
  void add(const std::string& text) { std::ofstream(path, std::ios::app) << text; }
};

using Lines = std::vector<std::string>;

TEST(LogTail, GivesTheLastLines) {
  Log log;
  EXPECT_EQ(last_lines(log.path, 3), "");
  log.add("a\nb\nc\nd\n");
  EXPECT_EQ(last_lines(log.path, 2), "c\nd");
  EXPECT_EQ(last_lines(log.path, 9), "a\nb\nc\nd");
  log.add("begun");
  EXPECT_EQ(last_lines(log.path, 2), "d\nbegun");
  EXPECT_EQ(last_lines(log.path, 0), "");
}

TEST(LogTail, StaysWithinItsBound) {
  Log log;
  for (int n = 0; n < 1000; ++n) log.add("line\n");
  EXPECT_EQ(last_lines(log.path, 1000, 12), "line\nline");
  log.add(std::string(100, 'x'));
  EXPECT_EQ(last_lines(log.path, 5, 10), std::string(10, 'x'));
}

TEST(LogFollower, HandsOutWholeLinesOnce) {
  Log log;
  LogFollower follower(log.path);
  EXPECT_TRUE(follower.read_new().empty());
  log.add("a\nb");
  EXPECT_EQ(follower.read_new(), Lines{"a"});
  EXPECT_TRUE(follower.read_new().empty());
  log.add("c\n\nd");
  EXPECT_EQ(follower.read_new(), (Lines{"bc", ""}));
  EXPECT_EQ(follower.read_new(true), Lines{"d"});
  EXPECT_TRUE(follower.read_new(true).empty());
}

TEST(LogFollower, CutsLongLines) {
  Log log;
  LogFollower follower(log.path);
  log.add(std::string(100'000, 'x') + "\nnext\n");
  EXPECT_EQ(follower.read_new(), (Lines{std::string(4'096, 'x'), "next"}));
}

}  // namespace
}  // namespace rondo::exec
