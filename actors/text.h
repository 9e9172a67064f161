#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <rondo/base/result.h>

// Text as a sequence of small numbers. A token is a UTF-8 character (the default) or a byte; the
// vocabulary is the sorted set of the tokens that occur, and a token's number is its place there,
// so the same text always gives the same numbers.
//
// Plain values; any thread. Errors are sentences that name the file, the offset and the offending
// character.

namespace rondo::actors {

enum class TokenKind : unsigned char { kChar, kByte };

[[nodiscard]] std::string_view to_string(TokenKind kind);
[[nodiscard]] bool parse(std::string_view text, TokenKind& out);

struct Vocabulary {
  TokenKind kind = TokenKind::kChar;
  // Sorted by their bytes, which for UTF-8 is the order of code points
  std::vector<std::string> tokens;

  [[nodiscard]] int size() const { return static_cast<int>(tokens.size()); }
  bool operator==(const Vocabulary&) const = default;
};

// The whole file as bytes; kNotFound when it cannot be read, or is no regular file: a run must be
// able to read it again.
[[nodiscard]] Result<std::string> read_file(const std::string& path);

// The vocabulary of `bytes`. kInvalid when `bytes` is not UTF-8 and tokens are characters.
[[nodiscard]] Result<Vocabulary> vocabulary_of(std::string_view bytes, TokenKind kind);

// The numbers of the tokens of `bytes`. kInvalid at the first token that the vocabulary lacks,
// with its offset.
[[nodiscard]] Result<std::vector<std::int32_t>> encode(const Vocabulary& vocabulary,
                                                       std::string_view bytes);

}  // namespace rondo::actors
