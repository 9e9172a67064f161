#include <rondo/base/nearest.h>

#include <gtest/gtest.h>

namespace rondo {
namespace {

const std::vector<std::string> kFlags = {"--hidden", "--epochs", "--prime", "--seed", "--lr", "-o"};

TEST(Nearest, FindsAWordThatIsOneOrTwoEditsAway) {
  EXPECT_EQ(nearest("--hiden", kFlags), "--hidden");
  EXPECT_EQ(nearest("--epcohs", kFlags), "--epochs");  // neighbours swapped: one edit
  EXPECT_EQ(nearest("--hiddnn", kFlags), "--hidden");
  EXPECT_EQ(nearest("--prme", kFlags), "--prime");
  EXPECT_EQ(nearest("--sed", kFlags), "--seed");
  EXPECT_EQ(nearest("statsu", {"list", "status", "start"}), "status");
}

TEST(Nearest, SaysNothingOfWordsThatAreFar) {
  EXPECT_EQ(nearest("--frob", kFlags), "");
  EXPECT_EQ(nearest("--learning-rate", kFlags), "");
  EXPECT_EQ(nearest("--xx", kFlags), "");
  EXPECT_EQ(nearest("", kFlags), "");
  EXPECT_EQ(nearest("--", kFlags), "");
  EXPECT_EQ(nearest("gpu", {"up", "logs"}), "");
}

TEST(Nearest, TakesTheNearestAndOfEqualsTheFirst) {
  EXPECT_EQ(nearest("--strps", {"--stops", "--steps", "--stages"}), "--stops");
  EXPECT_EQ(nearest("stagess", {"stage", "stages"}), "stages");
}

}  // namespace
}  // namespace rondo
