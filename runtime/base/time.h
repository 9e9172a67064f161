#pragma once

#include <compare>
#include <cstdint>

// Time comes into the machines with every call; only the host and the simulator read or make
// clocks.

namespace rondo {

// A length of time in nanoseconds.
struct DurationNs {
  std::int64_t ns = 0;
  auto operator<=>(const DurationNs&) const = default;
};

// An instant: nanoseconds since the machine's boot (CLOCK_BOOTTIME), or since the simulation's
// start.
struct TimeNs {
  std::int64_t ns = 0;
  auto operator<=>(const TimeNs&) const = default;
};

constexpr DurationNs operator+(DurationNs a, DurationNs b) { return {a.ns + b.ns}; }
constexpr DurationNs operator-(DurationNs a, DurationNs b) { return {a.ns - b.ns}; }
constexpr DurationNs operator*(DurationNs a, std::int64_t k) { return {a.ns * k}; }
constexpr TimeNs operator+(TimeNs t, DurationNs d) { return {t.ns + d.ns}; }
constexpr TimeNs operator-(TimeNs t, DurationNs d) { return {t.ns - d.ns}; }
constexpr DurationNs operator-(TimeNs a, TimeNs b) { return {a.ns - b.ns}; }

constexpr DurationNs microseconds(std::int64_t n) { return {n * 1'000}; }
constexpr DurationNs milliseconds(std::int64_t n) { return {n * 1'000'000}; }
constexpr DurationNs seconds(std::int64_t n) { return {n * 1'000'000'000}; }

constexpr TimeNs kNever{INT64_MAX};

}  // namespace rondo
