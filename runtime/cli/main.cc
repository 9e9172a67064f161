// rondo: the program of operators. It starts and ends clusters and says what they do; any other
// verb X is the program rondo-X, found beside this one and then in PATH, as git does.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <rondo/base/log.h>
#include <rondo/base/nearest.h>
#include <rondo/base/plain_usage.h>
#include <rondo/host/release.h>

#include "exit_code.h"
#include "options.h"
#include "words.h"

namespace rondo::cli {
namespace {

const std::vector<std::string> kOwnVerbs = {"up", "down", "status", "list", "logs", "head", "node"};

const CLI::Validator kPositive(
    [](const std::string& text) {
      double number = 0;
      const bool good = CLI::detail::lexical_cast(text, number) && number > 0 && number < 1e18;
      return good ? std::string() : "\"" + text + "\" is not a number above 0";
    },
    "");
const CLI::Validator kBytes = [] {
  CLI::AsSizeValue size(false);
  return CLI::Validator(
      [size](std::string& text) {
        const std::string given = text;
        try {
          if (size(text).empty()) return std::string();
        } catch (const CLI::ValidationError&) {
        }
        return "\"" + given + "\" is not a size: write bytes, or 500M, 8G";
      },
      "");
}();

struct Options {
  UpOptions up;
  ClusterOptions head;
  NodeOptions node;
  AskOptions ask;
};

void add_cluster(CLI::App& verb, ClusterOptions& o) {
  verb.add_option("--cluster", o.cluster, "Its name: a folder in RONDO_HOME")
      ->type_name("NAME")
      ->capture_default_str();
  verb.add_option("--listen", o.listen,
                  "tcp://127.0.0.1:PORT or :* instead of a socket; who joins needs the token file "
                  "in RONDO_HOME")
      ->type_name("ADDRESS");
  verb.add_option("--heartbeat", o.heartbeat_s, "Between heartbeats")
      ->check(kPositive)
      ->type_name("SECONDS")
      ->capture_default_str();
  verb.add_option("--suspect", o.suspect_s, "Of silence until a node is suspected")
      ->check(kPositive)
      ->type_name("SECONDS")
      ->capture_default_str();
  verb.add_option("--term", o.term_s, "Of silence until a node is dead: its membership term")
      ->check(kPositive)
      ->type_name("SECONDS")
      ->capture_default_str();
}

void add_room(CLI::App& verb, double& cpus, std::uint64_t& memory, std::uint64_t& store) {
  verb.add_option("--cpus", cpus,
                  "Processors to lend (default: the machine's, as its cgroup allows)")
      ->check(kPositive)
      ->type_name("N");
  verb.add_option("--memory", memory, "Bytes of memory to lend, as in 8G")
      ->transform(kBytes)
      ->type_name("BYTES");
  verb.add_option("--store-bytes", store, "Bound of the object store, as in 2G (default: 30 %)")
      ->transform(kBytes)
      ->type_name("BYTES");
}

void add_address(CLI::App& verb, AskOptions& o) {
  verb.add_option("--address", o.address,
                  "Of the head (default: RONDO_ADDRESS, else the one cluster in RONDO_HOME)")
      ->type_name("ADDRESS");
}

void add_output(CLI::App& verb, AskOptions& o) {
  verb.add_option("-o,--output", o.output, "text or json")
      ->check(CLI::IsMember({"text", "json"}).description(""))
      ->type_name("FORM")
      ->capture_default_str();
}

void describe(CLI::App& app, Options& o, int& code) {
  app.set_version_flag("--version", std::string("rondo ") + host::kRelease);
  app.require_subcommand(1);
  app.get_formatter()->label("SUBCOMMAND", "VERB");
  app.get_formatter()->label("Subcommands", "Verbs");

  CLI::App* up = app.add_subcommand("up", "Start a cluster on this machine and watch over it");
  up->add_option("--nodes", o.up.nodes, "How many nodes")
      ->check(CLI::Range(1, 64).description(""))
      ->type_name("N")
      ->capture_default_str();
  up->add_flag("--detach", o.up.detach, "Give the prompt back once it is up");
  add_cluster(*up, o.up.cluster);
  add_room(*up, o.up.cpus, o.up.memory_bytes, o.up.store_bytes);
  up->callback([&] { code = run_up(o.up); });

  CLI::App* down = app.add_subcommand("down", "End a cluster that was started here");
  add_address(*down, o.ask);
  down->callback([&] { code = run_down(o.ask); });

  CLI::App* status = app.add_subcommand("status", "How a cluster is");
  add_address(*status, o.ask);
  add_output(*status, o.ask);
  status->callback([&] { code = run_status(o.ask); });

  CLI::App* list = app.add_subcommand("list", "List nodes, actors, workers, objects or jobs");
  list->add_option("WHAT", o.ask.what, "nodes, actors, workers, objects or jobs")
      ->required()
      ->type_name("")
      ->check(CLI::IsMember({"nodes", "actors", "workers", "objects", "jobs"}).description(""));
  add_address(*list, o.ask);
  add_output(*list, o.ask);
  list->callback([&] { code = run_list(o.ask); });

  CLI::App* logs = app.add_subcommand("logs", "What a worker or actor has printed");
  logs->add_option("ID", o.ask.what, "A worker's id or pid, an actor's id or name")
      ->required()
      ->type_name("");
  logs->add_option("--tail", o.ask.tail, "Only the last lines")
      ->check(kPositive)
      ->type_name("N");
  add_address(*logs, o.ask);
  logs->callback([&] { code = run_logs(o.ask); });

  CLI::App* head = app.add_subcommand("head", "Run a head alone, in the foreground");
  add_cluster(*head, o.head);
  head->callback([&] { code = run_head(o.head); });

  CLI::App* node = app.add_subcommand("node", "Run a node alone, in the foreground");
  node->add_option("--head", o.node.head,
                   "Where its head listens (default: RONDO_ADDRESS, else the one in RONDO_HOME)")
      ->type_name("ADDRESS");
  node->add_option("--name", o.node.name, "n1, n2, ... by default")->type_name("NAME");
  node->add_option("--cluster", o.node.cluster, "Its folder in RONDO_HOME (default: the head's)")
      ->type_name("NAME");
  node->add_option("--token-file", o.node.token_file, "Of a head in another RONDO_HOME")
      ->type_name("FILE");
  add_room(*node, o.node.cpus, o.node.memory_bytes, o.node.store_bytes);
  node->callback([&] { code = run_node(o.node); });
}

std::string footer() {
  std::string others;
  for (const std::string& verb : other_verbs()) others += (others.empty() ? "" : ", ") + verb;
  return (others.empty() ? std::string() : "Programs beside this one: rondo " + others + "\n") +
         "rondo VERB --help shows a verb's flags.\n"
         "Exit codes: 0 done, 1 the work failed, 2 usage, 3 can never be placed,\n"
         "4 no cluster, 5 the machine, 130/143 after Ctrl-C/TERM.";
}

// The flag is none of `of`'s: with the one that was perhaps meant.
std::string unknown_flag(const std::string& typed, const CLI::App& of, const std::string& help) {
  const std::string word = typed.substr(0, typed.find('='));
  std::vector<std::string> flags;
  for (const CLI::Option* option : of.get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  const std::string meant = nearest(word, flags);
  const std::string text = "unknown flag " + word;
  return meant.empty() ? text + " (" + help + "flags)" : text + "; did you mean " + meant + "?";
}

// What CLI11 says, in a user's words.
std::string sentence_of(const CLI::ParseError& error, CLI::App& app,
                        const std::vector<std::string>& words, const std::string& verb) {
  const std::string help = "rondo" + (verb.empty() ? "" : " " + verb) + " --help shows the ";
  if (verb.empty()) {
    const auto is_known = [&](const std::string& word) {
      return app.get_option_no_throw(word.substr(0, word.find('='))) != nullptr;
    };
    for (const std::string& word : words)
      if (word.starts_with("-") && !is_known(word)) return unknown_flag(word, app, help);
    return "what shall it do? " + help + "verbs; rondo up starts a cluster";
  }
  const std::string text = error.what();
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr)
    for (const CLI::Option* option : app.get_subcommand(verb)->get_options())
      if (option->get_required() && option->count() == 0)
        return option->get_name() + " is missing: " + option->get_description() + " (" + help +
               "flags)";
  if (dynamic_cast<const CLI::ExtrasError*>(&error) == nullptr)
    return plain_usage(text) + " (" + help + "flags)";
  const std::string word = text.substr(text.rfind(' ') + 1);
  if (word.starts_with("-")) return unknown_flag(word, *app.get_subcommand(verb), help);
  return "unexpected word " + word + " (" + help + "flags)";
}

// `rondo help` is --help, `rondo help VERB` is VERB --help.
std::vector<std::string> words_of(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  return words;
}

int run(int argc, char** argv) {
  std::vector<std::string> words = words_of(argc, argv);
  const std::string verb = !words.empty() && !words[0].starts_with('-') ? words[0] : "";
  const bool own = std::find(kOwnVerbs.begin(), kOwnVerbs.end(), verb) != kOwnVerbs.end();
  if (!verb.empty() && !own) {
    std::vector<char*> rest;
    for (std::size_t n = 1; n < words.size(); ++n) rest.push_back(words[n].data());
    rest.push_back(nullptr);
    return run_other(verb, rest.data(), kOwnVerbs);
  }
  Options options;
  int code = kDone;
  CLI::App app("Rondo: distributed actors and task graphs.", "rondo");
  describe(app, options, code);
  app.footer(footer());
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    throw Exit{kUsage, sentence_of(error, app, words, verb)};
  }
  return code;
}

}  // namespace
}  // namespace rondo::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);   // `rondo up | head` ends the reader, not the cluster
  rondo::log_open("rondo");
  try {
    return rondo::cli::run(argc, argv);
  } catch (const rondo::cli::Exit& exit) {
    if (!exit.sentence.empty()) std::fprintf(stderr, "rondo: %s\n", exit.sentence.c_str());
    return exit.code;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rondo: %s\n", error.what());
    return rondo::cli::kMachine;
  }
}
