#include <rondo/actors/collective/bucketer.h>

#include <atomic>
#include <cstring>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>

#include <rondo/actors/collective/shm_collective.h>

#include "ranks.h"

namespace rondo::collective {
namespace {

const std::vector<std::size_t> kSizes = {700, 30, 5000, 0, 64, 900, 2000, 10};

std::size_t elements() { return std::accumulate(kSizes.begin(), kSizes.end(), std::size_t{0}); }

TEST(BucketerTest, BucketsAreFilledFromTheEndAndCutBetweenTensors) {
  Group group = shm_group({.size = 1});
  const Bucketer bucketer(*group[0], kSizes, 4000);   // 1000 elements
  const std::vector<Part> expected = {{6694, 2010}, {730, 5964}, {0, 730}};
  ASSERT_EQ(bucketer.buckets().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(bucketer.buckets()[i].begin, expected[i].begin);
    EXPECT_EQ(bucketer.buckets()[i].count, expected[i].count);
  }
}

// Two ranks whose tensors become ready in different orders.
TEST(BucketerTest, TheSumsAreThoseOfOneCallWhateverBecomesReadyFirst) {
  for (const std::string kind : {"shm", "ring"}) {
    Group group = group_of(kind, {.size = 2});
    on_threads(2, [&](int rank) {
      std::vector<float> gradient;
      Bucketer bucketer(*group[static_cast<std::size_t>(rank)], kSizes, 4000);
      for (int step = 0; step < 5; ++step) {
        gradient = values_of<float>(rank + 2 * step, elements());
        auto others = values_of<float>(1 - rank + 2 * step, elements());
        bucketer.use(gradient, gradient);
        for (std::size_t k = 0; k < kSizes.size(); ++k)
          bucketer.ready(rank == 0 ? kSizes.size() - 1 - k : (k * 3 + 1) % kSizes.size());
        const auto done = bucketer.finish();
        ASSERT_TRUE(done) << done.error().what();
        const auto mine = values_of<float>(rank + 2 * step, elements());
        for (std::size_t i = 0; i < others.size(); ++i) others[i] += mine[i];
        EXPECT_EQ(std::memcmp(gradient.data(), others.data(), others.size() * sizeof(float)), 0);
      }
    });
  }
}

// A Collective that says when a sum begins.
class Watched final : public Collective {
 public:
  Watched() : Collective({0, 1, Incarnation{1}}) {}
  void abort(std::string_view) override {}
  [[nodiscard]] std::size_t sums() const { return sums_; }
  void wait_for_sum() { sums_.wait(0); }

 private:
  Result<void> carry_out(const Operation&, std::uint64_t) override {
    ++sums_;
    sums_.notify_all();
    return {};
  }
  std::atomic<std::size_t> sums_{0};
};

TEST(BucketerTest, AFullBucketIsSummedBeforeTheOtherTensorsAreReady) {
  Watched group;
  std::vector<float> gradient(30);
  Bucketer bucketer(group, {10, 10, 10}, 40);
  bucketer.use(gradient, gradient);
  bucketer.ready(0);   // full, but its turn comes last
  bucketer.ready(2);
  group.wait_for_sum();   // tensor 1 is not ready, and will not be before this returns
  EXPECT_EQ(group.sums(), 1U);
  bucketer.ready(1);
  ASSERT_TRUE(bucketer.finish());
  EXPECT_EQ(group.sums(), 3U);
}

TEST(BucketerTest, AFailureEndsTheStepAndEveryLaterOne) {
  Group group = shm_group({.size = 2, .timeout = milliseconds(200)});
  std::vector<float> gradient(200);
  Bucketer bucketer(*group[0], {100, 100}, 100);   // rank 1 never comes
  bucketer.use(gradient, gradient);
  for (int step = 0; step < 2; ++step) {
    bucketer.ready(1);
    bucketer.ready(0);
    const auto done = bucketer.finish();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::kTimeout);
  }
}

TEST(BucketerTest, AStepThatIsGivenUpEndsTheOthersWaits) {
  for (const std::string kind : {"shm", "ring"}) {
    Group group = group_of(kind, {.size = 2});
    on_threads(2, [&](int rank) {
      std::vector<float> gradient(200);
      Bucketer bucketer(*group[static_cast<std::size_t>(rank)], {100, 100}, 100);
      bucketer.use(gradient, gradient);
      bucketer.ready(1);
      if (rank == 0) return;   // a backward pass that threw
      bucketer.ready(0);
      const auto done = bucketer.finish();
      ASSERT_FALSE(done);
      EXPECT_EQ(done.error().code(), ErrorCode::kCancelled);
      EXPECT_NE(std::string(done.error().what()).find("given up on rank 0"), std::string::npos);
    });
  }
}

}  // namespace
}  // namespace rondo::collective
