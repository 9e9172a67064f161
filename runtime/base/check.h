#pragma once

#include <sstream>
#include <string>

// RONDO_CHECK states what a bug would break. It stays on in release builds, prints its operands and
// aborts: a process that no longer believes its own state must not go on sending messages. Expected
// failures are a Result (result.h), never a check.

namespace rondo::detail {
[[noreturn]] void check_failed(const char* file, int line, const char* text,
                               const std::string& operands);

template <class A, class B>
std::string operands(const A& a, const B& b) {
  std::ostringstream out;
  out << a << " vs " << b;
  return out.str();
}
}  // namespace rondo::detail

#define RONDO_CHECK(condition)                                           \
  do {                                                                   \
    if (!(condition)) [[unlikely]]                                       \
      ::rondo::detail::check_failed(__FILE__, __LINE__, #condition, ""); \
  } while (false)

#define RONDO_CHECK_OP(a, op, b)                                           \
  do {                                                                     \
    if (!((a)op(b))) [[unlikely]]                                          \
      ::rondo::detail::check_failed(__FILE__, __LINE__, #a " " #op " " #b, \
                                    ::rondo::detail::operands((a), (b)));  \
  } while (false)

#define RONDO_CHECK_EQ(a, b) RONDO_CHECK_OP(a, ==, b)
#define RONDO_CHECK_LE(a, b) RONDO_CHECK_OP(a, <=, b)
#define RONDO_CHECK_LT(a, b) RONDO_CHECK_OP(a, <, b)
