#pragma once

#include <string>
#include <vector>

// What somebody who mistyped a verb or a flag perhaps meant.
//
// Near is: at most two edits (insert, drop, change, swap neighbours), and at most one for every
// three letters. Farther words are other words, and a wrong guess is worse than none. Any thread.

namespace rondo {

// The nearest of the known words (the first of equals); "": none is near.
[[nodiscard]] std::string nearest(const std::string& word, const std::vector<std::string>& known);

}  // namespace rondo
