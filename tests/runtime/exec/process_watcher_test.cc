#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <rondo/exec/parent_watch.h>

#include "started.h"

namespace rondo::exec {
namespace {

struct Watch {
  ProcessLauncher launcher;
  ProcessWatcher watcher;

  void start(std::uint64_t process, std::vector<std::string> arguments) {
    watcher.watch_child(ProcessId{process}, launcher.launch(child(std::move(arguments))).value());
  }
};

TEST(ProcessWatcher, SaysHowEachEnded) {
  Watch w;
  w.start(1, {"exit", "1"});
  const Exit exited = next_exit(w.watcher);
  EXPECT_EQ(exited.process, ProcessId{1});
  EXPECT_EQ(exited.cause, "exited with code 1");
  EXPECT_EQ(exited.code, 1);
  EXPECT_FALSE(exited.signal);
  w.start(2, {"signal", std::to_string(SIGTERM)});
  const Exit killed = next_exit(w.watcher);
  EXPECT_EQ(killed.cause, "killed by signal 15 (SIGTERM)");
  EXPECT_EQ(killed.signal, SIGTERM);
  EXPECT_EQ(w.watcher.size(), 0U);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
}

TEST(ProcessWatcher, TellsEachExitOnceOutOfMany) {
  Watch w;
  constexpr std::uint64_t kMany = 100;
  for (std::uint64_t n = 1; n <= kMany; ++n) w.start(n, {"exit", std::to_string(n)});
  std::vector<bool> seen(kMany + 1);
  for (std::uint64_t n = 0; n < kMany;) {
    wait_readable(w.watcher.fd());
    for (const Exit& exit : w.watcher.poll()) {
      EXPECT_FALSE(seen.at(exit.process.value));
      seen[exit.process.value] = true;
      EXPECT_EQ(exit.code, static_cast<int>(exit.process.value));
      ++n;
    }
  }
  EXPECT_TRUE(w.watcher.poll().empty());
}

TEST(ProcessWatcher, ForgottenChildIsReapedInSilence) {
  Watch w;
  w.start(1, {"exit", "0"});
  w.watcher.forget(ProcessId{1});
  EXPECT_FALSE(w.watcher.signal(ProcessId{1}, SIGTERM));
  while (w.watcher.size() > 0) {
    wait_readable(w.watcher.fd());
    EXPECT_TRUE(w.watcher.poll().empty());
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST(ProcessWatcher, ProcessThatIsGoneCannotBeWatched) {
  ProcessWatcher watcher;
  EXPECT_EQ(watcher.watch_other(ProcessId{1}, 999'999'999).error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(watcher.kill(ProcessId{1}));
}

TEST(ProcessWatcher, WaitingForAllEndsAtTheLimit) {
  Watch w;
  w.start(1, {"wait"});
  w.start(2, {"exit", "3"});
  std::vector<Exit> exits = w.watcher.wait_all(milliseconds(200));
  ASSERT_EQ(exits.size(), 2U);
  EXPECT_EQ(exits[0].cause, "exited with code 3");
  EXPECT_EQ(exits[1].cause, "killed by signal 9 (SIGKILL)");
  EXPECT_TRUE(w.watcher.wait_all(seconds(10)).empty());
}

TEST(ParentWatch, RefusesWhoIsNotTheParent) {
  EXPECT_FALSE(ParentWatch::begin(::getpid()).ok());
  EXPECT_FALSE(ParentWatch::begin(1).ok() && ::getppid() != 1);
}

TEST(ProcessWatcher, NamesSignals) {
  EXPECT_EQ(signal_name(SIGKILL), "SIGKILL");
  EXPECT_EQ(signal_name(SIGSEGV), "SIGSEGV");
  EXPECT_EQ(signal_name(1000), "signal 1000");
}

}  // namespace
}  // namespace rondo::exec
