#pragma once

#include <functional>
#include <string>

#include <CLI/CLI.hpp>

#include <rondo/base/error.h>

// What the programs rondo-train, rondo-sample and rondo-eval share: flags with a did-you-mean,
// one-sentence errors, exit codes (0 done, 1 the work failed, 2 usage, 3 never placeable, 4
// cluster not reachable, 5 the machine, 130/143 stopped).

namespace rondo::actors {

inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnplaceable = 3;
inline constexpr int kExitCluster = 4;
inline constexpr int kExitMachine = 5;

// Thrown by a program's body to end it: the code, and one sentence for stderr (none if empty).
struct Exit {
  int code = 0;
  std::string text;
};

// Parses argv; throws Exit with code 0 after --help, kExitUsage for anything unknown, with the
// nearest flag named.
void parse_flags(CLI::App& app, int argc, char** argv);

// Checks of a flag's text: a finite number above 0, or from 0 on; a number from `low` to `high`; a
// whole number of 64 bits.
[[nodiscard]] CLI::Validator finite_number(bool or_zero);
[[nodiscard]] CLI::Validator number_between(double low, double high);
[[nodiscard]] CLI::Validator whole_number();

// Runs a program's body and turns what it throws into an exit code and a sentence: "rondo train:
// ...".
int run_program(const std::string& verb, const std::function<int()>& body);

// A flag's text as one of the words that `parse` knows; throws Exit naming them all.
template <class T>
T parse_word(const std::string& flag, const std::string& text, const char* words) {
  T value{};
  if (!parse(text, value))
    throw Exit{kExitUsage, flag + " '" + text + "' is unknown: it is one of " + words};
  return value;
}

}  // namespace rondo::actors
