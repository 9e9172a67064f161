#include <rondo/actors/chaos.h>

#include <gtest/gtest.h>

#include <set>

namespace rondo::actors {
namespace {

constexpr Layout kFour{2, 2, 2};

std::vector<std::size_t> victims(const std::vector<Chaos::Strike>& strikes) {
  std::vector<std::size_t> parties;
  for (const Chaos::Strike& strike : strikes) parties.push_back(strike.party);
  return parties;
}

TEST(ChaosTest, EveryWayIsHitOnceWhenItsVictimsDie) {
  Chaos chaos({.seed = 7}, kFour);
  std::vector<Way> hit;
  std::int64_t strikes_at = 0;
  for (std::int64_t step = 1; step <= 60; ++step) {
    const auto strikes = chaos.before_step(step);
    if (strikes.empty()) continue;
    EXPECT_EQ(step % 4, 0);
    EXPECT_GT(step, strikes_at);
    strikes_at = step;
    if (strikes.back().phase == Phase::kRollback) {  // the second dies when the first is restarted
      EXPECT_FALSE(chaos.died({strikes.front().party}));
      hit.push_back(chaos.died({strikes.back().party}).value());
      continue;
    }
    auto way = chaos.died(victims(strikes));
    if (!way && chaos.kills_at_birth()) way = chaos.died(victims(strikes));
    if (!way) {
      EXPECT_EQ(chaos.for_newborn(strikes.front().party), Phase::kRestore);
      EXPECT_EQ(chaos.for_newborn(strikes.front().party), Phase::kNone);
      way = chaos.died(victims(strikes));
    }
    hit.push_back(way.value());
  }
  EXPECT_EQ(hit, every_way_of_workers());
}

TEST(ChaosTest, TwoHoldersCountOnlyWhenTheyDieTogether) {
  Chaos chaos({.seed = 1, .ways = {Way::kTwo}}, kFour);
  const auto strikes = chaos.before_step(4);
  ASSERT_EQ(strikes.size(), 2u);
  EXPECT_NE(strikes[0].party, strikes[1].party);
  EXPECT_FALSE(chaos.died({strikes[0].party}));
  EXPECT_FALSE(chaos.died({strikes[1].party}));
  const auto again = chaos.before_step(8);
  ASSERT_EQ(again.size(), 2u);
  EXPECT_EQ(chaos.died(victims(again)), Way::kTwo);
}

TEST(ChaosTest, AWayThatWasNotHitIsTriedAgainButNotForEver) {
  Chaos chaos({.seed = 2, .ways = {Way::kForward, Way::kSwap}}, kFour);
  int forwards = 0;
  std::int64_t step = 4;
  for (; step < 100; step += 4) {
    const auto strikes = chaos.before_step(step);
    ASSERT_EQ(strikes.size(), 1u);
    if (strikes[0].phase == Phase::kSwap) break;
    ++forwards;
  }
  EXPECT_EQ(forwards, 5);
}

TEST(ChaosTest, AnotherVictimsDeathIsNoHit) {
  Chaos chaos({.seed = 3, .ways = {Way::kPrepare}}, kFour);
  const auto strikes = chaos.before_step(4);
  ASSERT_EQ(strikes.size(), 1u);
  EXPECT_FALSE(chaos.died({(strikes[0].party + 1) % 4}));
  EXPECT_EQ(chaos.died({strikes[0].party}), Way::kPrepare);
}

TEST(ChaosTest, OnlyTheDeathThatCountsTakesANodeAlong) {
  Chaos chaos({.seed = 4, .ways = {Way::kForward, Way::kOther, Way::kRestore}, .nodes = true},
              kFour);
  const auto forward = chaos.before_step(4);
  ASSERT_EQ(forward.size(), 1u);
  EXPECT_TRUE(forward[0].node);
  EXPECT_EQ(chaos.lost_own_node(), Way::kForward);
  const auto other = chaos.before_step(8);
  ASSERT_EQ(other.size(), 2u);
  EXPECT_FALSE(other[0].node);
  EXPECT_TRUE(other[1].node);
  EXPECT_FALSE(chaos.died({other[0].party}));
  EXPECT_EQ(chaos.lost_own_node(), Way::kOther);
  const auto restore = chaos.before_step(12);
  ASSERT_EQ(restore.size(), 1u);
  EXPECT_FALSE(restore[0].node);
  EXPECT_FALSE(chaos.died({restore[0].party}));
  EXPECT_EQ(chaos.for_newborn(restore[0].party), Phase::kRestore);
  EXPECT_EQ(chaos.lost_own_node(), Way::kRestore);
  EXPECT_FALSE(chaos.lost_own_node());
}

TEST(ChaosTest, WaysThatTheLayoutCannotKnowAreLeftOut) {
  Chaos chaos({.seed = 1, .ways = {Way::kAggregation, Way::kTwo, Way::kOther}}, {1, 1, 1});
  for (std::int64_t step = 1; step < 50; ++step) EXPECT_TRUE(chaos.before_step(step).empty());
}

TEST(ChaosTest, TheSeedChoosesWhereACheckpointIsCut) {
  std::set<WritePoint> points;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    Chaos chaos({.seed = seed, .ways = {Way::kSave}}, kFour);
    EXPECT_FALSE(chaos.in_save());
    EXPECT_TRUE(chaos.before_step(4).empty());
    points.insert(chaos.in_save().value());
  }
  EXPECT_EQ(points.size(), 3u);
}

TEST(ChaosTest, EveryWordOfTheFlagIsKnown) {
  for (const char* word : {"forward", "backward", "aggregation", "optimiser", "prepare", "swap",
                           "restore", "birth", "two", "other", "save"})
    EXPECT_TRUE(way_of(word)) << word;
  EXPECT_FALSE(way_of("sideways"));
}

}  // namespace
}  // namespace rondo::actors
