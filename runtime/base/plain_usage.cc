#include <rondo/base/plain_usage.h>

#include <algorithm>
#include <optional>

namespace rondo {

namespace {

// What stands before and after `mark`, if it occurs.
struct Split {
  std::string before, after;
};
std::optional<Split> split(const std::string& text, const std::string& mark) {
  const std::size_t at = text.find(mark);
  if (at == std::string::npos) return std::nullopt;
  return Split{text.substr(0, at), text.substr(at + mark.size())};
}

// The parser does not say which numbers a range is of: fractions have a point, or end at 1.
std::string kind_of(const std::string& range) {
  const bool fractions = range.find('.') != std::string::npos || range.ends_with(" to 1");
  return fractions ? "number" : "whole number";
}

// "{a,b,c}" as "a, b, c".
std::string list_of(const std::string& braces) {
  std::string out;
  for (const char c : braces)
    if (c == ',') out += ", ";
    else if (c != '{' && c != '}') out += c;
  return out;
}

}  // namespace

std::string plain_usage(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (const auto twice = split(text, ": At Most 1 required but received "))
    return twice->before + " is given " + twice->after + " times: once is enough";
  const auto colon = split(text, ": ");
  if (!colon) return text;
  const std::string& flag = colon->before;
  if (text.ends_with(" missing") && colon->after.starts_with("1 required "))
    return flag + " wants a value after it";
  if (const auto range = split(colon->after, " not in range "); range && range->before.size() > 5)
    return flag + ": '" + range->before.substr(6) + "' is no " + kind_of(range->after) + " from " +
           range->after;
  if (const auto set = split(colon->after, " not in {"))
    return flag + ": '" + set->before + "' is unknown: it is one of " + list_of(set->after);
  return text;
}

}  // namespace rondo
