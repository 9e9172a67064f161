#include <rondo/actors/cli.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <optional>

#include <rondo/base/nearest.h>
#include <rondo/base/plain_usage.h>

namespace rondo::actors {

namespace {

// The number that the whole of `text` is.
template <class T>
std::optional<T> whole_text(const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

}  // namespace

void parse_flags(CLI::App& app, int argc, char** argv) {
  app.allow_extras();
  app.get_formatter()->column_width(32);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help() << std::flush;
    throw Exit{0, ""};
  } catch (const CLI::ParseError& error) {
    throw Exit{kExitUsage, plain_usage(error.what())};
  }
  std::vector<std::string> extras = app.remaining();
  if (extras.empty()) return;
  const auto flag = std::find_if(extras.begin(), extras.end(),
                                 [](const std::string& word) { return word.starts_with("-"); });
  if (flag == extras.end())
    throw Exit{kExitUsage, "unexpected argument '" + extras.front() + "'; see --help"};
  const std::string word = flag->substr(0, flag->find('='));
  const std::string guess = nearest(word, flags_of(app));
  throw Exit{kExitUsage, "unknown flag '" + word + "'" +
                             (guess.empty() ? "; see --help" : "; did you mean '" + guess + "'?")};
}

CLI::Validator finite_number(bool or_zero) {
  const auto check = [or_zero](const std::string& text) -> std::string {
    const std::optional<double> value = whole_text<double>(text);
    if (value && std::isfinite(*value) && (or_zero ? *value >= 0 : *value > 0)) return {};
    return "'" + text + "' is no finite number " + (or_zero ? "from 0 on" : "above 0");
  };
  return CLI::Validator(check, "NUMBER");
}

CLI::Validator number_between(double low, double high) {
  const auto check = [low, high](const std::string& text) -> std::string {
    const std::optional<double> value = whole_text<double>(text);
    if (value && *value >= low && *value <= high) return {};
    std::array<char, 64> range{};
    std::snprintf(range.data(), range.size(), "from %g to %g", low, high);
    return "'" + text + "' is no number " + range.data();
  };
  return CLI::Validator(check, "NUMBER");
}

CLI::Validator whole_number() {
  const auto check = [](const std::string& text) -> std::string {
    if (whole_text<std::uint64_t>(text)) return {};
    return "'" + text + "' is no whole number from 0 to 18446744073709551615";
  };
  return CLI::Validator(check, "SEED");
}

int run_program(const std::string& verb, const std::function<int()>& body) {
  std::string text;
  int code = kExitFailed;
  try {
    return body();
  } catch (const Exit& exit) {
    code = exit.code;
    text = exit.text;
  } catch (const Error& error) {
    text = error.what();
    if (error.code() == ErrorCode::kUnavailable) code = kExitCluster;
  } catch (const std::bad_alloc&) {
    code = kExitMachine;
    text = "the machine has not enough memory for this model";
  } catch (const std::exception& error) {
    text = error.what();
  }
  std::cout << std::flush;
  if (!text.empty()) std::fprintf(stderr, "rondo %s: %s\n", verb.c_str(), text.c_str());
  return code;
}

}  // namespace rondo::actors
