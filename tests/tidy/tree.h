#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "rules.h"

// What STYLE asks of the tree as a whole: no file that nothing builds, no header that nobody
// includes.

namespace tidy {

using Files = std::map<std::string, std::string>;  // path from the root -> text

// Every file that a rule looks at; build folders, outputs and dot folders are skipped.
[[nodiscard]] Files read_tree(const std::filesystem::path& root);

[[nodiscard]] std::vector<Finding> check_tree(const Files& files);

}  // namespace tidy
