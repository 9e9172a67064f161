#include <rondo/actors/collective/shm_collective.h>

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>

#include <gtest/gtest.h>

#include "ranks.h"

namespace rondo::collective {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kForks = false;   // ThreadSanitizer does not follow a fork of its threads
#else
constexpr bool kForks = true;
#endif

constexpr std::size_t kArena = std::size_t{1} << 20;

ShmCollective& shm(Group& group, int rank) {
  return static_cast<ShmCollective&>(*group[static_cast<std::size_t>(rank)]);
}

TEST(ShmCollectiveTest, DataInTheArenaGivesTheSameBitsWithoutACopy) {
  for (int size = 1; size <= 5; ++size) {
    Group group = shm_group({.size = size}, kArena);
    on_threads(size, [&](int rank) {
      for (const std::size_t count : {std::size_t{1}, std::size_t{17}, std::size_t{5000}}) {
        auto at = shm(group, rank).allocate<float>(count);
        ASSERT_TRUE(at) << at.error().what();
        const auto mine = values_of<float>(rank, count);
        std::memcpy(at.value().mine.data(), mine.data(), count * sizeof(float));
        for (int again = 0; again < 3; ++again)
          ASSERT_TRUE(shm(group, rank).all_reduce(std::span<const float>(at.value().mine),
                                                  at.value().result));
        const auto sum = tree_sum<float>(size, count);
        EXPECT_EQ(std::memcmp(at.value().result.data(), sum.data(), count * sizeof(float)), 0);
        // The result is one place for all: nobody allocates more before all have looked.
        ASSERT_TRUE(shm(group, rank).barrier());
      }
    });
  }
}

// Results of 8 MiB and more are written around the caches.
TEST(ShmCollectiveTest, LargeResultsHaveTheSameBits) {
  constexpr std::size_t kCount = (std::size_t{8} << 20) / sizeof(double) + 3;
  Group group = shm_group({.size = 2}, kCount * sizeof(double));
  on_threads(2, [&](int rank) {
    auto at = shm(group, rank).allocate<double>(kCount);
    ASSERT_TRUE(at);
    const auto mine = values_of<double>(rank, kCount);
    std::memcpy(at.value().mine.data(), mine.data(), kCount * sizeof(double));
    ASSERT_TRUE(
        shm(group, rank).all_reduce(std::span<const double>(at.value().mine), at.value().result));
    const auto sum = tree_sum<double>(2, kCount);
    EXPECT_EQ(std::memcmp(at.value().result.data(), sum.data(), kCount * sizeof(double)), 0);
  });
}

TEST(ShmCollectiveTest, AnArenaThatIsUsedUpSaysSo) {
  Group group = shm_group({.size = 1}, kArena);
  ASSERT_TRUE(shm(group, 0).allocate<float>(kArena / 8));
  const auto more = shm(group, 0).allocate<float>(kArena / 4);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), ErrorCode::kOverloaded);
}

TEST(ShmCollectiveTest, OneRankInTheArenaAndOneOutsideDisagree) {
  Group group = shm_group({.size = 2}, kArena);
  on_threads(2, [&](int rank) {
    auto at = shm(group, rank).allocate<float>(2000);
    ASSERT_TRUE(at);
    std::vector<float> own(2000);
    const auto done = rank == 0 ? shm(group, rank).all_reduce(
                                      std::span<const float>(at.value().mine), at.value().result)
                                : shm(group, rank).all_reduce(std::span<const float>(own),
                                                              std::span<float>(own));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::kInvalid);
    EXPECT_NE(std::string(done.error().what()).find("private memory"), std::string::npos);
    EXPECT_NE(std::string(done.error().what()).find("byte 0 of the shared memory"),
              std::string::npos);
  });
}

TEST(ShmCollectiveTest, ARankOfAnotherIncarnationSizeOrPlaceIsRefused) {
  auto fd = ShmSegment::make({1, Incarnation{2}, kArena});
  ASSERT_TRUE(fd);
  const ShmHandle handle{::getpid(), fd.value().get()};
  const auto refused = [&](const Member& member, std::size_t arena) {
    const auto joined = ShmCollective::join(member, {handle, arena});
    return joined ? std::string("joined") : std::string(joined.error().what());
  };
  EXPECT_NE(refused({0, 1, Incarnation{1}}, kArena).find("rank 0 is of incarnation 1, the group's "
                                                         "shared memory of 2"),
            std::string::npos);
  EXPECT_NE(refused({0, 2, Incarnation{2}}, kArena).find("expects 2 ranks"), std::string::npos);
  EXPECT_NE(refused({0, 1, Incarnation{2}}, kArena * 2).find("bytes each"), std::string::npos);
  const auto first = ShmCollective::join({0, 1, Incarnation{2}}, {handle, kArena});
  ASSERT_TRUE(first);
  EXPECT_NE(refused({0, 1, Incarnation{2}}, kArena).find("rank 0 is already taken"),
            std::string::npos);
}

