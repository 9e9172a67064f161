#pragma once

#include <string>

#include <rondo/base/result.h>
#include <rondo/core/link.h>

// The secret that every frame to a TCP listener must bear: 32 hexadecimal digits in a file of mode
// 0600. Any thread; failures are one sentence with the path.

namespace rondo::host {

[[nodiscard]] core::Token random_token();
Result<void> write_token(const std::string& path, const core::Token& token);
// Refuses a file that others may read.
Result<core::Token> read_token(const std::string& path);

}  // namespace rondo::host
