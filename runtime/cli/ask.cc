#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <rondo/host/control_client.h>

#include "exit_code.h"
#include "find_cluster.h"
#include "options.h"

// `rondo status`, `list` and `logs`: asks the head what it knows, and each node what only it knows.

namespace rondo::cli {

namespace {

using json = nlohmann::ordered_json;
using host::ControlClient;

struct Conversation {
  host::ClusterPlace place;
  std::unique_ptr<ControlClient> head;
};

json parse(const std::string& text, const std::string& who) {
  json rows = json::parse(text, nullptr, false);
  if (!rows.is_array()) throw Exit{kNoCluster, who + " answers what is not a list"};
  return rows;
}

// With the head, whoever the address names.
Conversation converse(const AskOptions& options) {
  Conversation talk;
  talk.place = find_cluster(options.address);
  talk.head = need(ControlClient::connect(talk.place), kNoCluster);
  if (talk.head->is_head()) return talk;
  talk.place.address = need(talk.head->inspect("head"), kNoCluster);
  talk.head.reset();
  talk.head = need(ControlClient::connect(talk.place), kNoCluster);
  return talk;
}

json ask_head(Conversation& talk, const std::string& what) {
  return parse(need(talk.head->inspect(what), kNoCluster), talk.place.address);
}

// What every living node answers; a node that does not is named on stderr.
json ask_nodes(Conversation& talk, const std::string& what) {
  json all = json::array();
  for (const json& node : ask_head(talk, "nodes")) {
    if (node.value("state", "") == "dead" || node.value("state", "") == "awaited") continue;
    host::ClusterPlace there = talk.place;
    there.address = node.value("address", "");
    const auto client = ControlClient::connect(there, seconds(2));
    const auto text = client ? client.value()->inspect(what) : Result<std::string>(client.error());
    if (!text) {
      std::fprintf(stderr, "rondo: node %s does not say: %s\n", node.value("name", "").c_str(),
                   text.error().what());
      continue;
    }
    for (const json& row : parse(text.value(), there.address)) all.push_back(row);
  }
  return all;
}

// One row an object, however many nodes have a copy.
json merged(const json& rows) {
  json all = json::array();
  for (const json& row : rows) {
    const auto same = std::find_if(all.begin(), all.end(), [&](const json& other) {
      return other.value("id", "") == row.value("id", "");
    });
    json nodes = json::array({row.value("nodes", "")});
    if (same != all.end()) {
      (*same)["nodes"].push_back(nodes[0]);
      // Every node counts the one owner.
      (*same)["refs"] = (*same).value("refs", 1) + row.value("refs", 1) - 1;
    } else {
      all.push_back(row);
      all.back()["nodes"] = std::move(nodes);
    }
  }
  return all;
}

json ask(Conversation& talk, const std::string& what) {
  if (what == "objects") return merged(ask_nodes(talk, what));
  return what == "workers" ? ask_nodes(talk, what) : ask_head(talk, what);
}

std::string cell(const json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

void print_table(const json& rows, const std::string& what) {
  if (rows.empty()) {
    std::printf("no %s\n", what.c_str());
    return;
  }
  std::vector<std::string> keys;
  for (const auto& [key, value] : rows.front().items()) keys.push_back(key);
  std::map<std::string, std::size_t> width;
  for (const std::string& key : keys) {
    width[key] = key.size();
    for (const json& row : rows)
      if (row.contains(key)) width[key] = std::max(width[key], cell(row[key]).size());
  }
  const auto line = [&](auto text_of) {
    std::string out;
    for (const std::string& key : keys) {
      std::string text = text_of(key);
      text.resize(std::max(text.size(), width[key]), ' ');
      out += text + "  ";
    }
    while (out.ends_with(' ')) out.pop_back();
    std::printf("%s\n", out.c_str());
  };
  line([](const std::string& key) { return key; });
  for (const json& row : rows)
    line([&](const std::string& key) { return row.contains(key) ? cell(row[key]) : ""; });
}

}  // namespace

int run_status(const AskOptions& options) {
  Conversation talk = converse(options);
  const json status = ask_head(talk, "status");
  if (options.output == "json") {
    std::printf("%s\n", status.dump().c_str());
    return kDone;
  }
  const json& head = status.at(0);
  std::printf("head at %s: pid %lld, release %s, life %lld\n", talk.place.address.c_str(),
              static_cast<long long>(head.value("pid", std::int64_t{0})),
              head.value("release", "").c_str(),
              static_cast<long long>(head.value("incarnation", std::int64_t{0})));
  std::printf("%lld nodes, %lld actors, %lld jobs\n\n",
              static_cast<long long>(head.value("nodes", std::int64_t{0})),
              static_cast<long long>(head.value("actors", std::int64_t{0})),
              static_cast<long long>(head.value("jobs", std::int64_t{0})));
  print_table(ask_head(talk, "nodes"), "nodes");
  return kDone;
}

int run_list(const AskOptions& options) {
  Conversation talk = converse(options);
  const json rows = ask(talk, options.what);
  if (options.output == "json") std::printf("%s\n", rows.dump().c_str());
  else print_table(rows, options.what);
  return kDone;
}

namespace {

bool names(const json& row, const std::string& id) {
  return row.value("id", "") == id || row.value("name", "") == id ||
         (row.contains("pid") && row["pid"].dump() == id && id != "0");
}

// The id under which a node knows the log: an actor's for its name or pid, a worker's for its pid.
std::string log_id(Conversation& talk, const std::string& id) {
  for (const char* what : {"actors", "workers"})
    for (const json& row : ask(talk, what))
      if (names(row, id)) return row.value("id", id);
  return id;  // a worker that has ended: its log is still there
}

std::string last_lines(const std::string& text, int count) {
  std::size_t at = text.size();
  if (at > 0 && text[at - 1] == '\n') --at;
  for (int n = 0; n < count; ++n) {
    at = at == 0 ? std::string::npos : text.rfind('\n', at - 1);
    if (at == std::string::npos) return text;
  }
  return text.substr(at + 1);
}

}  // namespace

int run_logs(const AskOptions& options) {
  Conversation talk = converse(options);
  const std::string id = log_id(talk, options.what);
  for (const json& node : ask_head(talk, "nodes")) {
    if (node.value("state", "") == "dead" || node.value("state", "") == "awaited") continue;
    host::ClusterPlace there = talk.place;
    there.address = node.value("address", "");
    const auto client = ControlClient::connect(there, seconds(2));
    if (!client) continue;
    const auto text = client.value()->inspect("log " + id);
    if (!text) continue;
    const std::string shown =
        options.tail > 0 ? last_lines(text.value(), options.tail) : text.value();
    std::fwrite(shown.data(), 1, shown.size(), stdout);
    return kDone;
  }
  throw Exit{kWorkFailed,
             "no worker or actor \"" + options.what +
                 "\" is known: rondo list workers and rondo list actors show their ids"};
}

}  // namespace rondo::cli
