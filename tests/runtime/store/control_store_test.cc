#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>

#include <condition_variable>
#include <fstream>
#include <mutex>

#include <rondo/store/control_store.h>

#include "child_process.h"
#include "temporary_folder.h"

namespace rondo::store {
namespace {

// Waits for the store's thread through the wake function that it is given.
class Waker {
 public:
  std::function<void()> wake() {
    return [this] {
      const std::lock_guard lock(mutex_);
      ++wakes_;
      changed_.notify_all();
    };
  }
  template <class Condition>
  void until(Condition condition) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, condition);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int wakes_ = 0;
};

struct Fixture {
  TemporaryFolder folder;
  std::string path = folder.path + "/state.sqlite";
  Waker waker;

  Result<std::unique_ptr<ControlStore>> open(std::uint64_t bytes_max = std::uint64_t{1} << 30) {
    return open_sqlite_store({.path = path, .wake = waker.wake(), .bytes_max = bytes_max});
  }
};

Bytes value(std::string_view text) { return to_bytes(as_bytes(text)); }

TEST(ControlStore, RemembersAcrossLives) {
  Fixture fix;
  {
    const auto store = fix.open().value();
    EXPECT_TRUE(store->load().value().empty());
    store->write({1, {{"a", value("1")}, {"b", value("2")}}});
    store->write({2, {{"a", value("3")}, {std::string("c\0d", 3), Bytes{}}}});
    store->write({3, {{"b", std::nullopt}, {"none", std::nullopt}}});
    fix.waker.until([&] { return store->durable() == 3; });
    EXPECT_EQ(store->load().value().size(), 2U);
  }
  const auto store = fix.open().value();
  const ControlRows rows = store->load().value();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(as_text(rows.at("a")), "3");
  EXPECT_TRUE(rows.at(std::string("c\0d", 3)).empty());
}

TEST(ControlStore, EndingWritesWhatWaits) {
  Fixture fix;
  {
    const auto store = fix.open().value();
    for (std::uint64_t n = 1; n <= 5'000; ++n) store->write({n, {{std::to_string(n), value("x")}}});
  }
  EXPECT_EQ(fix.open().value()->load().value().size(), 5'000U);
}

TEST(ControlStore, KilledHeadLosesNothingThatWasDurable) {
  Fixture fix;
  const int code = in_child_process([&] {
    Waker waker;
    const auto store = open_sqlite_store({.path = fix.path, .wake = waker.wake()});
    if (!store) return 1;
    for (std::uint64_t n = 1; n <= 300; ++n)
      store.value()->write({n, {{std::to_string(n), value("x")}}});
    waker.until([&] { return store.value()->durable() == 300; });
    store.value()->write({301, {{"301", value("x")}}});
    ::raise(SIGKILL);
    return 2;
  });
  EXPECT_EQ(code, -SIGKILL);
  const auto rows = fix.open().value()->load().value();
  for (int n = 1; n <= 300; ++n) EXPECT_TRUE(rows.contains(std::to_string(n)));
}

TEST(ControlStore, SecondHeadIsRefused) {
  Fixture fix;
  const auto first = fix.open().value();
  const int code = in_child_process([&] {
    const auto second = open_sqlite_store({.path = fix.path, .wake = {}});
    if (second) return 1;
    const std::string_view text = second.error().what();
    return text.find("in use by another head") != std::string_view::npos ? 10 : 2;
  });
  EXPECT_EQ(code, 10);
}

TEST(ControlStore, DamagedStateIsSaidSo) {
  Fixture fix;
  std::ofstream(fix.path) << std::string(10'000, 'x');
  const auto store = fix.open();
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code(), ErrorCode::kUnavailable);
  EXPECT_NE(std::string(store.error().what()).find("is damaged"), std::string::npos)
      << store.error().what();
}

TEST(ControlStore, DamageInsideIsFoundAtOpening) {
  Fixture fix;
  {
    const auto store = fix.open().value();
    for (std::uint64_t n = 1; n <= 2'000; ++n)
      store->write({n, {{std::to_string(n), value(std::string(200, 'x'))}}});
  }
  {
    std::fstream file(fix.path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(3 * 4096);
    file << std::string(8192, '\xAA');
  }
  const auto store = fix.open();
  ASSERT_FALSE(store.ok());
  EXPECT_NE(std::string(store.error().what()).find("is damaged"), std::string::npos)
      << store.error().what();
}

TEST(ControlStore, AnotherSchemaIsRefused) {
  Fixture fix;
  { const auto store = fix.open().value(); }
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(fix.path.c_str(), &db), SQLITE_OK);
  sqlite3_exec(db, "PRAGMA user_version = 99", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  const auto store = fix.open();
  ASSERT_FALSE(store.ok());
  EXPECT_NE(std::string(store.error().what()).find("schema 99"), std::string::npos)
      << store.error().what();
}

TEST(ControlStore, FullDiskEndsItInOneSentence) {
  Fixture fix;
  const auto store = fix.open(std::uint64_t{256} << 10).value();
  std::uint64_t number = 0;
  while (!store->failure() && number < 1'000) {
    const std::uint64_t written = ++number;
    store->write({written, {{std::to_string(number), Bytes(4'000)}}});
    fix.waker.until([&] { return store->failure() || store->durable() == written; });
  }
  ASSERT_TRUE(store->failure());
  EXPECT_NE(std::string(store->failure()->what()).find("disk is full"), std::string::npos)
      << store->failure()->what();
  EXPECT_EQ(store->durable(), number - 1);
  store->write(
      {number + 1, {{"late", value("x")}}});  // nothing happens, and nothing is said to be durable
  EXPECT_EQ(store->durable(), number - 1);
}

TEST(ControlStore, MissingFolderIsSaidSo) {
  Fixture fix;
  fix.path = fix.folder.path + "/none/state.sqlite";
  const auto store = fix.open();
  ASSERT_FALSE(store.ok());
  EXPECT_NE(std::string(store.error().what()).find("cannot be opened"), std::string::npos)
      << store.error().what();
}

}  // namespace
}  // namespace rondo::store
