#include <rondo/base/check.h>

#include <cstdio>
#include <cstdlib>

namespace rondo::detail {

void check_failed(const char* file, int line, const char* text, const std::string& operands) {
  std::fprintf(stderr, "rondo: bug: %s:%d: %s does not hold%s%s%s\n", file, line, text,
               operands.empty() ? "" : " (", operands.c_str(), operands.empty() ? "" : ")");
  std::fflush(stderr);
  std::abort();
}

}  // namespace rondo::detail
