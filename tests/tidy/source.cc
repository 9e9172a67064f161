#include "source.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <regex>

namespace tidy {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Blanks what is not code. One pass over the whole text; a newline stays a newline.
class Blanker {
 public:
  explicit Blanker(std::string_view text) : text_(text), out_(text) {}

  std::string run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (starts("//")) blank_until("\n", false);
      else if (starts("/*")) blank_until("*/", true);
      else if (c == '"') string_literal();
      else if (c == '\'' && !inside_number()) quoted('\'');
      else ++at_;
    }
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool starts(std::string_view what) const {
    return text_.substr(at_, what.size()) == what;
  }
  // 1'000'000 is not a character literal; u8'x' is none of ours.
  [[nodiscard]] bool inside_number() const {
    return at_ > 0 && std::isxdigit(static_cast<unsigned char>(text_[at_ - 1])) != 0;
  }
  void blank(std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < std::min(to, out_.size()); ++i)
      if (out_[i] != '\n') out_[i] = ' ';
  }
  void blank_until(std::string_view end, bool with_end) {
    std::size_t found = text_.find(end, at_ + 2);
    if (found == std::string_view::npos) found = text_.size();
    else if (with_end) found += end.size();
    blank(at_, found);
    at_ = found;
  }
  void string_literal() {
    if (at_ > 0 && text_[at_ - 1] == 'R' && (at_ < 2 || !is_word(text_[at_ - 2]))) {
      const std::size_t open = text_.find('(', at_);
      const std::string end = ")" + std::string(text_.substr(at_ + 1, open - at_ - 1)) + "\"";
      blank_until(end, true);
    } else {
      quoted('"');
    }
  }
  // The quotes stay, so that a head such as `extern "C" {` keeps its shape.
  void quoted(char quote) {
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n')
      end += text_[end] == '\\' ? 2 : 1;
    blank(at_ + 1, end);
    at_ = end + 1;
  }

  std::string_view text_;
  std::string out_;
  std::size_t at_ = 0;
};

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string without_template_parameters(const std::string& head) {
  static const std::regex start(R"(template\s*<)");
  std::string out = head;
  std::smatch match;
  while (std::regex_search(out, match, start)) {
    std::size_t end = static_cast<std::size_t>(match.position() + match.length());
    for (int depth = 1; end < out.size() && depth > 0; ++end) {
      if (out[end] == '<') ++depth;
      if (out[end] == '>') --depth;
    }
    out.erase(static_cast<std::size_t>(match.position()),
              end - static_cast<std::size_t>(match.position()));
  }
  return out;
}

enum class Scope : unsigned char { kOpen, kFunction, kInner };  // kOpen: namespaces and types

// What does a brace open, given the text since the last ; { or } at this level?
Scope classify(const std::string& raw_head) {
  static const std::regex open(R"(^\s*(inline\s+)?namespace\b|extern\s*"[^"]*"\s*$)");
  static const std::regex type(R"(^[^(=]*\b(class|struct|union|enum)\b)");
  const std::string head = without_template_parameters(raw_head);
  if (std::regex_search(head, open)) return Scope::kOpen;
  if (std::regex_search(head, type) && head.find(") ") == std::string::npos) return Scope::kOpen;
  return head.find('(') != std::string::npos ? Scope::kFunction : Scope::kInner;
}

// Member initialisers (`: a_{1}`) and default arguments open braces that are no body.
bool is_initialiser(const std::string& head, int parens) {
  if (parens > 0) return true;
  static const std::regex list(R"(\)[^;]*[^:]:[^:])");
  return !head.empty() && (is_word(head.back()) || head.back() == '>') &&
         std::regex_search(head, list);
}

// Walks the code once, keeping the stack of scopes and the text of the declaration being read.
class Scanner {
 public:
  explicit Scanner(const Source& source) : source_(source) {}

  std::vector<Function> run() {
    bool continued = false;  // a preprocessor line ended in a backslash
    for (std::size_t n = 0; n < source_.code.size(); ++n) {
      const std::string& line = source_.code[n];
      const std::size_t first = line.find_first_not_of(" \t");
      const bool directive = continued || (first != std::string::npos && line[first] == '#');
      continued = directive && !line.empty() && line.back() == '\\';
      if (directive) continue;
      for (const char c : line) step(c, n + 1);
      step('\n', n + 1);
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] bool in_function() const {
    return std::any_of(scopes_.begin(), scopes_.end(),
                       [](Scope s) { return s == Scope::kFunction; });
  }
  void clear_head() {
    head_.clear();
    parens_ = 0;
    first_ = 0;
  }
  void step(char c, std::size_t line) {
    if (c == '{') return open(line);
    if (c == '}') return close(line);
    if (in_function() || initialiser_depth_ > 0) return;
    if (c == ';' && parens_ == 0) return clear_head();
    if (c == ':' && is_access(head_)) return clear_head();
    if (c == '(') ++parens_;
    if (c == ')') --parens_;
    if (first_ == 0 && std::isspace(static_cast<unsigned char>(c)) == 0) first_ = line;
    head_ += c == '\n' || c == '\t' ? ' ' : c;
  }
  static bool is_access(const std::string& head) {
    static const std::regex access(R"(^\s*(public|private|protected)\s*$)");
    return head.size() < 200 && std::regex_search(head, access);
  }
  void open(std::size_t line) {
    if (in_function()) return scopes_.push_back(Scope::kInner);
    if (initialiser_depth_ > 0 || is_initialiser(head_, parens_)) {
      ++initialiser_depth_;
      return;
    }
    const Scope scope = classify(head_);
    if (scope == Scope::kFunction) found_.push_back({first_ == 0 ? line : first_, 0});
    scopes_.push_back(scope);
    clear_head();
  }
  void close(std::size_t line) {
    if (initialiser_depth_ > 0) {
      --initialiser_depth_;
      head_ += ' ';
      return;
    }
    if (scopes_.empty()) return;
    if (scopes_.back() == Scope::kFunction) found_.back().last = line;
    scopes_.pop_back();
    if (!in_function()) clear_head();
  }

  const Source& source_;
  std::vector<Scope> scopes_;
  std::vector<Function> found_;
  std::string head_;
  int parens_ = 0;
  int initialiser_depth_ = 0;
  std::size_t first_ = 0;
};

}  // namespace

Source read_source(std::string path, std::string_view text) {
  Source source;
  source.path = std::move(path);
  source.lines = split_lines(text);
  const bool is_cxx =
      source.path.ends_with(".h") || source.path.ends_with(".cc") || source.path.ends_with(".cu");
  source.code = is_cxx ? split_lines(Blanker(text).run()) : source.lines;
  return source;
}

std::vector<Function> find_functions(const Source& source) {
  std::vector<Function> found = Scanner(source).run();
  std::erase_if(found, [](const Function& f) { return f.last == 0; });
  return found;
}

}  // namespace tidy
