#include <fstream>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <rondo/net/address.h>

#include "scratch.h"

namespace rondo::net {
namespace {

std::string why(const Result<void>& result) { return result.ok() ? "" : result.error().what(); }

bool says(const Result<void>& result, const std::string& part) {
  return why(result).find(part) != std::string::npos;
}

TEST(Address, AcceptsAbsolutePathsAndLoopback) {
  for (const char* good : {"ipc:///run/rondo/p", "tcp://127.0.0.1:4000", "tcp://127.0.0.1:*",
                           "tcp://127.0.0.1:0", "tcp://127.0.0.1:65535"})
    EXPECT_TRUE(check_address(good).ok()) << good;
}

TEST(Address, RefusesEverythingElseInWords) {
  for (const char* bad :
       {"", "ipc://", "ipc://relative", "ipc://@abstract", "tcp://0.0.0.0:4000", "tcp://*:4000",
        "tcp://127.0.0.1:", "tcp://127.0.0.1:66000", "tcp://127.0.0.1:4000x", "tcp://127.0.0.1:-1",
        "tcp://example.org:80", "tcp://127.0.0.1", "inproc://x", "nonsense"}) {
    const auto result = check_address(bad);
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_EQ(result.error().code(), ErrorCode::kInvalid);
    EXPECT_TRUE(says(result, bad));
  }
  EXPECT_TRUE(says(check_address("ipc:///" + std::string(110, 'x')), "RONDO_HOME"));
  EXPECT_FALSE(check_address("ipc:///" + std::string(300, 'x')).ok());
}

TEST(Address, ListensOnlyInAFolderOfThisUserAlone) {
  const Scratch folder;
  EXPECT_TRUE(prepare_listening(folder.ipc("p")).ok());
  chmod(folder.path().c_str(), 0750);
  EXPECT_TRUE(says(prepare_listening(folder.ipc("p")), "chmod 700"));
  chmod(folder.path().c_str(), 0700);
  EXPECT_TRUE(says(prepare_listening(folder.ipc("no/p")), "No such file"));
  if (geteuid() != 0) {
    EXPECT_TRUE(says(prepare_listening("ipc:///p"), "another user"));
  }
}

TEST(Address, RemovesAStaleSocketButNothingElse) {
  const Scratch folder;
  const std::string path = folder.path() + "/p";
  std::ofstream(path) << "a file";
  EXPECT_TRUE(says(prepare_listening(folder.ipc("p")), "not a socket"));
  unlink(path.c_str());

  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  path.copy(at.sun_path, sizeof(at.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  EXPECT_TRUE(says(prepare_listening(folder.ipc("p")), "another process listens"));
  close(fd);  // as a killed process leaves it
  EXPECT_TRUE(prepare_listening(folder.ipc("p")).ok());
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace rondo::net
