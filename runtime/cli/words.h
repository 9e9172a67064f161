#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

// What somebody who mistyped a word perhaps meant, and the verbs that are programs of their own.

namespace rondo::cli {

// The nearest of the known words, at most two edits away; "": none.
[[nodiscard]] std::string nearest(const std::string& word, const std::set<std::string>& known);

// Every X with a program rondo-X beside this one or in PATH.
[[nodiscard]] std::set<std::string> other_verbs();
[[nodiscard]] std::optional<std::string> path_of_verb(const std::string& verb);

}  // namespace rondo::cli
