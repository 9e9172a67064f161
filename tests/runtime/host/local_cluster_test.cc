#include <rondo/host/local_cluster.h>

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <rondo/base/prng.h>
#include <rondo/exec/worker_start.h>
#include <rondo/host/control_client.h>
#include <rondo/store/generations.h>
#include <rondo/store/hold_table.h>

#include "peer.h"

namespace rondo::host {
namespace {

namespace fs = std::filesystem;
using test::TestPeer;

bool alive(std::int64_t pid) { return ::kill(static_cast<pid_t>(pid), 0) == 0; }

// A driver by hand at the first node of a fresh cluster.
class LocalClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    home_ = fs::temp_directory_path() / ("rondo-lc-" + std::to_string(::getpid()));
    fs::remove_all(home_);
    fs::create_directories(home_);
    fs::permissions(home_, fs::perms::owner_all);
  }
  void TearDown() override {
    driver_.reset();
    cluster_.reset();
    EXPECT_TRUE(fs::is_empty(home_)) << "a cluster left something in its home";
    fs::remove_all(home_);
    ::unsetenv("MODE");
  }

  void start(unsigned nodes = 1) {
    auto started = LocalCluster::start({.nodes = nodes, .home = home_.string()});
    ASSERT_TRUE(started.ok()) << started.error().what();
    cluster_ = std::move(started).value();
  }
  void join() {
    driver_ = std::make_unique<TestPeer>(ProcessId{entropy()}, cluster_->socket_folder(), "d");
    driver_->hello(cluster_->node(), core::Role::kDriver);
    const auto welcome = driver_->expect<core::Welcome>();
    ASSERT_TRUE(welcome.has_value());
    welcome_ = *welcome;
  }
  core::JobSpec start_job() {
    core::JobSpec job = test::job_of_this_program(driver_->self(), cluster_->node());
    job.home = welcome_.node;
    driver_->send(cluster_->node().id, core::StartJob{RequestId{1}, job});
    EXPECT_TRUE(driver_->expect<core::JobStarted>().has_value());
    return job;
  }
  std::optional<core::LeaseGrant> lease(const core::JobSpec& job, std::uint64_t request,
                                        unsigned node = 0) {
    core::LeaseRequest ask;
    ask.request = RequestId{request};
    ask.owner = driver_->self();
    ask.job = job.id;
    ask.shape.cpu_milli = 1000;
    ask.owner_node = welcome_.node;
    driver_->learn(cluster_->node(node));
    driver_->send(cluster_->node(node).id, ask);
    return driver_->expect<core::LeaseGrant>();
  }
  std::int64_t pid_of(ProcessId worker, unsigned node = 0) {
    auto client =
        ControlClient::connect({cluster_->node(node).address, {}, cluster_->socket_folder(), ""});
    if (!client) return 0;
    auto text = client.value()->inspect("workers");
    if (!text) return 0;
    const std::size_t at = text.value().find(to_string(worker));
    if (at == std::string::npos) return 0;
    const std::size_t pid = text.value().find("\"pid\":", at);
    return std::strtoll(text.value().c_str() + pid + 6, nullptr, 10);
  }

  fs::path home_;
  std::unique_ptr<LocalCluster> cluster_;
  std::unique_ptr<TestPeer> driver_;
  core::Welcome welcome_;
};

TEST_F(LocalClusterTest, WelcomesADriverAndHandsItTheStoresPages) {
  start();
  join();
  EXPECT_TRUE(welcome_.node);
  EXPECT_EQ(welcome_.node_name, "n1");
  EXPECT_EQ(welcome_.node_pid, ::getpid());
  EXPECT_TRUE(store::GenerationBoard::attach(welcome_.node_pid, welcome_.board_fd).ok());
  EXPECT_TRUE(store::HoldPage::attach(welcome_.node_pid, welcome_.hold_fd).ok());
}

TEST_F(LocalClusterTest, StartsAWorkerFromTheDriversExecutableAndLendsIt) {
  start();
  join();
  const core::JobSpec job = start_job();
  const auto grant = lease(job, 2);
  ASSERT_TRUE(grant.has_value());
  const std::int64_t pid = pid_of(grant->worker.id);
  ASSERT_GT(pid, 0);
  const std::string executable = fs::read_symlink("/proc/" + std::to_string(pid) + "/exe");
  EXPECT_NE(executable.find(cluster_->folder()), std::string::npos) << executable;
  cluster_.reset();
  EXPECT_FALSE(alive(pid));
}

