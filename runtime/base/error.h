#pragma once

#include <exception>
#include <string>
#include <string_view>

// What can go wrong for a caller, and what to do about it. The list is closed: a new kind needs a
// new rule.

namespace rondo {

enum class ErrorCode : unsigned char {
  kTaskFailed = 1,  // the task or method threw, or its worker died and retries are spent: mend the
                    // task; the text says why
  kActorDied,   // its constructor threw, its budget is spent, it was killed, or a begun call is not
                // to be repeated: spawn anew
  kObjectLost,  // the value's owner or every copy is gone: make the value again
  kTimeout,     // not ready in the time given: wait again, nothing was cancelled
  kCancelled,   // the caller cancelled it, or the Runtime ended
  kOverloaded,  // a queue or the store is full: wait for results, then go on
  kNotFound,    // no such name, class, function or object
  kInvalid,  // can never work: wrong types, never placeable, a cycle of waits: change the program
  kUnavailable,  // the head or node is away or of another version: start it, or try again
};

[[nodiscard]] std::string_view to_string(ErrorCode code);

// Thrown by `Runtime::get` and by checks of a caller's arguments. what() is one sentence: what,
// where, and what to do.
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string what) : code_(code), what_(std::move(what)) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }

 private:
  ErrorCode code_;
  std::string what_;
};

}  // namespace rondo
