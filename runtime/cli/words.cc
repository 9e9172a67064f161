#include "words.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

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

// Edits (insert, drop, change, swap neighbours) from one word to the other.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + changed});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

}  // namespace

std::string nearest(const std::string& word, const std::set<std::string>& known) {
  std::string best;
  std::size_t least = 3;  // more than two edits away is another word
  for (const std::string& each : known)
    if (const std::size_t edits = distance(word, each); edits < least && edits < each.size()) {
      least = edits;
      best = each;
    }
  return best;
}

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
