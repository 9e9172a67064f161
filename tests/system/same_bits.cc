#include "same_bits.h"

#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <sstream>

namespace rondo::actors {

namespace {

bool within(double seconds, const std::function<bool()>& good) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + std::chrono::duration<double>(seconds);
  while (!good()) {
    if (Clock::now() > until) return false;
    ::poll(nullptr, 0, 20);
  }
  return true;
}

}  // namespace

void SameBits::SetUp() {
  text_ = scratch_.write("text", small_text(14000));
  home_ = scratch_ / "home";
  ::setenv("RONDO_HOME", home_.c_str(), 1);
  ::unsetenv("RONDO_ADDRESS");
}

void SameBits::TearDown() {
  const auto left = system_test::leftovers_after({home_, scratch_ / ""}, 10);
  for (const std::string& what : left) ADD_FAILURE() << "left behind: " << what;
}

std::vector<std::string> SameBits::arguments(const std::string& out,
                                             const std::vector<std::string>& more) const {
  std::vector<std::string> all{"--out", scratch_ / out, "-o", "json"};
  const std::vector<std::string> standard{
      "--text",     text_, "--hidden", "16", "--batch",  "7", "--seq",     "16", "--epochs", "1",
      "--layers",   "2",   "--replicas", "2", "--stages", "2", "--threads", "1"};
  for (std::size_t at = 0; at < standard.size(); at += 2) {
    if (std::find(more.begin(), more.end(), standard[at]) != more.end()) continue;
    all.insert(all.end(), {standard[at], standard[at + 1]});
  }
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

void SameBits::expect_same(const std::string& a, const std::string& b) const {
  const std::string weights = slurp(file(a));
  EXPECT_FALSE(weights.empty()) << a;
  EXPECT_TRUE(weights == slurp(file(b))) << a << " and " << b << " differ";
}

Ran SameBits::train(const std::string& out, const std::vector<std::string>& more) {
  Ran ran = run("rondo-train", arguments(out, more));
  EXPECT_EQ(ran.code, 0) << ran.err;
  return ran;
}

Ran SameBits::resume(const std::string& out) {
  Ran ran = run("rondo-train", {"--resume", "--out", scratch_ / out, "-o", "json"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  return ran;
}

json SameBits::await(Started& started, const std::string& event, int step) {
  while (true) {
    const std::string line = started.line();
    if (line.empty()) return nullptr;
    const json said = json::parse(line, nullptr, false);
    if (said.value("event", "") == event && said.value("step", 0) >= step) return said;
  }
}

int SameBits::count(const Ran& ran, const std::string& event) {
  int seen = 0;
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);)
    seen += json::parse(line, nullptr, false).value("event", "") == event;
  return seen;
}

std::vector<std::string> SameBits::hits(const Ran& ran) {
  const std::string mark = "chaos: hit: ";
  std::vector<std::string> all;
  std::istringstream lines(ran.err);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(mark)) all.push_back(line.substr(mark.size()));
  return all;
}

void SameBits::expect_hits(const Ran& ran, const std::vector<std::string>& ways) {
  const std::vector<std::string> hit = hits(ran);
  for (const std::string& way : hit) std::printf("hit: %s\n", way.c_str());
  for (const std::string& way : ways)
    EXPECT_EQ(std::count(hit.begin(), hit.end(), way), 1) << way << " was never hit\n" << ran.err;
}

Cluster::Cluster(int nodes, bool quick) {
  std::vector<std::string> up{"up", "--nodes", std::to_string(nodes), "--detach"};
  if (quick)
    up.insert(up.end(), {"--heartbeat", "0.2", "--suspect", "0.6", "--term", "1.5"});
  const Ran ran = run("rondo", up);
  EXPECT_EQ(ran.code, 0) << ran.err;
  address_ = status()[0].value("address", "");
}

Cluster::~Cluster() { run("rondo", {"down"}); }

json Cluster::list(const std::string& what) {
  const Ran ran = run("rondo", {"list", what, "-o", "json"});
  const json rows = json::parse(ran.out, nullptr, false);
  return ran.code == 0 && rows.is_array() ? rows : json::array();
}

json Cluster::status() {
  const Ran ran = run("rondo", {"status", "-o", "json"});
  const json rows = json::parse(ran.out, nullptr, false);
  return ran.code == 0 && rows.is_array() && !rows.empty() ? rows : json::array({json::object()});
}

std::vector<int> Cluster::pids_of_nodes() {
  std::vector<int> pids;
  for (const json& node : list("nodes"))
    if (node.value("state", "") == "alive") pids.push_back(node["pid"]);
  return pids;
}

int Cluster::pid_of_node(const std::string& name) {
  for (const json& node : list("nodes"))
    if (node.value("name", "") == name && node.value("state", "") == "alive") return node["pid"];
  return 0;
}

bool Cluster::sees_dead_nodes(int wanted) {
  return within(10, [&] {   // the run may be over before a term is
    int dead = 0;
    for (const json& node : list("nodes")) dead += node.value("state", "") == "dead" ? 1 : 0;
    return dead >= wanted;
  });
}

void Cluster::expect_idle() {
  EXPECT_TRUE(within(10, [] { return list("workers").empty(); })) << list("workers").dump();
  EXPECT_TRUE(within(10, [] { return list("objects").empty(); })) << list("objects").dump();
  for (const json& actor : list("actors")) EXPECT_EQ(actor["state"], "dead") << actor;
  for (const json& job : list("jobs")) EXPECT_EQ(job["state"], "ended") << job;
  const auto leases_are_back = [] {
    const json nodes = list("nodes");
    return std::all_of(nodes.begin(), nodes.end(), [](const json& node) {
      return node["state"] != "alive" || node["cpus_free"] == node["cpus"];
    });
  };
  EXPECT_TRUE(within(10, leases_are_back)) << list("nodes").dump();
}

}  // namespace rondo::actors
