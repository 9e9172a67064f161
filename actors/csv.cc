#include <rondo/actors/csv.h>

#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>

namespace rondo::actors {

namespace {

struct Reader {
  std::string_view bytes;
  std::size_t at = 0;
  int line = 0;  // of the row last read, from 1
  int next_line = 1;

  [[nodiscard]] bool done() const { return at >= bytes.size(); }

  // The cells of the next row; nothing when a quote is never closed.
  std::optional<std::vector<std::string>> row() {
    std::vector<std::string> cells(1);
    line = next_line;
    bool quoted = false;
    while (at < bytes.size()) {
      const char c = bytes[at++];
      if (c == '\n') ++next_line;
      if (quoted) {
        if (c != '"') {
          cells.back() += c;
        } else if (at < bytes.size() && bytes[at] == '"') {
          cells.back() += bytes[at++];
        } else {
          quoted = false;
        }
      } else if (c == '"') {
        quoted = true;
      } else if (c == ',') {
        cells.emplace_back();
      } else if (c == '\n') {
        return cells;
      } else if (c != '\r') {
        cells.back() += c;
      }
    }
    if (quoted) return std::nullopt;
    return cells;
  }
};

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool same_letters(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(a[i])) !=
        std::tolower(static_cast<unsigned char>(b[i])))
      return false;
  }
  return true;
}

std::optional<std::size_t> find_column(const std::vector<std::string>& header,
                                       const std::string& name) {
  for (std::size_t i = 0; i < header.size(); ++i)
    if (header[i] == name) return i;
  for (std::size_t i = 0; i < header.size(); ++i)
    if (same_letters(trimmed(header[i]), name)) return i;
  return std::nullopt;
}

std::optional<double> number(const std::string& cell) {
  double value = 0;
  const char* begin = cell.data();
  const char* end = begin + cell.size();
  if (begin != end && *begin == '+') ++begin;
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

// The first of them: a file that is no CSV may have one of a megabyte.
std::string names_of(const std::vector<std::string>& header) {
  constexpr std::size_t kShown = 200;
  std::string names;
  for (const std::string& cell : header) {
    if (names.size() > kShown) break;
    names += (names.empty() ? "" : ", ") + trimmed(cell);
  }
  if (names.size() > kShown) names = names.substr(0, kShown) + " ...";
  for (char& c : names)
    if (std::iscntrl(static_cast<unsigned char>(c)) != 0) c = '?';  // not for a terminal
  return names;
}

Error bad(const std::string& path, int line, const std::string& text) {
  return {ErrorCode::kInvalid, path + ", line " + std::to_string(line) + ": " + text};
}

}  // namespace

Result<std::vector<double>> read_column(const std::string& path, std::string_view bytes,
                                        const std::string& name) {
  if (bytes.substr(0, 3) == "\xEF\xBB\xBF") bytes.remove_prefix(3);
  Reader reader{bytes};
  if (reader.done()) return Error(ErrorCode::kInvalid, path + " is empty: a header row is needed");
  const auto header = reader.row();
  if (!header) return bad(path, 1, "a quote is never closed");
  const auto column = find_column(*header, name);
  if (!column) {
    return Error(ErrorCode::kNotFound,
                 path + " has no column '" + name + "'; its columns are: " + names_of(*header));
  }
  std::vector<double> values;
  while (!reader.done()) {
    const auto cells = reader.row();
    if (!cells) return bad(path, reader.line, "a quote is never closed");
    if (cells->size() == 1 && trimmed(cells->front()).empty()) {
      if (reader.done()) break;
      return bad(path, reader.line, "the line is blank, column '" + name + "' has a hole");
    }
    if (cells->size() > header->size())
      return bad(path, reader.line,
                 "it has " + std::to_string(cells->size()) + " cells under a header of " +
                     std::to_string(header->size()) +
                     ": quote cells that hold a comma, write decimals with a point");
    const std::string cell = *column < cells->size() ? trimmed((*cells)[*column]) : "";
    if (cell.empty()) return bad(path, reader.line, "column '" + name + "' has a hole");
    const auto value = number(cell);
    if (!value)
      return bad(path, reader.line,
                 "column '" + name + "' holds '" + cell + "', which is no number");
    values.push_back(*value);
  }
  return values;
}

}  // namespace rondo::actors