TEST_F(LocalClusterTest, SaysWithinAMomentThatAWorkerWasKilledAndWhatItHadBegun) {
  start();
  join();
  const core::JobSpec job = start_job();
  const auto grant = lease(job, 2);
  ASSERT_TRUE(grant.has_value());
  const std::int64_t pid = pid_of(grant->worker.id);
  ASSERT_GT(pid, 0);
  const TimeNs before = boot_time();
  ::kill(static_cast<pid_t>(pid), SIGKILL);
  auto died = driver_->expect<core::ProcessDied>();
  while (died && died->process != grant->worker.id)  // the verb that asked for the pid ends too
    died = driver_->expect<core::ProcessDied>();
  ASSERT_TRUE(died.has_value());
  EXPECT_LT(boot_time() - before, milliseconds(500));
  EXPECT_EQ(died->process, grant->worker.id);
  EXPECT_NE(died->cause.find("killed by signal 9 (SIGKILL)"), std::string::npos) << died->cause;
  EXPECT_NE(died->cause.find(".log"), std::string::npos) << died->cause;
  ASSERT_EQ(died->begun.size(), 1u);
  EXPECT_EQ(died->begun[0].caller, ProcessId{77});
  EXPECT_EQ(died->begun[0].number, 5u);
}

TEST_F(LocalClusterTest, ACrashIsToldWithTheLastWordsOfTheLog) {
  ::setenv("MODE", "crash", 1);
  start();
  join();
  const core::JobSpec job = start_job();
  lease(job, 2);
  const auto died = driver_->expect<core::ProcessDied>();
  ASSERT_TRUE(died.has_value());
  EXPECT_NE(died->cause.find("SIGSEGV"), std::string::npos) << died->cause;
  EXPECT_NE(died->cause.find("about to fall"), std::string::npos) << died->cause;
}

TEST_F(LocalClusterTest, AWorkerThatEndsBeforeItsHelloRefusesTheLeaseInWords) {
  ::setenv("MODE", "exit early", 1);
  start();
  join();
  const core::JobSpec job = start_job();
  core::LeaseRequest ask;
  ask.request = RequestId{2};
  ask.owner = driver_->self();
  ask.job = job.id;
  ask.shape.cpu_milli = 1000;
  driver_->send(cluster_->node().id, ask);
  const auto refused = driver_->expect<core::LeaseRefused>(seconds(40));
  ASSERT_TRUE(refused.has_value());
  EXPECT_NE(refused->failure.text.find("exited with code 3"), std::string::npos)
      << refused->failure.text;
}

TEST_F(LocalClusterTest, WorkersLinesReachTheDriversStderrWithTheirOrigin) {
  testing::internal::CaptureStderr();
  start();
  join();
  const core::JobSpec job = start_job();
  const auto grant = lease(job, 2);
  cluster_->flush_logs();
  const std::string shown = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(grant.has_value());
  EXPECT_NE(shown.find(", n1, pid "), std::string::npos) << shown;
  EXPECT_NE(shown.find("speaks"), std::string::npos) << shown;
}

TEST_F(LocalClusterTest, ASecondNodeFetchesTheExecutableAndRunsItsOwnCopy) {
  start(2);
  join();
  const core::JobSpec job = start_job();
  std::vector<fs::path> copies;
  for (unsigned node : {0u, 1u}) {
    const auto grant = lease(job, 2 + node, node);
    ASSERT_TRUE(grant.has_value()) << node;
    const std::int64_t pid = pid_of(grant->worker.id, node);
    ASSERT_GT(pid, 0) << node;
    copies.push_back(fs::read_symlink("/proc/" + std::to_string(pid) + "/exe"));
  }
  EXPECT_NE(copies[0].string().find("/nodes/n1/cache/"), std::string::npos) << copies[0];
  EXPECT_NE(copies[1].string().find("/nodes/n2/cache/"), std::string::npos) << copies[1];
  EXPECT_EQ(copies[0].filename(), copies[1].filename());  // the hash of its bytes
}

