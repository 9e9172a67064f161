#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

// Bytes that own themselves, and immutable bytes that several may hold.

namespace rondo {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;
using SharedBytes = std::shared_ptr<const Bytes>;  // immutable: any thread may read

inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(ByteView view) { return {view.begin(), view.end()}; }
inline SharedBytes share(Bytes bytes) { return std::make_shared<const Bytes>(std::move(bytes)); }

}  // namespace rondo
