// rondo: the program of operators. It starts and ends clusters and says what they do; any other
// verb X is the program rondo-X, found beside this one and then in PATH, as git does.

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <rondo/base/log.h>
#include <rondo/host/release.h>

#include "exit_code.h"
#include "options.h"

namespace rondo::cli {
namespace {

const std::vector<std::string> kOwnVerbs = {"up", "down", "status", "list", "logs", "head", "node"};

struct Options {
  UpOptions up;
  ClusterOptions head;
  NodeOptions node;
  AskOptions ask;
};

void add_cluster(CLI::App& verb, ClusterOptions& o) {
  verb.add_option("--cluster", o.cluster, "Its name: a folder in RONDO_HOME")
      ->capture_default_str();
  verb.add_option("--listen", o.listen,
                  "tcp://127.0.0.1:PORT (0600 token file) instead of a socket in RONDO_HOME");
  verb.add_option("--heartbeat", o.heartbeat_s, "Seconds between heartbeats")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb.add_option("--suspect", o.suspect_s, "Seconds of silence until a node is suspected")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb.add_option("--term", o.term_s,
                  "Seconds of silence until a node is dead: its membership term")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

void add_room(CLI::App& verb, double& cpus, std::uint64_t& memory, std::uint64_t& store) {
  verb.add_option("--cpus", cpus,
                  "Processors to lend (default: the machine's, as its cgroup allows)")
      ->check(CLI::PositiveNumber);
  verb.add_option("--memory", memory, "Bytes of memory to lend, as in 8G")
      ->transform(CLI::AsSizeValue(false));
  verb.add_option("--store-bytes", store, "Bound of the object store, as in 2G (default: 30 %)")
      ->transform(CLI::AsSizeValue(false));
}

void add_address(CLI::App& verb, AskOptions& o) {
  verb.add_option("--address", o.address,
                  "Of the head (default: RONDO_ADDRESS, else the one cluster in RONDO_HOME)");
}

void add_output(CLI::App& verb, AskOptions& o) {
  verb.add_option("-o,--output", o.output, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

void describe(CLI::App& app, Options& o, int& code) {
  app.set_version_flag("--version", std::string("rondo ") + host::kRelease);
  app.require_subcommand(1);
  app.footer(
      "Other verbs are programs: `rondo train` runs rondo-train.\n"
      "Exit codes: 0 done, 1 the work failed, 2 usage, 3 can never be placed,\n"
      "4 no cluster, 5 the machine, 130/143 after Ctrl-C/TERM.");

  CLI::App* up = app.add_subcommand("up", "Start a cluster on this machine and watch over it");
  up->add_option("--nodes", o.up.nodes, "How many nodes")
      ->check(CLI::Range(1, 64))
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

  CLI::App* list = app.add_subcommand("list", "nodes, actors, workers, objects or jobs");
  list->add_option("WHAT", o.ask.what)
      ->required()
      ->check(CLI::IsMember({"nodes", "actors", "workers", "objects", "jobs"}));
  add_address(*list, o.ask);
  add_output(*list, o.ask);
  list->callback([&] { code = run_list(o.ask); });

  CLI::App* logs = app.add_subcommand("logs", "What a worker or actor has printed");
  logs->add_option("ID", o.ask.what, "A worker's id or pid, an actor's id or name")->required();
  logs->add_option("--tail", o.ask.tail, "Only the last lines")->check(CLI::PositiveNumber);
  add_address(*logs, o.ask);
  logs->callback([&] { code = run_logs(o.ask); });

  CLI::App* head = app.add_subcommand("head", "Run a head alone, in the foreground");
  add_cluster(*head, o.head);
  head->callback([&] { code = run_head(o.head); });

  CLI::App* node = app.add_subcommand("node", "Run a node alone, in the foreground");
  node->add_option("--head", o.node.head, "Where its head listens (default: as --address)");
  node->add_option("--name", o.node.name, "n1, n2, ... by default");
  node->add_option("--cluster", o.node.cluster, "Its folder in RONDO_HOME (default: the head's)");
  node->add_option("--token-file", o.node.token_file, "Of a head in another RONDO_HOME");
  add_room(*node, o.node.cpus, o.node.memory_bytes, o.node.store_bytes);
  node->callback([&] { code = run_node(o.node); });
}

int run(int argc, char** argv) {
  if (argc > 1 && argv[1][0] != '-') {
    const std::string verb = argv[1];
    if (std::find(kOwnVerbs.begin(), kOwnVerbs.end(), verb) == kOwnVerbs.end())
      return run_other(verb, argv + 2, kOwnVerbs);
  }
  Options options;
  int code = kDone;
  CLI::App app("Rondo: distributed actors and task graphs.", "rondo");
  describe(app, options, code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    const std::string verb = argc > 1 && argv[1][0] != '-' ? std::string(" ") + argv[1] : "";
    throw Exit{kUsage, std::string(error.what()) + " (rondo" + verb + " --help shows the flags)"};
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
