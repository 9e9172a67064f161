#include <rondo/host/find_cluster.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include <rondo/host/token.h>
#include <rondo/store/dirs.h>

namespace rondo::host {
namespace {

namespace fs = std::filesystem;

class FindClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    home_ = fs::temp_directory_path() / ("rondo-find-" + std::to_string(::getpid()));
    fs::remove_all(home_);
    fs::create_directories(home_);
    fs::permissions(home_, fs::perms::owner_all);
    ::setenv("RONDO_HOME", home_.c_str(), 1);
    ::unsetenv("RONDO_ADDRESS");
  }
  void TearDown() override {
    clusters_.clear();
    fs::remove_all(home_);
    ::unsetenv("RONDO_HOME");
    ::unsetenv("RONDO_ADDRESS");
  }
  void living(const std::string& name, const std::string& address) {
    auto entered = store::ClusterFolder::enter(home_, name);
    ASSERT_TRUE(entered.ok()) << entered.error().what();
    ASSERT_TRUE(store::write_file(entered.value().paths().address(), address + "\n").ok());
    clusters_.push_back(std::move(entered).value());
  }
  fs::path home_;
  std::vector<store::ClusterFolder> clusters_;
};

TEST_F(FindClusterTest, NoneIsSaidWithWhatToDo) {
  const auto place = locate("");
  ASSERT_FALSE(place.ok());
  EXPECT_NE(std::string(place.error().what()).find("rondo up"), std::string::npos);
  EXPECT_FALSE(address_is_named(""));
}

TEST_F(FindClusterTest, TheOnlyOneIsMeant) {
  living("main", "ipc://" + home_.string() + "/main/s/head");
  const auto place = locate("");
  ASSERT_TRUE(place.ok()) << place.error().what();
  EXPECT_EQ(place.value().address, "ipc://" + home_.string() + "/main/s/head");
  EXPECT_EQ(place.value().socket_folder, home_.string() + "/main/s");
}

TEST_F(FindClusterTest, OfSeveralNoneIsMeantAndAllAreListed) {
  living("a", "ipc://" + home_.string() + "/a/s/head");
  living("b", "ipc://" + home_.string() + "/b/s/head");
  const auto place = locate("");
  ASSERT_FALSE(place.ok());
  const std::string words = place.error().what();
  EXPECT_NE(words.find("/a/s/head"), std::string::npos) << words;
  EXPECT_NE(words.find("/b/s/head"), std::string::npos) << words;
}

TEST_F(FindClusterTest, AnArgumentBeatsTheEnvironmentAndThatBeatsTheHome) {
  living("main", "ipc://" + home_.string() + "/main/s/head");
  ::setenv("RONDO_ADDRESS", "ipc:///run/x/s/n1", 1);
  EXPECT_TRUE(address_is_named(""));
  EXPECT_EQ(locate("").value().address, "ipc:///run/x/s/n1");
  EXPECT_EQ(locate("ipc:///run/y/s/n1").value().address, "ipc:///run/y/s/n1");
}

TEST_F(FindClusterTest, ATcpAddressOfThisHomeBringsItsToken) {
  living("main", "tcp://127.0.0.1:4242");
  const core::Token token = random_token();
  ASSERT_TRUE(write_token(clusters_.back().paths().token(), token).ok());
  const auto place = locate("tcp://127.0.0.1:4242");
  ASSERT_TRUE(place.ok()) << place.error().what();
  EXPECT_EQ(place.value().token, token);
  EXPECT_EQ(place.value().socket_folder, "");
  fs::permissions(clusters_.back().paths().token(), fs::perms::others_read, fs::perm_options::add);
  EXPECT_FALSE(locate("tcp://127.0.0.1:4242").ok());
}

TEST_F(FindClusterTest, AnAddressThatRondoDoesNotSpeakIsRefusedInWords) {
  for (const char* address : {"http://localhost:80", "tcp://10.0.0.1:4000", "nonsense"}) {
    const auto place = locate(address);
    ASSERT_FALSE(place.ok()) << address;
    EXPECT_NE(std::string(place.error().what()).find(address), std::string::npos);
  }
}

TEST_F(FindClusterTest, WhereNobodyListensItSaysSoAtOnce) {
  living("main", "ipc://" + home_.string() + "/main/s/head");
  const auto node = find_local_node(locate("").value());
  ASSERT_FALSE(node.ok());
  EXPECT_NE(std::string(node.error().what()).find("nothing listens"), std::string::npos);
}

}  // namespace
}  // namespace rondo::host
