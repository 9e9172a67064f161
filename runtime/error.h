#pragma once

#include <string>

#include <rondo/base/error.h>

// Errors as users meet them: `Runtime::get` and its kin throw rondo::Error, whose code() says what
// may be done about it (the list with its rules is ErrorCode) and whose what() is one sentence.
//
// submit, spawn and call throw only kInvalid; everything else arrives where the value is asked for.
// An exception that leaves a task or method is caught once, at its boundary, and becomes an Error
// with the name of the task or actor, its node and the cause. No exception crosses a process by
// itself.

namespace rondo::detail {

// Requires: called inside a catch block. "std::out_of_range: vector::at", "an exception of type
// int"; a rondo::Error gives its own sentence.
std::string describe_current_exception();

}  // namespace rondo::detail
