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
  Meeting meeting{7, 99, {}};
  for (int replica = 0; replica < count; ++replica) {
    sums.push_back(std::make_unique<GradientSum>(replica, count, kParts));
    auto place = sums.back()->open(7, way);
    ASSERT_TRUE(place) << place.error().what();
    meeting.places.push_back(place.value());
  }
  std::vector<std::thread> threads;
  for (int replica = 0; replica < count; ++replica)
    threads.emplace_back([&, replica] {
      GradientSum& sum = *sums[static_cast<std::size_t>(replica)];
      const auto met = sum.meet(meeting);
      ASSERT_TRUE(met) << met.error().what();
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

TEST(GradientSum, WhoHeardOfADeathEndsTheWaitOverZeroMq) {
  Meeting told;
  std::vector<std::unique_ptr<GradientSum>> sums;
  told.group = 3;
  told.key = 5;
  for (int replica = 0; replica < 2; ++replica) {
    sums.push_back(std::make_unique<GradientSum>(replica, 2, kParts));
    told.places.push_back(sums.back()->open(3, SumWay::kZmq).value());
  }
  ASSERT_TRUE(sums[0]->meet(told));
  sums[1].reset();   // died before it came
  hand_over(*sums[0], gradient_of(0, 1));
  tell_over(told, {true, false}, "replica 1 has died");
  const auto done = sums[0]->finish();
  ASSERT_TRUE(done) << done.error().what();
  EXPECT_EQ(done.value().end, SumEnd::kGivenUp);
  EXPECT_NE(done.value().why.find("replica 1 has died"), std::string::npos) << done.value().why;
}

TEST(GradientSum, AProcessThatDiedBeforeTheMeetingEndsItAtOnce) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_GT(child, 0);
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED), 0);
  GradientSum sum(0, 2, kParts);
  auto mine = sum.open(1, SumWay::kShm);
  ASSERT_TRUE(mine) << mine.error().what();
  Meeting meeting{1, 0, {mine.value(), mine.value()}};
  meeting.places[1].pid = child;
  const auto met = sum.meet(meeting);
  ASSERT_FALSE(met);
  EXPECT_NE(std::string(met.error().what()).find("ended before all had joined"),
            std::string::npos) << met.error().what();
}

}  // namespace
}  // namespace rondo::actors
