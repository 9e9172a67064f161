#include "words.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace rondo::cli {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "rondo-";

std::vector<std::string> folders() {
  std::vector<std::string> out;
  std::error_code failed;
  const fs::path self = fs::read_symlink("/proc/self/exe", failed);
  if (!failed) out.push_back(self.parent_path().string());
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const std::size_t at = rest.find(':');
    if (at != 0) out.push_back(rest.substr(0, at));
    rest = at == std::string::npos ? "" : rest.substr(at + 1);
  }
  return out;
}

bool is_program(const fs::path& path) {
  std::error_code failed;
  return fs::is_regular_file(path, failed) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

std::set<std::string> other_verbs() {
  std::set<std::string> verbs;
  for (const std::string& folder : folders()) {
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(folder, failed)) {
      const std::string name = entry.path().filename();
      if (name.starts_with(kPrefix) && is_program(entry.path()))
        verbs.insert(name.substr(std::string(kPrefix).size()));
    }
  }
  return verbs;
}

std::optional<std::string> path_of_verb(const std::string& verb) {
  if (verb.find('/') != std::string::npos) return std::nullopt;
  for (const std::string& folder : folders()) {
    std::string path = folder + "/" + kPrefix + verb;
    if (is_program(path)) return path;
  }
  return std::nullopt;
}

}  // namespace rondo::cli
