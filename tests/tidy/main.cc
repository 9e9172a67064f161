#include <cstdio>

#include "tree.h"

// rondo_tidy ROOT: holds the tree to STYLE's rules; prints `file:line: rule: what` and fails if any
// is broken.
int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: rondo_tidy ROOT\n");
    return 2;
  }
  const tidy::Files files = tidy::read_tree(argv[1]);
  const std::vector<tidy::Finding> found = tidy::check_tree(files);
  for (const tidy::Finding& f : found)
    std::printf("%s:%zu: %s: %s\n", f.path.c_str(), f.line, f.rule.c_str(), f.text.c_str());
  std::printf("tidy: %zu files, %zu findings\n", files.size(), found.size());
  return files.empty() || !found.empty() ? 1 : 0;
}
