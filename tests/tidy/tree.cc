#include "tree.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

namespace tidy {
namespace {

bool is_skipped(const std::string& name) {
  return name.starts_with('.') || name.starts_with("build") || name.starts_with("rondo-out");
}

bool is_looked_at(const std::filesystem::path& path) {
  static const std::set<std::string> extensions = {".h", ".cc", ".cu", ".capnp", ".cmake", ".sh"};
  return extensions.contains(path.extension()) || path.filename() == "CMakeLists.txt";
}

bool is_compiled(const std::string& path) {
  return path.ends_with(".cc") || path.ends_with(".cu") || path.ends_with(".capnp");
}

bool names(const std::string& list, const std::string& file) {
  for (std::size_t at = list.find(file); at != std::string::npos; at = list.find(file, at + 1)) {
    const auto separates = [&](std::size_t i) {
      return i >= list.size() || std::string_view(" \t\n()\"/;").find(list[i]) != std::string::npos;
    };
    if ((at == 0 || separates(at - 1)) && separates(at + file.size())) return true;
  }
  return false;
}

// A list may build `${verb}_main.cc` for each of some words: then the file's first part is such a
// word.
bool is_built_from_pattern(const std::string& list, const std::string& file) {
  static const std::regex pattern(R"(\$\{\w+\}([\w.]+))");
  for (std::sregex_iterator it(list.begin(), list.end(), pattern), end; it != end; ++it) {
    const std::string suffix = (*it)[1];
    if (file.ends_with(suffix) && names(list, file.substr(0, file.size() - suffix.size())))
      return true;
  }
  return false;
}

// Listed, by its path from there, in the CMakeLists.txt of its folder or of one above.
bool is_built(const std::string& path, const Files& files) {
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  while (true) {
    const auto list = files.find((folder / "CMakeLists.txt").generic_string());
    if (list != files.end()) {
      const std::string file =
          std::filesystem::path(path).lexically_relative(folder).generic_string();
      if (names(list->second, file) || is_built_from_pattern(list->second, file)) return true;
    }
    if (folder.empty()) return false;
    folder = folder.parent_path();
  }
}

// How others write a header's name: <rondo/...> for the tree's rooms, its bare name inside a
// folder.
std::string include_name(const std::string& path) {
  if (path.starts_with("runtime/")) return "rondo/" + path.substr(8);
  return "rondo/" + path;
}

}  // namespace

Files read_tree(const std::filesystem::path& root) {
  Files files;
  std::filesystem::recursive_directory_iterator it(root);
  for (; it != std::filesystem::recursive_directory_iterator(); ++it) {
    if (is_skipped(it->path().filename())) {
      if (it->is_directory()) it.disable_recursion_pending();
      continue;
    }
    if (it->is_symlink() || !it->is_regular_file() || !is_looked_at(it->path())) continue;
    std::ifstream in(it->path(), std::ios::binary);
    files[it->path().lexically_relative(root).generic_string()] =
        std::string(std::istreambuf_iterator<char>(in), {});
  }
  return files;
}

std::vector<Finding> check_tree(const Files& files) {
  std::vector<Finding> found;
  std::set<std::string> included;
  for (const auto& [path, text] : files) {
    const Source source = read_source(path, text);
    for (Finding& finding : check_file(source)) found.push_back(std::move(finding));
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    for (const Include& include : includes_of(source))
      included.insert(include.quoted ? (folder / include.name).generic_string() : include.name);
  }
  for (const auto& [path, text] : files) {
    if (is_compiled(path) && !is_built(path, files))
      found.push_back({path, 1, "dead-file", "no CMakeLists.txt names it: build it or delete it"});
    if (path.ends_with(".h") && room_of(path) != "public" && !included.contains(path) &&
        !included.contains(include_name(path)))
      found.push_back({path, 1, "dead-file", "nobody includes it: use it or delete it"});
  }
  return found;
}

}  // namespace tidy
