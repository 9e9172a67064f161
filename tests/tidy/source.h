#pragma once

#include <string>
#include <string_view>
#include <vector>

// A source file as the rules see it: its lines as written, and the same lines with everything that
// is not code blanked out, so that a brace in a string or a word in a comment deceives no rule.

namespace tidy {

struct Source {
  std::string path;                // from the root, with '/'
  std::vector<std::string> lines;  // as written
  std::vector<std::string>
      code;  // comments, strings and characters replaced by blanks, same columns
};

[[nodiscard]] Source read_source(std::string path, std::string_view text);

// Functions found by counting braces: where each begins (its name's line) and ends.
struct Function {
  std::size_t first = 0;  // line numbers from 1
  std::size_t last = 0;
};
[[nodiscard]] std::vector<Function> find_functions(const Source& source);

}  // namespace tidy
