#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include <rondo/store/marks_page.h>

#include "child_process.h"

namespace rondo::store {
namespace {

TEST(MarksPage, NodeReadsWhatAKilledWorkerHadBegun) {
  const auto page = MarksPage::create().value();
  const int code = in_child_process([&] {
    auto mine = MarksPage::attach(OwnedFd(::dup(page->fd())));
    if (!mine) return 1;
    for (std::uint64_t number = 1; number <= 1000; ++number)
      mine.value()->begun(ProcessId{20}, number);
    mine.value()->begun(ProcessId{10}, 7);
    mine.value()->begun(ProcessId{10}, 5);  // a later start of an earlier call
    ::raise(SIGKILL);
    return 2;
  });
  EXPECT_EQ(code, -SIGKILL);
  const MarksPage::Begun begun = page->read();
  EXPECT_FALSE(begun.everything);
  ASSERT_EQ(begun.marks.size(), 2U);
  EXPECT_EQ(begun.marks[0].caller, ProcessId{10});
  EXPECT_EQ(begun.marks[0].number, 7U);
  EXPECT_EQ(begun.marks[1].caller, ProcessId{20});
  EXPECT_EQ(begun.marks[1].number, 1000U);
}

TEST(MarksPage, MoreCallersThanRoomMeansEverything) {
  const auto page = MarksPage::create().value();
  for (std::uint64_t caller = 1; caller <= MarksPage::kCallers; ++caller)
    page->begun(ProcessId{caller * 7919}, caller);
  EXPECT_FALSE(page->read().everything);
  EXPECT_EQ(page->read().marks.size(), MarksPage::kCallers);
  page->begun(ProcessId{3}, 1);
  EXPECT_TRUE(page->read().everything);
  page->begun(ProcessId{7919}, 9'000);  // those with a place go on
  EXPECT_EQ(page->read().marks[0].number, 9'000U);
}

TEST(MarksPage, ThreadsKeepTheHighestNumber) {
  const auto page = MarksPage::create().value();
  const auto mark = [&](std::uint64_t first) {
    for (std::uint64_t n = first; n <= 20'000; n += 2) {
      page->begun(ProcessId{1 + n % 3}, n);
    }
  };
  std::thread other([&] { mark(1); });
  mark(2);
  other.join();
  const auto begun = page->read();
  ASSERT_EQ(begun.marks.size(), 3U);
  for (const auto& entry : begun.marks) EXPECT_GT(entry.number, 19'997U);
}

TEST(MarksPage, WorkerFallsSilentAtTheTermsEnd) {
  const auto node = MarksPage::create().value();
  const auto worker = MarksPage::attach(OwnedFd(::dup(node->fd()))).value();
  EXPECT_TRUE(worker->may_speak({1'000'000}));  // no term set yet
  node->set_term_end({500});
  EXPECT_TRUE(worker->may_speak({499}));
  EXPECT_FALSE(worker->may_speak({500}));
  node->set_term_end({900});
  EXPECT_TRUE(worker->may_speak({500}));
}

TEST(MarksPage, RefusesAnotherDescriptor) {
  EXPECT_FALSE(MarksPage::attach(OwnedFd(::open("/dev/null", O_RDWR))).ok());
}

}  // namespace
}  // namespace rondo::store
