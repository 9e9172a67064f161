#pragma once

#include <string>

// How processes tell whether they are on one machine. Both are the same for the life of a process;
// any thread.

namespace rondo::actors {

// Of the running kernel; empty where it does not say.
[[nodiscard]] std::string boot_id();
// Boot, pid namespace and user: who has all three the same can open the other's memory.
[[nodiscard]] std::string this_machine();

}  // namespace rondo::actors
