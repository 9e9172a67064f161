#pragma once

// OPS_CHECK states what a wrong shape or a wrong alias would break; it stays on in release and
// aborts with its text. ops/ includes nothing of the project, so it carries its own three lines.

namespace rondo::ops::detail {
[[noreturn]] void check_failed(const char* file, int line, const char* text);
}  // namespace rondo::ops::detail

#define OPS_CHECK(condition)                                                  \
  do {                                                                        \
    if (!(condition)) [[unlikely]]                                            \
      ::rondo::ops::detail::check_failed(__FILE__, __LINE__, #condition);     \
  } while (false)
