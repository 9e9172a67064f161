#include <rondo/host/worker_start.h>

#include <gtest/gtest.h>

namespace rondo::host {
namespace {

TEST(WorkerStartTest, ArrivesAsItWasSent) {
  WorkerStart start;
  start.self = ProcessId{0xFFFFFFFFFFFFFFFFull};
  start.node = {ProcessId{2}, "ipc:///tmp/x"};
  start.node_id = NodeId{3};
  start.job = JobId{4};
  start.node_pid = 5;
  start.token = {6, 7};
  start.socket_folder = "/tmp/s";
  start.label = "Counter c";
  start.log_path = "/tmp/w.log";
  start.actor = {ProcessId{8}, 9};
  start.node_name = "n1";
  start.fingerprint = 10;
  const auto back = decode_worker_start(encode(start));
  ASSERT_TRUE(back.ok()) << back.error().what();
  EXPECT_EQ(back.value(), start);
}

TEST(WorkerStartTest, AnotherReleasesBytesAreRefusedInWords) {
  Bytes bytes = encode(WorkerStart{});
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_worker_start(ByteView(bytes).first(size)).ok());
  const auto refused = decode_worker_start(as_bytes("nonsense"));
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.error().what()).find("another release"), std::string::npos);
}

TEST(WorkerStartTest, ListensInTheFolderOrOnTheLoopback) {
  EXPECT_EQ(listen_address("/r/s", "w", ProcessId{31}), "ipc:///r/s/w-000000000000001f");
  EXPECT_EQ(listen_address("", "w", ProcessId{31}), "tcp://127.0.0.1:*");
}

}  // namespace
}  // namespace rondo::host
