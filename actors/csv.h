#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <rondo/base/result.h>

// One numeric column of a CSV file with a header row (RFC 4180: quotes, doubled quotes, CRLF;
// blank last lines are fine).
//
// A hole or a cell that is no number is an error that names line and column, never a guess: a
// forecast built upon an invented value is worse than none. Any thread.

namespace rondo::actors {

// The column called `name`, exactly or else without regard to case, from the CSV text `bytes`;
// `path` is for the errors.
[[nodiscard]] Result<std::vector<double>> read_column(const std::string& path,
                                                      std::string_view bytes,
                                                      const std::string& name);

}  // namespace rondo::actors
