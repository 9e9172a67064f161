#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// A worker's log, read by its node: the last lines as a cause of death, and new lines to show on
// the driver's terminal.

namespace rondo::exec {

// At most `lines` last lines and `bytes_max` bytes; "" if there are none.
[[nodiscard]] std::string last_lines(const std::string& path, std::size_t lines,
                                     std::size_t bytes_max = 4'096);

// Hands out what was appended since, in whole lines. One thread at a time.
class LogFollower {
 public:
  explicit LogFollower(std::string path, std::uint64_t offset = 0)
      : path_(std::move(path)), offset_(offset) {}
  // Complete lines without their ends; a last line without an end comes when `all`. Long ones are
  // cut at 4 KiB.
  std::vector<std::string> read_new(bool all = false);

 private:
  std::string path_;
  std::uint64_t offset_;
  std::string begun_;  // a line that has no end yet
};

}  // namespace rondo::exec
