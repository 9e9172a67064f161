// The sum of gradients over replicas, each a thread here: its bits, and how it ends when a replica
// gives up, leaves or cannot be met.

#include <rondo/actors/gradient_sum.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "one_step.h"

namespace rondo::actors {
namespace {

const std::vector<std::size_t> kParts{1000, 70000, 3, 131};   // several buckets
constexpr std::size_t kFloats = 71134;

std::vector<float> gradient_of(int replica, int step) {
  std::vector<float> values;
  for (const std::size_t part : kParts)
    for (std::size_t i = 0; i < part; ++i)
      values.push_back(std::sin(static_cast<float>(values.size() * 7 + 1)) *
                       (replica % 2 == 0 ? 1e4f : 1e-3f) + static_cast<float>(replica * step));
  return values;
}

// All replicas meet by `way`, then each does `body` in a thread of its own.
void with_replicas(int count, SumWay way, const std::function<void(int, GradientSum&)>& body) {
  std::vector<std::unique_ptr<GradientSum>> sums;
  std::vector<MeetingPlace> places;
  for (int replica = 0; replica < count; ++replica) {
    sums.push_back(std::make_unique<GradientSum>(replica, count, kParts));
    auto place = sums.back()->open(7, way);
    ASSERT_TRUE(place) << place.error().what();
    places.push_back(place.value());
  }
  const auto meeting = Meeting::make({.group = 7, .floats = kFloats}, places);
  ASSERT_TRUE(meeting) << meeting.error().what();
  std::vector<std::thread> threads;
  for (int replica = 0; replica < count; ++replica)
    threads.emplace_back([&, replica] {
      GradientSum& sum = *sums[static_cast<std::size_t>(replica)];
      const auto met = sum.meet(meeting.value().plan());
      ASSERT_TRUE(met) << met.error().what();
      ASSERT_TRUE(sum.has_met()) << met.value().why;
      body(replica, sum);
    });
  for (std::thread& thread : threads) thread.join();
}

void hand_over(GradientSum& sum, const std::vector<float>& gradient) {
  std::size_t end = gradient.size();
  for (std::size_t part = kParts.size(); part-- > 0;) {
    const std::size_t begin = end - kParts[part];
    std::copy(gradient.begin() + static_cast<std::ptrdiff_t>(begin),
              gradient.begin() + static_cast<std::ptrdiff_t>(end),
              sum.memory().begin() + static_cast<std::ptrdiff_t>(begin));
    sum.ready(part);
    end = begin;
  }
}

class EveryWay : public testing::TestWithParam<std::tuple<SumWay, int>> {};

TEST_P(EveryWay, GivesTheFixedTreesBitsStepAfterStep) {
  const auto [way, count] = GetParam();
  with_replicas(count, way, [&, count = count](int replica, GradientSum& sum) {
    for (int step = 1; step <= 5; ++step) {
      std::vector<std::vector<float>> all;
      for (int one = 0; one < count; ++one) all.push_back(gradient_of(one, step));
      hand_over(sum, all[static_cast<std::size_t>(replica)]);
      const auto done = sum.finish();
      ASSERT_TRUE(done) << done.error().what();
      ASSERT_EQ(done.value().end, SumEnd::kDone) << done.value().why;
      EXPECT_TRUE(same_bits({sum.sum().begin(), sum.sum().end()}, sum_slices(all)));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(All, EveryWay,
                         testing::Combine(testing::Values(SumWay::kShm, SumWay::kZmq),
                                          testing::Values(2, 3, 5)));

class BothWays : public testing::TestWithParam<SumWay> {};
INSTANTIATE_TEST_SUITE_P(All, BothWays, testing::Values(SumWay::kShm, SumWay::kZmq));

TEST_P(BothWays, OneThatGivesUpEndsTheOthersWaitsWithItsReason) {
  with_replicas(3, GetParam(), [](int replica, GradientSum& sum) {
    if (replica == 1) return sum.give_up("replica 1 has other plans");
    hand_over(sum, gradient_of(replica, 1));
    const auto done = sum.finish();
    ASSERT_TRUE(done) << done.error().what();
    EXPECT_EQ(done.value().end, SumEnd::kGivenUp);
    EXPECT_NE(done.value().why.find("replica 1 has other plans"), std::string::npos)
        << done.value().why;
  });
}

TEST_P(BothWays, OneThatGoesToAnotherIncarnationEndsTheOthersWaits) {
  with_replicas(2, GetParam(), [](int replica, GradientSum& sum) {
    if (replica == 0) {
      EXPECT_TRUE(sum.open(8, GetParam()));
      return;
    }
    hand_over(sum, gradient_of(replica, 1));
    const auto done = sum.finish();
    ASSERT_TRUE(done) << done.error().what();
    EXPECT_EQ(done.value().end, SumEnd::kGivenUp) << done.value().why;
  });
}

// One replica waits for another that will never come, until the trainer says so.
TEST_P(BothWays, TheTrainerEndsAWaitThatNobodyElseCanEnd) {
  std::vector<std::unique_ptr<GradientSum>> sums;
  std::vector<MeetingPlace> places;
  for (int replica = 0; replica < 2; ++replica) {
    sums.push_back(std::make_unique<GradientSum>(replica, 2, kParts));
    places.push_back(sums.back()->open(3, GetParam()).value());
  }
  const auto meeting = Meeting::make({.group = 3, .floats = kFloats}, places);
  ASSERT_TRUE(meeting);
  std::thread silent([&] { EXPECT_TRUE(sums[1]->meet(meeting.value().plan())); });
  ASSERT_TRUE(sums[0]->meet(meeting.value().plan()));
  silent.join();
  hand_over(*sums[0], gradient_of(0, 1));
  meeting.value().end({true, false}, "replica 1 fell silent");
  const auto done = sums[0]->finish();
  ASSERT_TRUE(done) << done.error().what();
  EXPECT_EQ(done.value().end, SumEnd::kGivenUp);
  EXPECT_NE(done.value().why.find("replica 1 fell silent"), std::string::npos)
      << done.value().why;
}

TEST(GradientSum, AProcessThatDiedBeforeTheMeetingEndsItAtOnce) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_GT(child, 0);
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED), 0);
  GradientSum sum(0, 2, kParts);
  const auto mine = sum.open(1, SumWay::kShm);
  ASSERT_TRUE(mine) << mine.error().what();
  std::vector<MeetingPlace> places{mine.value(), mine.value()};
  places[1].pid = child;
  const auto meeting = Meeting::make({.group = 1, .floats = kFloats}, places);
  ASSERT_TRUE(meeting);
  const auto met = sum.meet(meeting.value().plan());
  ASSERT_TRUE(met) << met.error().what();
  EXPECT_EQ(met.value().end, SumEnd::kLost);
  EXPECT_FALSE(sum.has_met());
  EXPECT_NE(met.value().why.find("ended before all had joined"), std::string::npos)
      << met.value().why;
}

}  // namespace
}  // namespace rondo::actors
