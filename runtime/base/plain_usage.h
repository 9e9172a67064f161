#pragma once

#include <string>

// What is wrong with a command line, in a user's words.
//
// The library that parses flags names its own notions ("At Most 1 required but received 2", "Value
// x not in range 1 to 64"). Users of `rondo` and its verbs read sentences that name the flag and
// what it wants. Any thread.

namespace rondo {

// The library's text, reworded where we know it, else as it is, on one line.
[[nodiscard]] std::string plain_usage(std::string text);

}  // namespace rondo
