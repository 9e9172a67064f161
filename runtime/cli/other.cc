#include <unistd.h>

#include <cerrno>

#include <rondo/base/nearest.h>
#include <rondo/base/owned_fd.h>

#include "exit_code.h"
#include "options.h"
#include "words.h"

// Verbs that are programs of their own.

namespace rondo::cli {

int run_other(const std::string& verb, char** arguments, const std::vector<std::string>& own) {
  if (const auto path = path_of_verb(verb)) {
    const std::string name = "rondo-" + verb;
    std::vector<char*> argv{const_cast<char*>(name.c_str())};  // exec does not write
    for (char** each = arguments; *each != nullptr; ++each) argv.push_back(*each);
    argv.push_back(nullptr);
    ::execv(path->c_str(), argv.data());
    throw Exit{kMachine, "could not run " + *path + ": " + errno_text(errno)};
  }
  std::vector<std::string> known = own;
  for (const std::string& other : other_verbs()) known.push_back(other);
  const std::string meant = nearest(verb, known);
  throw Exit{kUsage, "there is no verb \"" + verb + "\"" +
                         (meant.empty() ? ": rondo --help lists them"
                                        : "; did you mean \"rondo " + meant + "\"?")};
}

}  // namespace rondo::cli
