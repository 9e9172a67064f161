#include <rondo/host/token.h>

#include <sys/stat.h>

#include <cerrno>
#include <charconv>

#include <rondo/base/ids.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/prng.h>
#include <rondo/store/dirs.h>

namespace rondo::host {

core::Token random_token() { return {entropy(), entropy()}; }

Result<void> write_token(const std::string& path, const core::Token& token) {
  return store::write_file(path, hex(token.high) + hex(token.low) + "\n");
}

Result<core::Token> read_token(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0)
    return Error(ErrorCode::kUnavailable,
                 "the cluster's token cannot be read from " + path + ": " + errno_text(errno));
  if ((status.st_mode & 0077) != 0)
    return Error(ErrorCode::kUnavailable,
                 path + " may be read by others: chmod 600 it, and start the cluster again");
  auto text = store::read_file(path);
  if (!text) return text.error();
  core::Token token;
  const char* at = text.value().data();
  const bool whole = text.value().size() >= 32 &&
                     std::from_chars(at, at + 16, token.high, 16).ptr == at + 16 &&
                     std::from_chars(at + 16, at + 32, token.low, 16).ptr == at + 32;
  if (!whole) return Error(ErrorCode::kUnavailable, path + " holds no token");
  return token;
}

}  // namespace rondo::host
