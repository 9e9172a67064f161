#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// What this machine has to lend: processors and memory as this process's cgroup and affinity allow,
// and an identity that processes on one machine share. Any thread.

namespace rondo::host {

// Thousandths: the cgroup's quota, the affinity mask, at least 1 (a tiny quota still runs).
[[nodiscard]] std::int64_t machine_cpu_milli();
// The smaller of RAM and every cgroup limit above this process.
[[nodiscard]] std::uint64_t machine_memory_bytes();
// A hash of the kernel's boot id.
[[nodiscard]] std::uint64_t machine_identity();

// The limit that holds for a path in a cgroup tree (either generation's files): the least of its
// parents' and its own.
[[nodiscard]] std::int64_t cgroup_cpu_milli(const std::string& root, std::string_view path);
[[nodiscard]] std::uint64_t cgroup_memory_bytes(const std::string& root, std::string_view path);

}  // namespace rondo::host
