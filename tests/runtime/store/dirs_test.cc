#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include <rondo/store/dirs.h>

#include "child_process.h"
#include "temporary_folder.h"

namespace rondo::store {
namespace {

namespace fs = std::filesystem;

unsigned mode_of(const std::string& path) {
  struct stat status = {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 07777;
}

struct Home {
  TemporaryFolder folder;
  std::string path = open_home_at(folder.path + "/home").value();
};

TEST(Dirs, HomeComesFromTheEnvironment) {
  TemporaryFolder folder;
  ::setenv("RONDO_HOME", (folder.path + "/a/b/").c_str(), 1);
  EXPECT_EQ(open_home().value(), folder.path + "/a/b");
  EXPECT_EQ(mode_of(folder.path + "/a/b"), 0700U);
  ::unsetenv("RONDO_HOME");
  ::setenv("XDG_RUNTIME_DIR", folder.path.c_str(), 1);
  EXPECT_EQ(open_home().value(), folder.path + "/rondo");
  ::unsetenv("XDG_RUNTIME_DIR");
  const auto fallback = open_home();
  if (fallback.ok()) {
    EXPECT_EQ(fallback.value(), "/tmp/rondo-" + std::to_string(::geteuid()));
  }
}

TEST(Dirs, HomeThatOthersMayReadIsRefused) {
  TemporaryFolder folder;
  ::chmod(folder.path.c_str(), 0755);
  const auto home = open_home_at(folder.path);
  ASSERT_FALSE(home.ok());
  EXPECT_NE(std::string(home.error().what()).find("chmod 700"), std::string::npos);
}

TEST(Dirs, FileInTheWayIsRefused) {
  TemporaryFolder folder;
  std::ofstream(folder.path + "/f") << "x";
  EXPECT_FALSE(open_home_at(folder.path + "/f").ok());
  EXPECT_FALSE(open_home_at(folder.path + "/f/g").ok());
}

TEST(Dirs, ClusterHasItsPartsAndIsLiving) {
  Home home;
  const auto cluster = ClusterFolder::enter(home.path, "main");
  ASSERT_TRUE(cluster.ok());
  const ClusterPaths& paths = cluster.value().paths();
  EXPECT_EQ(paths.name(), "main");
  EXPECT_EQ(mode_of(paths.folder), 0700U);
  EXPECT_TRUE(fs::is_directory(paths.sockets()));
  EXPECT_TRUE(fs::is_directory(paths.logs()));
  ASSERT_TRUE(cluster.value().make_node("n1").ok());
  EXPECT_TRUE(fs::is_directory(paths.cache("n1")));
  ASSERT_EQ(living_clusters(home.path).size(), 1U);
  EXPECT_EQ(living_clusters(home.path)[0].name(), "main");
  EXPECT_TRUE(remove_stale(home.path).empty());
  EXPECT_FALSE(is_private(paths));
  EXPECT_TRUE(is_private(ClusterFolder::enter_private(home.path).value().paths()));
}

TEST(Dirs, NamesThatLeaveTheHomeAreRefused) {
  Home home;
  for (const char* name : {"", "..", ".x", "a/b", "a b"})
    EXPECT_FALSE(ClusterFolder::enter(home.path, name).ok());
  const auto cluster = ClusterFolder::enter(home.path, "main");
  EXPECT_FALSE(cluster.value().make_node("../x").ok());
}

TEST(Dirs, KilledClusterIsRemovedAndALivingOneIsNot) {
  Home home;
  const auto living = ClusterFolder::enter(home.path, "living");
  const int code = in_child_process([&] {
    const auto cluster = ClusterFolder::enter(home.path, "dead");
    if (!cluster || !cluster.value().make_node("n1")) return 1;
    if (!write_file(cluster.value().paths().address(), "ipc:///x")) return 2;
    ::raise(SIGKILL);
    return 3;
  });
  EXPECT_EQ(code, -SIGKILL);
  EXPECT_EQ(living_clusters(home.path).size(), 1U);
  EXPECT_EQ(remove_stale(home.path), std::vector<std::string>{"dead"});
  EXPECT_FALSE(fs::exists(home.path + "/dead"));
  EXPECT_TRUE(fs::exists(home.path + "/living/lock"));
}

TEST(Dirs, LastOneOutRemovesTheFolder) {
  Home home;
  auto first = ClusterFolder::enter(home.path, "main");
  auto second = ClusterFolder::enter(home.path, "main");
  EXPECT_FALSE(first.value().leave_and_remove());
  EXPECT_TRUE(fs::exists(home.path + "/main"));
  EXPECT_TRUE(second.value().leave_and_remove());
  EXPECT_FALSE(fs::exists(home.path + "/main"));
}

TEST(Dirs, RoleHasOneOwner) {
  Home home;
  const auto cluster = ClusterFolder::enter(home.path, "main");
  auto head = cluster.value().own("head");
  ASSERT_TRUE(head.ok());
  EXPECT_FALSE(cluster.value().own("head").ok());
  EXPECT_TRUE(cluster.value().own("supervisor").ok());
  head.value().reset();
  EXPECT_TRUE(cluster.value().own("head").ok());
}

// Who enters while others clean up gets a folder that stands, with its own lock in it.
TEST(Dirs, EnteringRacesWithCleaning) {
  Home home;
  std::thread cleaner([&] {
    for (int n = 0; n < 300; ++n) (void)remove_stale(home.path);
  });
  for (int n = 0; n < 300; ++n) {
    auto cluster = ClusterFolder::enter(home.path, "main");
    ASSERT_TRUE(cluster.ok()) << cluster.error().what();
    EXPECT_TRUE(fs::is_directory(cluster.value().paths().sockets()));
    EXPECT_EQ(living_clusters(home.path).size(), 1U);
  }
  cleaner.join();
}

TEST(Dirs, TooLongSocketPathIsSaidInWords) {
  ClusterPaths paths{"/tmp/" + std::string(90, 'x')};
  EXPECT_EQ(paths.socket_address("123456789").value(),
            "ipc:///tmp/" + std::string(90, 'x') + "/s/123456789");
  const auto address = paths.socket_address("1234567890");
  ASSERT_FALSE(address.ok());
  EXPECT_EQ(address.error().code(), ErrorCode::kUnavailable);
  EXPECT_NE(std::string(address.error().what()).find("RONDO_HOME"), std::string::npos);
}

TEST(Dirs, FilesAreWrittenWhole) {
  TemporaryFolder folder;
  const std::string path = folder.path + "/token";
  ASSERT_TRUE(write_file(path, "one").ok());
  ASSERT_TRUE(write_file(path, std::string(10'000, 'y')).ok());
  EXPECT_EQ(read_file(path).value(), std::string(10'000, 'y'));
  EXPECT_EQ(mode_of(path), 0600U);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()), 1);
  EXPECT_FALSE(read_file(folder.path + "/none").ok());
  EXPECT_FALSE(write_file(folder.path + "/none/x", "a").ok());
}

}  // namespace
}  // namespace rondo::store
