#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "source.h"

// What STYLE asks of one file. A rule that makes a line worse is broken with its reason beside it:
// `tidy: allow RULE, because ...` in a comment on that line or the one above.

namespace tidy {

struct Finding {
  std::string path;
  std::size_t line = 0;
  std::string rule;
  std::string text;
};

struct Limits {
  std::size_t columns = 100;
  std::size_t header_lines = 400;
  std::size_t source_lines = 600;
  std::size_t function_lines = 70;
};

void check_shape(const Source& source, const Limits& limits, std::vector<Finding>& out);
void check_header(const Source& source, std::vector<Finding>& out);
void check_leftovers(const Source& source, std::vector<Finding>& out);
void check_includes(const Source& source, std::vector<Finding>& out);
void check_core(const Source& source, std::vector<Finding>& out);

// The room of the house that a path lies in: "core", "host", "public" (runtime's own headers),
// "ops"... and the rooms that it may include. Empty: anything.
[[nodiscard]] std::string room_of(std::string_view path);
[[nodiscard]] std::string room_of_include(std::string_view include);
[[nodiscard]] const std::set<std::string>& may_include(const std::string& room);

struct Include {
  std::size_t line = 0;
  std::string name;
  bool quoted = false;
};
[[nodiscard]] std::vector<Include> includes_of(const Source& source);

// Every rule for one file, less what its comments allow.
[[nodiscard]] std::vector<Finding> check_file(const Source& source, const Limits& limits = {});

}  // namespace tidy
