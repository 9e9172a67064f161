#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include <rondo/base/bytes.h>
#include <rondo/base/cell.h>

// Writes a value as bytes, in two passes with the same code: the first only counts and collects the
// refs inside, the second writes straight into the destination (a message, an extent of the store).
//
// A value must not change between its two passes: if it grew, the second throws kInvalid.
// Integers are little-endian. Offsets for `align` count from the value's start.

namespace rondo {

class Writer {
 public:
  // The first pass; refs inside are appended to `refs` and get the next numbers.
  explicit Writer(std::vector<CellRef>& refs)
      : refs_(&refs), next_ref_(static_cast<std::uint32_t>(refs.size())) {}
  // The second pass; `first_ref` is the number of the first ref in the first pass.
  Writer(std::span<std::byte> to, std::uint32_t first_ref)
      : data_(to.data()), end_(to.size()), next_ref_(first_ref) {}

  [[nodiscard]] bool counting() const { return refs_ != nullptr; }
  [[nodiscard]] std::size_t size() const { return at_; }

  // Requires: arithmetic or enum.
  template <class T>
  void put(T value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    bytes(&value, sizeof value);
  }
  void count(std::size_t n) { put(static_cast<std::uint64_t>(n)); }

  void bytes(const void* from, std::size_t n) {
    if (refs_ == nullptr && n != 0) {
      if (n > end_ - at_) grew();
      std::memcpy(data_ + at_, from, n);
    }
    at_ += n;
  }
  void align(std::size_t to) {
    const std::size_t pad = (to - at_ % to) % to;
    if (refs_ == nullptr && pad != 0) {
      if (pad > end_ - at_) grew();
      std::memset(data_ + at_, 0, pad);
    }
    at_ += pad;
  }
  void ref(const CellRef& cell) {
    if (!cell) empty_ref();
    if (refs_ != nullptr) refs_->push_back(cell);
    put(next_ref_++);
  }

  // Ends the second pass: whatever the first counted must have been written.
  void finish() const {
    if (refs_ == nullptr && at_ != end_) grew();
  }

 private:
  [[noreturn]] static void grew();
  [[noreturn]] static void empty_ref();

  std::vector<CellRef>* refs_ = nullptr;   // counting
  std::byte* data_ = nullptr;              // writing
  std::size_t end_ = 0;
  std::size_t at_ = 0;
  std::uint32_t next_ref_ = 0;
};

}  // namespace rondo
