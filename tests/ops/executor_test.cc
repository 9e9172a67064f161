#include <rondo/ops/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

namespace rondo::ops {
namespace {

TEST(ExecutorTest, RunsEveryPartOnce) {
  for (const int threads : {1, 2, 4}) {
    const Executor executor(threads);
    for (const int parts : {0, 1, 2, 3, 100}) {
      std::array<std::atomic<int>, 100> seen{};
      executor.run(parts, [&](int part) { ++seen[static_cast<std::size_t>(part)]; });
      for (int part = 0; part < 100; ++part)
        EXPECT_EQ(seen[static_cast<std::size_t>(part)], part < parts ? 1 : 0);
    }
  }
}

TEST(ExecutorTest, OneThreadRunsInPlace) {
  const Executor executor(1);
  const auto caller = std::this_thread::get_id();
  executor.run(10, [&](int) { EXPECT_EQ(std::this_thread::get_id(), caller); });
}

// Long enough that a helper takes its share where there is a core for it.
void work(int turns) {
  volatile int sink = 0;
  for (int i = 0; i < turns; ++i) sink = sink + 1;
}

TEST(ExecutorTest, ManyShortRunsEachFinishBeforeTheNext) {
  const Executor executor(4);
  std::array<int, 7> sums{};
  for (int round = 1; round <= 20000; ++round) {
    executor.run(7, [&](int part) {
      work(500);
      sums[static_cast<std::size_t>(part)] += part + 1;
    });
    for (int part = 0; part < 7; ++part)
      ASSERT_EQ(sums[static_cast<std::size_t>(part)], round * (part + 1));
  }
}

TEST(ExecutorTest, RunInsideAPartRunsInPlace) {
  const Executor executor(2);
  std::array<std::atomic<int>, 4> seen{};
  executor.run(4, [&](int part) {
    const auto here = std::this_thread::get_id();
    executor.run(3, [&](int) {
      EXPECT_EQ(std::this_thread::get_id(), here);
      ++seen[static_cast<std::size_t>(part)];
    });
  });
  for (const auto& count : seen) EXPECT_EQ(count, 3);
}

// The helpers of one that ended may still be waiting when the next ones ask for theirs.
TEST(ExecutorTest, ExecutorsComeAndGoAndTakeTurns) {
  std::atomic<int> calls = 0;
  for (int round = 0; round < 200; ++round) {
    const Executor a(2), b(3);
    for (int turn = 0; turn < 5; ++turn) {
      a.run(3, [&](int) { ++calls; });
      b.run(5, [&](int) { ++calls; });
    }
  }
  EXPECT_EQ(calls, 200 * 5 * 8);
}

TEST(ExecutorTest, ThreadsUseTheirOwnExecutorsAtOnce) {
  std::array<std::atomic<int>, 3> calls{};
  std::vector<std::thread> users;
  for (std::size_t user = 0; user < calls.size(); ++user) {
    users.emplace_back([&calls, user] {
      const Executor executor(2);
      for (int round = 0; round < 2000; ++round) executor.run(4, [&](int) { ++calls[user]; });
    });
  }
  for (std::thread& user : users) user.join();
  for (const auto& count : calls) EXPECT_EQ(count, 8000);
}

}  // namespace
}  // namespace rondo::ops
