#pragma once

#include <string>
#include <vector>

// What a run left behind, in words: nothing, if all is well.
//
// A program and everybody whom it starts carry RONDO_HOME in their environment, so a home that one
// test alone uses marks its processes. Shared memory of ours has no name and ends with the
// processes; a name that says rondo in /dev/shm would be somebody's mistake.

namespace rondo::system_test {

struct Place {
  std::string home;    // RONDO_HOME of the runs
  std::string folder;  // where they wrote: no unfinished file may be there
};

// Living processes of the home, files and sockets in it, listening sockets under it, named shared
// memory, unfinished files.
[[nodiscard]] std::vector<std::string> leftovers(const Place& place);
// Asks again until nothing is left, or the time is over: processes may still be ending.
[[nodiscard]] std::vector<std::string> leftovers_after(const Place& place, double seconds);

}  // namespace rondo::system_test
