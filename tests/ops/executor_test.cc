#include <rondo/ops/executor.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

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

}  // namespace
}  // namespace rondo::ops
