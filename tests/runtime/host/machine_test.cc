#include <rondo/host/machine.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace rondo::host {
namespace {

namespace fs = std::filesystem;

class MachineTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("rondo-cgroup-" + std::to_string(::getpid()));
    fs::create_directories(root_ / "a" / "b");
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    std::ofstream(root_ / path) << text << "\n";
  }
  fs::path root_;
};

TEST_F(MachineTest, TheTightestQuotaAboveTheProcessCounts) {
  write("a/cpu.max", "150000 100000");
  write("a/b/cpu.max", "max 100000");
  EXPECT_EQ(cgroup_cpu_milli(root_, "/a/b"), 1500);
  EXPECT_EQ(cgroup_cpu_milli(root_, "/"), INT64_MAX);
  write("a/b/memory.max", "1048576");
  write("a/memory.max", "2097152");
  EXPECT_EQ(cgroup_memory_bytes(root_, "/a/b"), 1048576u);
  EXPECT_EQ(cgroup_memory_bytes(root_, "/a"), 2097152u);
}

TEST_F(MachineTest, TheOlderTreesFilesCountToo) {
  write("a/cpu.cfs_quota_us", "50000");
  write("a/cpu.cfs_period_us", "100000");
  write("a/memory.limit_in_bytes", "4096");
  EXPECT_EQ(cgroup_cpu_milli(root_, "/a"), 500);
  EXPECT_EQ(cgroup_memory_bytes(root_, "/a"), 4096u);
  write("a/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(cgroup_cpu_milli(root_, "/a"), INT64_MAX);
}

TEST_F(MachineTest, ThisMachineHasSomethingToLend) {
  EXPECT_GE(machine_cpu_milli(), 1);
  EXPECT_GE(machine_memory_bytes(), std::uint64_t{1} << 20);
  EXPECT_EQ(machine_identity(), machine_identity());
}

}  // namespace
}  // namespace rondo::host
