#include <rondo/base/prng.h>

#include <sys/random.h>

#include <rondo/base/check.h>

namespace rondo {

__extension__ typedef unsigned __int128 Wide;  // NOLINT: no other way to name it without a warning

std::uint64_t Prng::next() {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

std::uint64_t Prng::below(std::uint64_t bound) {
  RONDO_CHECK(bound > 0);
  return static_cast<std::uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
}

std::int64_t Prng::between(std::int64_t low, std::int64_t high) {
  RONDO_CHECK_LE(low, high);
  return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low) + 1));
}

std::uint64_t entropy() {
  std::uint64_t value = 0;
  while (value == 0) {
    if (getrandom(&value, sizeof value, 0) != sizeof value) value = 0;
  }
  return value;
}

}  // namespace rondo
