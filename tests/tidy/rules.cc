#include "rules.h"

#include <algorithm>
#include <map>
#include <regex>

namespace tidy {
namespace {

bool is_header(const Source& s) { return s.path.ends_with(".h"); }
bool is_cxx(const Source& s) {
  return is_header(s) || s.path.ends_with(".cc") || s.path.ends_with(".cu");
}

void add(std::vector<Finding>& out, const Source& s, std::size_t line, const char* rule,
         std::string text) {
  out.push_back({s.path, line, rule, std::move(text)});
}

// Characters, not bytes: an arrow in a comment is one column.
std::size_t columns(const std::string& line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

bool allowed(const Source& s, const Finding& finding) {
  const std::string mark = "tidy: allow " + finding.rule;
  for (std::size_t n = finding.line; n + 1 >= finding.line && n > 0; --n) {
    const std::size_t at = n <= s.lines.size() ? s.lines[n - 1].find(mark) : std::string::npos;
    if (at != std::string::npos && s.lines[n - 1].find("because", at) != std::string::npos)
      return true;
  }
  return false;
}

struct Banned {
  std::regex pattern;
  std::string why;
};

const std::vector<Banned>& banned_in_core() {
  static const std::vector<Banned> list = [] {
    std::vector<Banned> out;
    const auto ban = [&](const char* pattern, const char* why) {
      out.push_back({std::regex(pattern), why});
    };
    ban(R"(\b(zmq|zmq_\w+|capnp|kj|tbb|cuda\w*|cublas\w*|nccl\w*|sqlite3\w*)\b)",
        "an outside library: machines move ids and effects, the host does the rest");
    ban(R"(#\s*include\s*<(thread|mutex|shared_mutex|condition_variable|future|semaphore|latch)>)",
        "threads: a machine is driven by one loop");
    ban(R"(\bstd::(this_thread|thread|jthread|mutex|lock_guard|unique_lock|condition_variable)\b)",
        "threads: a machine is driven by one loop");
    ban(R"(#\s*include\s*<(chrono|ctime|time\.h|sys/time\.h)>|\bclock_gettime\b|\bgettimeofday\b)",
        "clocks: `now` comes in with every call");
    ban(R"(\bstd::chrono\b|\bstd::time\b)", "clocks: `now` comes in with every call");
    ban(R"(#\s*include\s*<random>|\bstd::(random_device|mt19937\w*|rand)\b)",
        "randomness of its own: numbers come from a seed that is handed in");
    ban(R"(#\s*include\s*<(iostream|fstream|cstdio|stdio\.h|filesystem|print)>)",
        "input and output: effects are data");
    ban(R"(\bstd::(cout|cerr|clog|ofstream|ifstream)\b|\b[f]?printf\s*\()",
        "input and output: effects are data");
    ban(R"(\b(float|double)\b)", "floating point in decisions: count in integers");
    ban(R"(\b(map|set)<\s*(const\s+)?[\w:]+\s*\*)", "a pointer as key: its order is chance");
    return out;
  }();
  return list;
}

// Names of unordered containers declared in the file, to find loops over them.
std::set<std::string> unordered_names(const Source& s) {
  static const std::regex declaration(
      R"(unordered_(?:map|set|multimap|multiset)<.*>\s*[&]?(\w+)\s*[;={,)])");
  std::set<std::string> names;
  for (const std::string& line : s.code) {
    std::smatch match;
    if (std::regex_search(line, match, declaration)) names.insert(match[1]);
  }
  return names;
}

}  // namespace

void check_shape(const Source& s, const Limits& limits, std::vector<Finding>& out) {
  for (std::size_t n = 0; n < s.lines.size(); ++n) {
    if (const std::size_t width = columns(s.lines[n]); width > limits.columns)
      add(out, s, n + 1, "columns",
          std::to_string(width) + " columns, at most " + std::to_string(limits.columns));
    if (s.lines[n].ends_with(' ') || s.lines[n].ends_with('\r') || s.lines[n].ends_with('\t'))
      add(out, s, n + 1, "trailing-blank", "the line ends in a blank");
    if (is_cxx(s) && s.lines[n].find('\t') != std::string::npos)
      add(out, s, n + 1, "tab", "a tab: indent with blanks");
  }
  if (!is_cxx(s)) return;
  const std::size_t most = is_header(s) ? limits.header_lines : limits.source_lines;
  if (s.lines.size() > most)
    add(out, s, s.lines.size(), "file-length",
        std::to_string(s.lines.size()) + " lines, at most " + std::to_string(most));
  for (const Function& f : find_functions(s))
    if (const std::size_t length = f.last - f.first + 1; length > limits.function_lines)
      add(out, s, f.first, "function-length",
          std::to_string(length) + " lines, at most " + std::to_string(limits.function_lines));
}

void check_header(const Source& s, std::vector<Finding>& out) {
  if (!is_header(s)) return;
  if (std::none_of(s.lines.begin(), s.lines.end(),
                   [](const std::string& line) { return line == "#pragma once"; }))
    add(out, s, 1, "pragma-once", "a header opens with #pragma once");
  std::size_t longest = 0;
  std::size_t run = 0;
  for (const std::string& line : s.lines) {
    if (line.starts_with("namespace ")) break;
    run = line.starts_with("//") ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::size_t least = room_of(s.path) == "public" ? 5 : 1;
  if (longest < least)
    add(out, s, 1, "opening-comment",
        least == 1
            ? "say at the top what this header is"
            : "a public header opens with 5 to 20 lines: what, whose, which thread, when not");
}

void check_leftovers(const Source& s, std::vector<Finding>& out) {
  if (s.path.starts_with("tests/tidy/")) return;  // it has to name them
  static const std::regex word(R"(\b(FIXME|XXX|HACK)\b|\bTODO\b(?!\(#\d+\)))");
  for (std::size_t n = 0; n < s.lines.size(); ++n) {
    std::smatch match;
    if (std::regex_search(s.lines[n], match, word))
      add(out, s, n + 1, "leftover",
          match.str() +
              ": do it, or name the issue as in `TO"
              "DO(#12)`");
  }
}

std::vector<Include> includes_of(const Source& s) {
  static const std::regex include(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::vector<Include> found;
  for (std::size_t n = 0; n < s.lines.size(); ++n) {
    std::smatch match;
    if (std::regex_search(s.lines[n], match, include))
      found.push_back({n + 1, match[2], match[1] == "\""});
  }
  return found;
}

std::string room_of(std::string_view path) {
  const auto first = [](std::string_view p) { return std::string(p.substr(0, p.find('/'))); };
  if (!path.starts_with("runtime/")) return first(path);
  path.remove_prefix(8);
  return path.find('/') == std::string_view::npos ? "public" : first(path);
}

std::string room_of_include(std::string_view include) {
  if (!include.starts_with("rondo/")) return "";
  include.remove_prefix(6);
  const std::size_t slash = include.find('/');
  // The seam between the typed surface and the engine beneath it: both sides know it.
  static const std::set<std::string_view> seam = {"body.h",  "client.h",   "context.h", "engine.h",
                                                  "error.h", "registry.h", "session.h"};
  if (seam.contains(include)) return "seam";
  return slash == std::string_view::npos ? "public" : std::string(include.substr(0, slash));
}

const std::set<std::string>& may_include(const std::string& room) {
  static const std::map<std::string, std::set<std::string>> rooms = {
      {"base", {"base"}},
      {"core", {"core", "base"}},
      {"wire", {"wire", "core", "base"}},
      {"net", {"net", "core", "base"}},
      {"store", {"store", "core", "base"}},
      {"exec", {"exec", "seam", "core", "base"}},
      {"host", {"host", "seam", "wire", "net", "store", "exec", "core", "base"}},
      {"sim", {"sim", "wire", "core", "base"}},
      {"value", {"value", "public", "seam", "base"}},
      {"public",
       {"public", "seam", "value", "host", "wire", "net", "store", "exec", "core", "base"}},
      {"cli",
       {"cli", "public", "seam", "value", "host", "wire", "net", "store", "exec", "core", "base"}},
      {"ops", {"ops"}},
      {"actors", {"actors", "ops", "public", "seam", "value", "base"}},
      {"examples", {"actors", "ops", "public", "seam", "value", "base"}},
  };
  static const std::set<std::string> anything;
  const auto found = rooms.find(room);
  return found == rooms.end() ? anything : found->second;
}

void check_includes(const Source& s, std::vector<Finding>& out) {
  if (!is_cxx(s)) return;
  const std::string room = room_of(s.path);
  const std::set<std::string>& allowed_rooms = may_include(room);
  for (const Include& include : includes_of(s)) {
    if (include.quoted && !allowed_rooms.empty() && include.name.find('/') != std::string::npos)
      add(out, s, include.line, "include-form", "write <rondo/...> instead of " + include.name);
    const std::string wanted = room_of_include(include.name);
    if (!wanted.empty() && !allowed_rooms.empty() && !allowed_rooms.contains(wanted))
      add(out, s, include.line, "include-dag", room + " may not include " + include.name);
  }
}

void check_core(const Source& s, std::vector<Finding>& out) {
  if (!is_cxx(s) || room_of(s.path) != "core") return;
  const std::set<std::string> unordered = unordered_names(s);
  static const std::regex loop(R"(for\s*\([^;]*:\s*(\w+)\s*\)|(\w+)\.begin\(\))");
  for (std::size_t n = 0; n < s.code.size(); ++n) {
    const std::string& line = s.code[n];
    for (const Banned& banned : banned_in_core()) {
      std::smatch match;
      if (std::regex_search(line, match, banned.pattern))
        add(out, s, n + 1, "core-ban", "`" + match.str() + "` in core/: " + banned.why);
    }
    std::smatch match;
    if (std::regex_search(line, match, loop)) {
      const std::string name = match[1].matched ? match[1] : match[2];
      if (unordered.contains(name))
        add(out, s, n + 1, "core-ban",
            "`" + name + "` is iterated, and unordered: its order is chance");
    }
  }
}

std::vector<Finding> check_file(const Source& source, const Limits& limits) {
  std::vector<Finding> found;
  check_shape(source, limits, found);
  check_header(source, found);
  check_leftovers(source, found);
  check_includes(source, found);
  check_core(source, found);
  std::erase_if(found, [&](const Finding& finding) { return allowed(source, finding); });
  return found;
}

}  // namespace tidy
