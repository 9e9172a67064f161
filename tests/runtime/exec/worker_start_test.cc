#include <gtest/gtest.h>

#include <rondo/exec/worker_start.h>

#include "started.h"

namespace rondo::exec {
namespace {

std::string run_worker(std::vector<std::string> environment, int start_fd) {
  ProcessLauncher launcher;
  ProcessWatcher watcher;
  Pipe pipe;
  LaunchSpec spec = child({"worker"});
  spec.environment = std::move(environment);
  if (start_fd >= 0) spec.descriptors = {{start_fd, kWorkerStartFd}};
  spec.output_fd = pipe.writer.get();
  watcher.watch_child(ProcessId{1}, launcher.launch(spec).value());
  const std::string output = pipe.read_all();
  return output + "; " + next_exit(watcher).cause;
}

TEST(WorkerStart, ReachesTheWorkerOnce) {
  const OwnedFd packed = pack_worker_start(as_bytes("job 7")).value();
  EXPECT_EQ(run_worker({worker_variable()}, packed.get()), "job 7; exited with code 0");
  EXPECT_EQ(run_worker({worker_variable()}, packed.get()), "job 7; exited with code 0");
}

TEST(WorkerStart, StrayVariableMakesNoWorker) {
  Pipe pipe;
  EXPECT_EQ(run_worker({worker_variable()}, -1), "no worker; exited with code 3");
  EXPECT_EQ(run_worker({worker_variable()}, pipe.reader.get()), "no worker; exited with code 3");
  EXPECT_EQ(run_worker({"RONDO_WORKER=x"}, -1), "no worker; exited with code 3");
  EXPECT_EQ(run_worker({}, -1), "no worker; exited with code 3");
}

TEST(WorkerStart, TooMuchIsRefused) {
  EXPECT_EQ(pack_worker_start(Bytes(kWorkerStartBytesMax + 1)).error().code(), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace rondo::exec
