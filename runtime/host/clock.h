#pragma once

#include <ctime>

#include <rondo/base/time.h>

// The clock of a machine's daemons and engines: CLOCK_BOOTTIME, which goes on while the machine
// sleeps, so that a membership term ends even then. Machines never read it: `now` is handed in.

namespace rondo::host {

inline TimeNs boot_time() {
  timespec at{};
  ::clock_gettime(CLOCK_BOOTTIME, &at);
  return {std::int64_t{at.tv_sec} * 1'000'000'000 + at.tv_nsec};
}

// Add to a boot time for the wall clock (for people: it may jump).
inline std::int64_t wall_offset_ns() {
  timespec wall{};
  ::clock_gettime(CLOCK_REALTIME, &wall);
  return std::int64_t{wall.tv_sec} * 1'000'000'000 + wall.tv_nsec - boot_time().ns;
}

}  // namespace rondo::host
