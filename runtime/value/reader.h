#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include <rondo/base/buffer.h>
#include <rondo/base/cell.h>

// Reads a value back from bytes that may come from anywhere.
//
// Every read is checked against the end, every length before anything is allocated, nesting is
// bounded. Bytes that are not a value throw Malformed, which decode() turns into kInvalid with the
// type's name. A type that wants its bytes in place takes `share`: a Buffer that keeps the memory
// by itself.

namespace rondo {

namespace detail {
struct Session;

struct Malformed {             // thrown by Reader, caught by decode()
  const char* why;
};
}  // namespace detail

class Reader {
 public:
  Reader(const Buffer& buffer, std::span<const CellRef> refs, const detail::Session* session)
      : view_(buffer.view()), buffer_(&buffer), refs_(refs), session_(session) {}

  [[nodiscard]] std::size_t remaining() const { return view_.size() - at_; }
  [[nodiscard]] const detail::Session* session() const { return session_; }
  [[noreturn]] static void fail(const char* why) { throw detail::Malformed{why}; }

  // Requires: arithmetic but bool, or enum.
  template <class T>
  T get() {
    static_assert((std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) || std::is_enum_v<T>);
    T value;
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  }
  bool flag() {
    const auto byte = get<std::uint8_t>();
    if (byte > 1) fail("a bool is neither 0 nor 1");
    return byte == 1;
  }
  // A number of things that take at least `bytes_each` bytes each.
  std::size_t count(std::size_t bytes_each = 1) {
    const auto n = get<std::uint64_t>();
    if (n > remaining() / bytes_each) fail("a length exceeds the bytes that follow");
    return static_cast<std::size_t>(n);
  }
  ByteView bytes(std::size_t n) {
    if (n > remaining()) fail("the bytes end early");
    const ByteView taken = view_.subspan(at_, n);
    at_ += n;
    return taken;
  }
  void align(std::size_t to) { bytes((to - at_ % to) % to); }
  Buffer share(std::size_t n);
  const CellRef& ref() {
    const auto number = get<std::uint32_t>();
    if (number >= refs_.size()) fail("a ref's number exceeds the refs that came along");
    return refs_[number];
  }

  // One level of nesting, for types that may contain themselves.
  class Level {
   public:
    explicit Level(Reader& in) : in_(in) {
      if (++in_.depth_ > kDepthMax) fail("the value is nested too deep");
    }
    ~Level() { --in_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Reader& in_;
  };
  static constexpr int kDepthMax = 200;

 private:
  ByteView view_;
  const Buffer* buffer_;
  std::span<const CellRef> refs_;
  const detail::Session* session_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace rondo
