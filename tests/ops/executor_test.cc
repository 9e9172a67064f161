#include <rondo/ops/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

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

#if defined(__linux__)
using Clock = std::chrono::steady_clock;

// Waits for what another thread does, for a while: it may never have begun.
template <class Condition>
void spin_until(const Condition& condition) {
  const auto end = Clock::now() + std::chrono::milliseconds(500);
  while (!condition() && Clock::now() < end) std::this_thread::yield();
}

TEST(ExecutorTest, HelperLeavesTheCallersProcessor) {
  cpu_set_t all, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "one processor only";
  const int home = sched_getcpu();
  CPU_ZERO(&one);
  CPU_SET(home, &one);
  const Executor executor(2);
  const auto caller = std::this_thread::get_id();
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  int helped = 0, away = 0;
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> begun{0};
    executor.run(2, [&](int) {   // each thread gets one of the two
      ++begun;
      spin_until([&] { return begun == 2; });
      if (std::this_thread::get_id() == caller) return;
      ++helped;
      if (sched_getcpu() != home) ++away;
      const auto end = Clock::now() + std::chrono::milliseconds(220);   // helpers move seldom
      spin_until([&] { return Clock::now() > end; });
      sched_setaffinity(0, sizeof one, &one);   // to where the caller is, free to go again
      sched_setaffinity(0, sizeof all, &all);
    });
  }
  sched_setaffinity(0, sizeof all, &all);
  EXPECT_GE(helped, 1);
  EXPECT_GE(away * 2, helped) << "of " << helped << " parts";
}
#endif

}  // namespace
}  // namespace rondo::ops
