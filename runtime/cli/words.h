#pragma once

#include <optional>
#include <set>
#include <string>

// The verbs that are programs of their own.

namespace rondo::cli {

// Every X with a program rondo-X beside this one or in PATH.
[[nodiscard]] std::set<std::string> other_verbs();
[[nodiscard]] std::optional<std::string> path_of_verb(const std::string& verb);

}  // namespace rondo::cli
