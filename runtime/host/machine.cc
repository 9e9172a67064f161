#include <rondo/host/machine.h>

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

namespace rondo::host {

namespace {

constexpr std::int64_t kUnlimitedCpu = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kUnlimitedBytes = std::numeric_limits<std::uint64_t>::max();

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// "max 100000" or "150000 100000": quota and period in microseconds.
std::int64_t cpu_milli_of(const std::string& line) {
  std::istringstream in(line);
  std::int64_t quota = 0;
  std::int64_t period = 0;
  if (!(in >> quota >> period) || quota <= 0 || period <= 0) return kUnlimitedCpu;
  return std::max<std::int64_t>(1, quota * 1000 / period);
}

std::uint64_t bytes_of(const std::string& line) {
  std::istringstream in(line);
  std::uint64_t bytes = 0;
  if (!(in >> bytes)) return kUnlimitedBytes;  // "max", or no such file
  return bytes;
}

// Calls `visit` with the folder of `path` under `root` and of every parent.
template <class Visit>
void climb(const std::string& root, std::string_view path, Visit visit) {
  std::string rest(path);
  for (;;) {
    while (!rest.empty() && rest.back() == '/') rest.pop_back();
    visit(root + rest);
    if (rest.empty()) return;
    rest.resize(rest.rfind('/') == std::string::npos ? 0 : rest.rfind('/'));
  }
}

// This process's place in a tree: "0::/path" is the unified one, "4:cpu,cpuacct:/path" an old one.
std::string own_cgroup(const std::string& controller) {
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const std::size_t from = line.find(':');
    const std::size_t to = line.find(':', from + 1);
    if (from == std::string::npos || to == std::string::npos) continue;
    const std::string names = "," + line.substr(from + 1, to - from - 1) + ",";
    if (names == "," + controller + "," || names.find("," + controller + ",") != std::string::npos)
      return line.substr(to + 1);
  }
  return "";
}

constexpr const char* kTree = "/sys/fs/cgroup";

std::int64_t affinity_milli() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return std::int64_t{CPU_COUNT(&set)} * 1000;
  return std::max<std::int64_t>(1, ::sysconf(_SC_NPROCESSORS_ONLN)) * 1000;
}

}  // namespace

std::int64_t cgroup_cpu_milli(const std::string& root, std::string_view path) {
  std::int64_t least = kUnlimitedCpu;
  climb(root, path, [&](const std::string& folder) {
    least = std::min(least, cpu_milli_of(first_line(folder + "/cpu.max")));
    const std::string quota = first_line(folder + "/cpu.cfs_quota_us");
    least = std::min(least, cpu_milli_of(quota + " " + first_line(folder + "/cpu.cfs_period_us")));
  });
  return least;
}

std::uint64_t cgroup_memory_bytes(const std::string& root, std::string_view path) {
  std::uint64_t least = kUnlimitedBytes;
  climb(root, path, [&](const std::string& folder) {
    least = std::min(least, bytes_of(first_line(folder + "/memory.max")));
    least = std::min(least, bytes_of(first_line(folder + "/memory.limit_in_bytes")));
  });
  return least;
}

std::int64_t machine_cpu_milli() {
  const std::string tree = kTree;
  return std::min({affinity_milli(), cgroup_cpu_milli(tree, own_cgroup("")),
                   cgroup_cpu_milli(tree + "/cpu", own_cgroup("cpu"))});
}

std::uint64_t machine_memory_bytes() {
  const auto pages = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_PHYS_PAGES)));
  const auto page = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_PAGESIZE)));
  const std::string tree = kTree;
  return std::min({pages * page, cgroup_memory_bytes(tree, own_cgroup("")),
                   cgroup_memory_bytes(tree + "/memory", own_cgroup("memory"))});
}

std::uint64_t machine_identity() {
  std::uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
  for (const char c : first_line("/proc/sys/kernel/random/boot_id"))
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

}  // namespace rondo::host
