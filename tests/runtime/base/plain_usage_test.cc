#include <rondo/base/plain_usage.h>

#include <gtest/gtest.h>

namespace rondo {
namespace {

TEST(PlainUsage, SaysInWordsWhatTheParserCounts) {
  EXPECT_EQ(plain_usage("--text: At Most 1 required but received 2"),
            "--text is given 2 times: once is enough");
  EXPECT_EQ(plain_usage("--nodes: 1 required N missing"), "--nodes wants a value after it");
  EXPECT_EQ(plain_usage("--nodes: Value x not in range 1 to 64"),
            "--nodes: 'x' is no whole number from 1 to 64");
  EXPECT_EQ(plain_usage("--val-frac: Value 2 not in range 0 to 0.9"),
            "--val-frac: '2' is no number from 0 to 0.9");
  EXPECT_EQ(plain_usage("WHAT: a not in {nodes,actors}"),
            "WHAT: 'a' is unknown: it is one of nodes, actors");
}

TEST(PlainUsage, LeavesOtherTextsAsTheyAreOnOneLine) {
  EXPECT_EQ(plain_usage("--cpus: \"x\" is not a number above 0"),
            "--cpus: \"x\" is not a number above 0");
  EXPECT_EQ(plain_usage("two\nlines"), "two lines");
  EXPECT_EQ(plain_usage(""), "");
}

}  // namespace
}  // namespace rondo