TEST(ShmCollectiveTest, ARankThatNeverJoinsIsNamed) {
  auto fd = ShmSegment::make({2, Incarnation{1}, 0});
  ASSERT_TRUE(fd);
  const auto joined = ShmCollective::join({0, 2, Incarnation{1}, milliseconds(200)},
                                          {{::getpid(), fd.value().get()}, 0});
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.error().code(), ErrorCode::kTimeout);
  EXPECT_NE(std::string(joined.error().what()).find("rank 1 did not join"), std::string::npos);
}

// Rank 1's process takes its place and is killed; rank 2 never comes.
TEST(ShmCollectiveTest, ARankThatDiesBeforeAllHaveComeEndsTheJoin) {
  if (!kForks) GTEST_SKIP() << "processes are forked: not under ThreadSanitizer";
  auto fd = ShmSegment::make({3, Incarnation{1}, 0});
  ASSERT_TRUE(fd);
  const ShmHandle handle{::getpid(), fd.value().get()};
  const auto began = std::chrono::steady_clock::now();
  const auto statuses = on_processes(2, [&](int rank) {
    const auto join = [&] {
      const auto joined =
          ShmCollective::join({rank, 3, Incarnation{1}, seconds(100)}, {.handle = handle});
      return joined ? std::string() : std::string(joined.error().what());
    };
    if (rank == 1)   // one of two threads waits in the rank's place, the other finds it taken
      on_threads(2, [&](int) {
        if (join().find("rank 1 is already taken") != std::string::npos) ::raise(SIGKILL);
      });
    const std::string what = join();
    const bool clear = what.find("rank 1 (process ") != std::string::npos &&
                       what.find("ended") != std::string::npos;
    return clear ? 0 : 1;
  });
  EXPECT_EQ(statuses[0], 0);
  EXPECT_TRUE(WIFSIGNALED(statuses[1]) && WTERMSIG(statuses[1]) == SIGKILL);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
}

TEST(ShmCollectiveTest, MemoryThatIsNoGroupsIsRefused) {
  const auto joined = ShmCollective::join({0, 1, Incarnation{1}}, {{::getpid(), 987'654}, 0});
  EXPECT_FALSE(joined);
}

TEST(ShmCollectiveTest, ProcessesSumTheSameBits) {
  if (!kForks) GTEST_SKIP() << "processes are forked: not under ThreadSanitizer";
  auto fd = ShmSegment::make({3, Incarnation{1}, kArena});
  ASSERT_TRUE(fd);
  const ShmHandle handle{::getpid(), fd.value().get()};
  const auto statuses = on_processes(3, [&](int rank) {
    auto joined = ShmCollective::join({rank, 3, Incarnation{1}}, {handle, kArena});
    if (!joined) return 1;
    for (const std::size_t count : {std::size_t{100}, std::size_t{200'000}}) {
      const auto mine = values_of<float>(rank, count);
      std::vector<float> out(count);
      if (!joined.value()->all_reduce(std::span<const float>(mine), std::span<float>(out)))
        return 2;
      if (std::memcmp(out.data(), tree_sum<float>(3, count).data(), count * sizeof(float)) != 0)
        return 3;
    }
    return 0;
  });
  for (const int status : statuses) EXPECT_EQ(status, 0);
}

// Rank 1 is killed between its flags, in the middle of a stream of sums; the others' timeout is far
// away, so what ends their waits is the death.
TEST(ShmCollectiveTest, AKilledRankEndsTheOthersWaitsWithItsName) {
  if (!kForks) GTEST_SKIP() << "processes are forked: not under ThreadSanitizer";
  auto fd = ShmSegment::make({3, Incarnation{1}, kArena});
  ASSERT_TRUE(fd);
  const ShmHandle handle{::getpid(), fd.value().get()};
  const auto began = std::chrono::steady_clock::now();
  const auto statuses = on_processes(3, [&](int rank) {
    auto joined =
        ShmCollective::join({rank, 3, Incarnation{1}, seconds(100)}, {handle, kArena});
    if (!joined) return 1;
    std::vector<float> data(100'000, 1.0F);
    for (int call = 0; call < 1'000'000; ++call) {
      if (rank == 1 && call == 40) ::raise(SIGKILL);
      const auto done =
          joined.value()->all_reduce(std::span<const float>(data), std::span<float>(data));
      if (done) continue;
      const std::string what = done.error().what();
      const bool clear = what.find("rank 1 (process ") != std::string::npos &&
                         what.find("ended") != std::string::npos;
      return clear && call == 40 ? 0 : 2;
    }
    return 3;
  });
  EXPECT_EQ(statuses[0], 0);
  EXPECT_TRUE(WIFSIGNALED(statuses[1]) && WTERMSIG(statuses[1]) == SIGKILL);
  EXPECT_EQ(statuses[2], 0);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
}

}  // namespace
}  // namespace rondo::collective
