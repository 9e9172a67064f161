#include <rondo/host/head_host.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include <rondo/base/prng.h>
#include <rondo/host/control_client.h>
#include <rondo/store/dirs.h>

#include "peer.h"

namespace rondo::host {
namespace {

namespace fs = std::filesystem;

class HeadHostTest : public testing::Test {
 protected:
  void SetUp() override {
    home_ = fs::temp_directory_path() / ("rondo-head-" + std::to_string(::getpid()));
    fs::remove_all(home_);
    fs::create_directories(home_);
    fs::permissions(home_, fs::perms::owner_all);
    auto entered = store::ClusterFolder::enter(home_, "main");
    ASSERT_TRUE(entered.ok()) << entered.error().what();
    folder_.emplace(std::move(entered).value());
  }
  void TearDown() override {
    if (folder_) folder_->leave_and_remove();
    fs::remove_all(home_);
  }
  Result<std::unique_ptr<HeadHost>> open(const std::string& listen = "", core::Token token = {}) {
    HeadHostOptions options;
    options.listen = listen.empty() ? folder_->paths().socket_address("head").value() : listen;
    options.token = token;
    options.state_path = folder_->paths().state();
    options.cluster = 7;
    options.state_bytes_max = state_bytes_max_;
    return HeadHost::open(std::move(options));
  }
  ClusterPlace place(const HeadHost& head, core::Token token = {}) {
    return {head.self().address, token, folder_->paths().sockets(), folder_->paths().folder};
  }
  std::int64_t incarnation(const HeadHost& head) {
    auto client = ControlClient::connect(place(head));
    if (!client) return -1;
    auto text = client.value()->inspect("status");
    if (!text) return -2;
    return nlohmann::json::parse(text.value())[0]["incarnation"].get<std::int64_t>();
  }

  std::uint64_t state_bytes_max_ = std::uint64_t{1} << 30;
  fs::path home_;
  std::optional<store::ClusterFolder> folder_;
};

TEST_F(HeadHostTest, ASecondLifeGoesOnWhereTheFirstEnded) {
  for (std::int64_t life = 1; life <= 3; ++life) {
    auto head = open();
    ASSERT_TRUE(head.ok()) << head.error().what();
    head.value()->start();
    EXPECT_EQ(incarnation(*head.value()), life);
    head.value()->stop();
    head.value()->join();
  }
}

TEST_F(HeadHostTest, EndsWhenAClientSaysShutdown) {
  auto head = open();
  ASSERT_TRUE(head.ok()) << head.error().what();
  head.value()->start();
  auto client = ControlClient::connect(place(*head.value()));
  ASSERT_TRUE(client.ok()) << client.error().what();
  EXPECT_TRUE(client.value()->shutdown("rondo down").ok());
  head.value()->join();
  ASSERT_TRUE(head.value()->failure().has_value());
  EXPECT_EQ(head.value()->failure()->code, ErrorCode::kCancelled);
}

TEST_F(HeadHostTest, AnAddressThatIsTakenIsRefusedInOneSentence) {
  auto head = open("tcp://127.0.0.1:*");
  ASSERT_TRUE(head.ok()) << head.error().what();
  const std::string taken = head.value()->self().address;
  HeadHostOptions options;
  options.listen = taken;
  options.state_path = (home_ / "other.sqlite").string();
  const auto refused = HeadHost::open(std::move(options));
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.error().what()).find(taken), std::string::npos)
      << refused.error().what();
}

TEST_F(HeadHostTest, WithoutTheTokenNobodyIsHeard) {
  const core::Token token{1, 2};
  auto head = open("tcp://127.0.0.1:*", token);
  ASSERT_TRUE(head.ok()) << head.error().what();
  head.value()->start();
  EXPECT_TRUE(ControlClient::connect(place(*head.value(), token)).ok());
  const auto stranger = ControlClient::connect(place(*head.value(), {}), milliseconds(500));
  ASSERT_FALSE(stranger.ok());
  EXPECT_NE(std::string(stranger.error().what()).find("does not answer"), std::string::npos);
  head.value()->stop();
  head.value()->join();
}

TEST_F(HeadHostTest, AFullDiskEndsItInWordsAndItKeepsWhatItAcknowledged) {
  state_bytes_max_ = 256 << 10;
  core::JobSpec job;
  job.environment = {std::string(20'000, 'x')};
  std::size_t acknowledged = 0;
  {
    auto head = open();
    ASSERT_TRUE(head.ok()) << head.error().what();
    head.value()->start();
    test::TestPeer node(ProcessId{entropy()}, folder_->paths().sockets(), "n");
    node.hello(head.value()->self(), core::Role::kNode);
    ASSERT_TRUE(node.expect<core::Welcome>().has_value());
    core::NodeJoin join;
    join.node.id = NodeId{5};
    join.node.peer = node.self();
    join.node.name = "n1";
    node.send(head.value()->self().id, join);
    ASSERT_TRUE(node.expect<core::NodeAccepted>().has_value());
    job.home = NodeId{5};
    for (std::uint64_t n = 1; n <= 100; ++n) {
      job.id = JobId{n};
      node.send(head.value()->self().id, core::StartJob{RequestId{n}, job});
      if (!node.expect<core::JobStarted>(milliseconds(500))) break;
      ++acknowledged;
    }
    head.value()->join();
    ASSERT_TRUE(head.value()->failure().has_value());
    EXPECT_EQ(head.value()->failure()->code, ErrorCode::kUnavailable);
    EXPECT_NE(head.value()->failure()->text.find("cannot write its state"), std::string::npos)
        << head.value()->failure()->text;
  }
  EXPECT_GT(acknowledged, 0u);
  state_bytes_max_ = std::uint64_t{1} << 30;
  auto next = open();
  ASSERT_TRUE(next.ok()) << next.error().what();
  next.value()->start();
  auto client = ControlClient::connect(place(*next.value()));
  ASSERT_TRUE(client.ok()) << client.error().what();
  const auto jobs = client.value()->inspect("jobs");
  ASSERT_TRUE(jobs.ok()) << jobs.error().what();
  EXPECT_GE(nlohmann::json::parse(jobs.value()).size(), acknowledged);
  next.value()->stop();
  next.value()->join();
}

TEST_F(HeadHostTest, AStateThatCannotBeReadIsRefusedInOneSentence) {
  ASSERT_TRUE(store::write_file(folder_->paths().state(), "no database at all, but text").ok());
  const auto refused = open();
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.error().what()).find("state.sqlite"), std::string::npos)
      << refused.error().what();
}

}  // namespace
}  // namespace rondo::host
