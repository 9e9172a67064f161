#include <rondo/host/work_thread.h>

#include <gtest/gtest.h>

#include <future>
#include <vector>

namespace rondo::host {
namespace {

TEST(WorkThreadTest, RunsTasksInOrderAndIsIdleAfterwards) {
  WorkThread thread("test");
  EXPECT_TRUE(thread.idle());
  std::vector<int> order;
  std::promise<void> done;
  for (int i = 0; i < 100; ++i) thread.run([&order, i] { order.push_back(i); });
  thread.run([&done] { done.set_value(); });
  done.get_future().wait();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  while (!thread.idle()) std::this_thread::yield();
}

TEST(WorkThreadTest, EndsWithTheTaskAtHandAndDropsTheRest) {
  int runs = 0;
  {
    std::promise<void> begun;
    std::promise<void> go;
    auto thread = std::make_unique<WorkThread>("test");
    thread->run([&] {
      begun.set_value();
      go.get_future().wait();
      ++runs;
    });
    begun.get_future().wait();
    EXPECT_FALSE(thread->idle());
    thread->run([&runs] { runs += 100; });
    std::thread ender([&] { thread.reset(); });
    go.set_value();
    ender.join();
  }
  EXPECT_EQ(runs % 100, 1);
}

}  // namespace
}  // namespace rondo::host
