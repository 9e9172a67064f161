#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "started.h"

namespace rondo::exec {
namespace {

struct Started {
  std::string output;
  Exit exit;
};

// Runs it to its end and gives what it wrote.
Started run(LaunchSpec spec) {
  ProcessLauncher launcher;
  ProcessWatcher watcher;
  Pipe pipe;
  spec.output_fd = pipe.writer.get();
  watcher.watch_child(ProcessId{1}, launcher.launch(spec).value());
  Started started;
  started.output = pipe.read_all();
  started.exit = next_exit(watcher);
  return started;
}

TEST(ProcessLauncher, StartsWithEnvironmentFolderSessionAndDefaultSignals) {
  TemporaryFolder folder;
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &blocked,
                    nullptr);  // as a host that reads signals from a descriptor
  LaunchSpec spec = child({"state"});
  spec.directory = folder.path;
  spec.environment = {"COLOUR=blue"};
  EXPECT_EQ(run(spec).output, "death=9 session=1 int_blocked=0 pipe_default=1 folder=" +
                                  folder.path + " colour=blue");
  ::pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
}

TEST(ProcessLauncher, ChildReadsNothingFromItsParentsStdin) {
  Pipe typed;
  ASSERT_EQ(::write(typed.writer.get(), "x", 1), 1);
  const OwnedFd before(::dup(0));
  ASSERT_EQ(::dup2(typed.reader.get(), 0), 0);
  EXPECT_EQ(run(child({"stdin"})).output, "0");
  ::dup2(before.get(), 0);
}

TEST(ProcessLauncher, ChildHasOnlyTheDescriptorsNamed) {
  // Crossed over on purpose: each one's own number is the other's target.
  const OwnedFd open(::open("/dev/null", O_RDONLY));  // not close-on-exec: a program's own
  Pipe first;
  Pipe second;
  LaunchSpec spec = child({"descriptors"});
  spec.descriptors = {{first.reader.get(), second.reader.get()},
                      {second.reader.get(), first.reader.get()}};
  const int low = std::min(first.reader.get(), second.reader.get());
  const int high = std::max(first.reader.get(), second.reader.get());
  EXPECT_EQ(run(spec).output, "0 1 2 " + std::to_string(low) + " " + std::to_string(high) + " ");
}

TEST(ProcessLauncher, RunsAnOpenFileAfterItWasReplaced) {
  TemporaryFolder folder;
  const std::string copy = folder.path + "/program";
  std::filesystem::copy_file(CHILD_PROGRAM, copy);
  const OwnedFd fd(::open(copy.c_str(), O_RDONLY | O_CLOEXEC));
  std::filesystem::remove(copy);
  std::ofstream(copy) << "another build";
  LaunchSpec spec = child({"exit", "7"});
  spec.executable = copy;
  spec.executable_fd = fd.get();
  EXPECT_EQ(run(spec).exit.cause, "exited with code 7");
}

TEST(ProcessLauncher, AppendsBothOutputsToTheLog) {
  TemporaryFolder folder;
  ProcessLauncher launcher;
  ProcessWatcher watcher;
  for (const char* word : {"one", "two"}) {
    LaunchSpec spec = child({"say", word});
    spec.log_path = folder.path + "/log";
    watcher.watch_child(ProcessId{1}, launcher.launch(spec).value());
    next_exit(watcher);
  }
  std::ifstream log(folder.path + "/log");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(log), {}),
            "out one\nerr one\nout two\nerr two\n");
}

TEST(ProcessLauncher, SaysWhyItCannotStart) {
  TemporaryFolder folder;
  ProcessLauncher launcher;
  const auto error = [&](LaunchSpec spec) { return launcher.launch(std::move(spec)).error(); };
  LaunchSpec spec = child({"exit", "0"});
  spec.executable = "/none/such";
  EXPECT_EQ(error(spec).code(), ErrorCode::kNotFound);
  EXPECT_STREQ(error(spec).what(), "could not start /none/such: No such file or directory");
  spec.executable = folder.path;
  EXPECT_EQ(error(spec).what(), "could not start " + folder.path + ": it is not a file");
  spec.executable = folder.path + "/text";
  std::ofstream(spec.executable) << "just words";
  EXPECT_EQ(error(spec).what(), "could not start " + spec.executable + ": Permission denied");
  std::filesystem::permissions(spec.executable, std::filesystem::perms::owner_all);
  EXPECT_EQ(error(spec).what(),
            "could not start " + spec.executable + " is not a program for this machine");
  spec = child({"exit", "0"});
  spec.directory = "/none/such";
  EXPECT_NE(std::string(error(spec).what()).find("no folder /none/such"), std::string::npos);
  spec = child({"exit", "0"});
  spec.log_path = "/none/log";
  EXPECT_NE(std::string(error(spec).what()).find("could not write the log /none/log"),
            std::string::npos);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a failed start left a zombie";
}

TEST(ProcessLauncher, ChildDiesWithItsNode) {
  ProcessLauncher launcher;
  Pipe pipe;
  LaunchSpec spec = child({"node"});
  spec.output_fd = pipe.writer.get();
  ProcessWatcher watcher;
  watcher.watch_child(ProcessId{1}, launcher.launch(spec).value());
  const pid_t grandchild = std::stoi(pipe.read_line());
  ASSERT_TRUE(watcher.watch_other(ProcessId{2}, grandchild).ok());
  ASSERT_TRUE(watcher.kill(ProcessId{1}));
  std::set<ProcessId> gone;
  while (watcher.size() > 0)
    for (const Exit& exit : next_exits(watcher)) gone.insert(exit.process);
  EXPECT_EQ(gone, (std::set{ProcessId{1}, ProcessId{2}}));
}

TEST(ProcessLauncher, ChildOutlivesTheThreadThatAskedForIt) {
  ProcessLauncher launcher;
  ProcessWatcher watcher;
  std::thread([&] {
    watcher.watch_child(ProcessId{1}, launcher.launch(child({"wait"})).value());
  }).join();
  LaunchSpec other = child({"exit", "0"});
  watcher.watch_child(ProcessId{2}, launcher.launch(other).value());
  EXPECT_EQ(next_exit(watcher).process, ProcessId{2});  // by now the first would be dead too
  EXPECT_TRUE(watcher.poll().empty());
  watcher.kill(ProcessId{1});
  EXPECT_EQ(next_exit(watcher).cause, "killed by signal 9 (SIGKILL)");
}

TEST(ProcessLauncher, EndOfTheLauncherEndsItsChildren) {
  ProcessWatcher watcher;
  {
    ProcessLauncher launcher;
    watcher.watch_child(ProcessId{1}, launcher.launch(child({"wait"})).value());
  }
  EXPECT_EQ(next_exit(watcher).cause, "killed by signal 9 (SIGKILL)");
}

TEST(ParentWatch, TellsThatTheNodeIsGone) {
  ProcessLauncher launcher;
  ProcessWatcher watcher;
  Pipe pipe;
  LaunchSpec spec = child({"watched-node"});
  spec.output_fd = pipe.writer.get();
  watcher.watch_child(ProcessId{1}, launcher.launch(spec).value());
  EXPECT_EQ(pipe.read_line(), "watching");
  watcher.kill(ProcessId{1});
  EXPECT_EQ(pipe.read_line(), "gone");
  EXPECT_EQ(next_exit(watcher).process, ProcessId{1});
}

}  // namespace
}  // namespace rondo::exec
