#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include <rondo/runtime.h>

#include "cli_home.h"

// A driver with its private cluster, in a RONDO_HOME of its own. At the end of each test nothing
// may be left: no process, no socket or file in the home, no shared memory in this process.

namespace rondo::system_test {

// The descriptors of this process that are shared memory.
inline std::size_t open_memory() {
  namespace fs = std::filesystem;
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    count += fs::read_symlink(entry.path(), gone).string().find("memfd:") != std::string::npos;
  }
  return count;
}

// What a statement that throws says: "Invalid: a cycle of waits: ...".
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const rondo::Error& error) {
    return std::string(rondo::to_string(error.code())) + ": " + error.what();
  }
  return "no error";
}

class PrivateTest : public ::testing::Test {
 protected:
  PrivateTest() {
    ::setenv("RONDO_HOME", home_.path().c_str(), 1);
    ::unsetenv("RONDO_ADDRESS");
  }
  void TearDown() override {
    rt.reset();
    EXPECT_TRUE(cli_test::wait_until([&] { return home_.processes().empty(); }, 5));
    for (const pid_t pid : home_.processes())
      ADD_FAILURE() << "process " << pid << " is left: " << cli_test::command_of(pid);
    EXPECT_TRUE(home_.empty()) << "left: " << testing::PrintToString(home_.entries());
    EXPECT_EQ(open_memory(), memory_before_);
    EXPECT_EQ(cli_test::shared_memory(), shared_before_);
  }

  cli_test::Home home_;
  rondo::Registry registry;
  std::unique_ptr<rondo::Runtime> rt;

 private:
  const std::size_t memory_before_ = open_memory();
  const std::vector<std::string> shared_before_ = cli_test::shared_memory();
};

}  // namespace rondo::system_test