TEST_F(LocalClusterTest, TheHeadListsItsNodesAndOneOfThisMachineIsFound) {
  start(2);
  join();
  auto head = ControlClient::connect({cluster_->head().address, {}, cluster_->socket_folder(), ""});
  ASSERT_TRUE(head.ok()) << head.error().what();
  EXPECT_TRUE(head.value()->is_head());
  std::string nodes;
  for (int tries = 0; tries < 100; ++tries) {  // the second one joins in its own time
    auto text = head.value()->inspect("nodes");
    ASSERT_TRUE(text.ok()) << text.error().what();
    nodes = text.value();
    if (nodes.find("\"n2\"") != std::string::npos) break;
  }
  EXPECT_NE(nodes.find("\"n1\""), std::string::npos) << nodes;
  EXPECT_NE(nodes.find("\"n2\""), std::string::npos) << nodes;
  const ClusterPlace place{cluster_->head().address, {}, cluster_->socket_folder(), ""};
  const auto node = find_local_node(place);
  ASSERT_TRUE(node.ok()) << node.error().what();
  EXPECT_TRUE(node.value() == cluster_->node(0) || node.value() == cluster_->node(1));
}

TEST_F(LocalClusterTest, AKilledProcessLeavesNothingThatTheNextStartDoesNotRemove) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/proc/self/exe", "local_cluster_test", "--cluster", home_.c_str(), nullptr);
    ::_exit(127);
  }
  const TimeNs limit = boot_time() + seconds(20);
  while (!fs::exists(home_ / "up") && boot_time() < limit) ::sched_yield();
  ASSERT_TRUE(fs::exists(home_ / "up"));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  std::ifstream in(home_ / "up");
  std::int64_t worker = 0;
  in >> worker;
  fs::remove(home_ / "up");
  while (alive(worker) && boot_time() < limit) ::sched_yield();
  EXPECT_FALSE(alive(worker));
  EXPECT_FALSE(fs::is_empty(home_));
  start();
  EXPECT_EQ(std::distance(fs::directory_iterator(home_), fs::directory_iterator()), 1);
}

TEST_F(LocalClusterTest, IsUpQuicklyAndSmall) {
  const TimeNs before = boot_time();
  start();
  join();
  const DurationNs up = boot_time() - before;
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line) && !line.starts_with("VmRSS")) {
  }
  std::printf("up in %.1f ms, %s\n", static_cast<double>(up.ns) / 1e6, line.c_str());
  EXPECT_LT(up, seconds(2));  // 200 ms on a quiet machine
}

// The victim of the test above: a cluster with one worker, until it is killed.
int be_a_cluster(const char* home) {
  auto cluster = LocalCluster::start({.home = home, .show_logs = false});
  if (!cluster) return 5;
  TestPeer driver(ProcessId{entropy()}, cluster.value()->socket_folder(), "d");
  driver.hello(cluster.value()->node(), core::Role::kDriver);
  const auto welcome = driver.expect<core::Welcome>();
  if (!welcome) return 4;
  core::JobSpec job = test::job_of_this_program(driver.self(), cluster.value()->node());
  job.home = welcome->node;
  driver.send(cluster.value()->node().id, core::StartJob{RequestId{1}, job});
  core::LeaseRequest ask;
  ask.request = RequestId{2};
  ask.owner = driver.self();
  ask.job = job.id;
  ask.shape.cpu_milli = 1000;
  driver.send(cluster.value()->node().id, ask);
  const auto grant = driver.expect<core::LeaseGrant>();
  if (!grant) return 1;
  auto client = ControlClient::connect(
      {cluster.value()->node().address, {}, cluster.value()->socket_folder(), ""});
  auto text = client.value()->inspect("workers");
  const std::size_t at =
      text.value().find("\"pid\":", text.value().find(to_string(grant->worker.id)));
  {
    std::ofstream out(std::string(home) + "/up.part");
    out << std::strtoll(text.value().c_str() + at + 6, nullptr, 10) << "\n";
  }
  fs::rename(std::string(home) + "/up.part", std::string(home) + "/up");
  for (;;) driver.pump(seconds(1));
}

}  // namespace
}  // namespace rondo::host

int main(int argc, char** argv) {
  if (auto bytes = rondo::exec::take_worker_start()) {
    const auto start = rondo::host::decode_worker_start(*bytes);
    if (!start) return 5;
    rondo::host::test::serve(start.value());
  }
  if (argc == 3 && std::string(argv[1]) == "--cluster") return rondo::host::be_a_cluster(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
