#include <rondo/actors/text.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <system_error>

#include <sys/stat.h>

namespace rondo::actors {

namespace {

// Bytes of the UTF-8 character that starts at `at`; 0 when there is none (overlong and surrogates
// included).
std::size_t utf8_length(std::string_view bytes, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0u;
  };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!tail(1) || !tail(2)) return 0;
    const bool overlong = first == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = first == 0xED && byte(1) >= 0xA0;
    return overlong || surrogate ? 0 : 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    const bool overlong = first == 0xF0 && byte(1) < 0x90;
    const bool beyond = first == 0xF4 && byte(1) >= 0x90;
    return overlong || beyond ? 0 : 4;
  }
  return 0;
}

// Calls visit(offset, token) for each token; the offset of the first broken one, or bytes.size().
template <class Visit>
std::size_t each_token(std::string_view bytes, TokenKind kind, Visit visit) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const std::size_t length = kind == TokenKind::kByte ? 1 : utf8_length(bytes, at);
    if (length == 0 || !visit(at, bytes.substr(at, length))) return at;
    at += length;
  }
  return at;
}

std::string shown(std::string_view token) {
  const auto byte = static_cast<unsigned char>(token[0]);
  if (token.size() > 1 || (byte >= 0x20 && byte < 0x7F)) return "'" + std::string(token) + "'";
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "0x%02X", byte);
  return text.data();
}

Error not_utf8(std::string_view bytes, std::size_t at) {
  return {ErrorCode::kInvalid, "the text is not UTF-8 at offset " + std::to_string(at) + " (byte " +
                                   shown(bytes.substr(at, 1)) + ")"};
}

}  // namespace

std::string_view to_string(TokenKind kind) { return kind == TokenKind::kChar ? "char" : "byte"; }

bool parse(std::string_view text, TokenKind& out) {
  if (text != "char" && text != "byte") return false;
  out = text == "char" ? TokenKind::kChar : TokenKind::kByte;
  return true;
}

Result<std::string> read_file(const std::string& path) {
  const auto refused = [&](const std::string& why) {
    return Error(ErrorCode::kNotFound, "cannot read '" + path + "': " + why);
  };
  // A pipe that nobody writes to would let the opening wait, so look first.
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return refused(std::system_category().message(errno));
  if (S_ISDIR(info.st_mode)) return refused("it is a folder");
  if (!S_ISREG(info.st_mode))
    return refused("it is no regular file; what a pipe or a device gives must be written to one");
  std::ifstream in(path, std::ios::binary);
  if (!in) return refused(std::system_category().message(errno));
  std::ostringstream all;
  all << in.rdbuf();
  if (in.bad()) return Error(ErrorCode::kNotFound, "cannot read '" + path + "' to its end");
  return std::move(all).str();
}

Result<Vocabulary> vocabulary_of(std::string_view bytes, TokenKind kind) {
  std::set<std::string_view> seen;
  const std::size_t end = each_token(bytes, kind, [&](std::size_t, std::string_view token) {
    seen.insert(token);
    return true;
  });
  if (end != bytes.size())
    return Error(ErrorCode::kInvalid,
                 std::string(not_utf8(bytes, end).what()) + ": use --tokens byte");
  Vocabulary vocabulary{kind, {}};
  for (std::string_view token : seen) vocabulary.tokens.emplace_back(token);
  return vocabulary;
}

Result<std::vector<std::int32_t>> encode(const Vocabulary& vocabulary, std::string_view bytes) {
  std::map<std::string_view, std::int32_t> numbers;
  std::array<std::int32_t, 256> ascii;
  ascii.fill(-1);
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& token = vocabulary.tokens[i];
    numbers.emplace(token, static_cast<std::int32_t>(i));
    if (token.size() == 1)
      ascii[static_cast<unsigned char>(token[0])] = static_cast<std::int32_t>(i);
  }
  std::vector<std::int32_t> out;
  out.reserve(bytes.size());
  bool unknown = false;
  const std::size_t end =
      each_token(bytes, vocabulary.kind, [&](std::size_t, std::string_view token) {
        std::int32_t number = -1;
        if (token.size() == 1) {
          number = ascii[static_cast<unsigned char>(token[0])];
        } else if (const auto found = numbers.find(token); found != numbers.end()) {
          number = found->second;
        }
        unknown = number < 0;
        if (!unknown) out.push_back(number);
        return !unknown;
      });
  if (end == bytes.size()) return out;
  if (!unknown) return not_utf8(bytes, end);
  const std::size_t length = vocabulary.kind == TokenKind::kByte ? 1 : utf8_length(bytes, end);
  return Error(ErrorCode::kInvalid, "unknown character " + shown(bytes.substr(end, length)) +
                                        " at offset " + std::to_string(end) +
                                        ": the model was trained without it");
}

}  // namespace rondo::actors
