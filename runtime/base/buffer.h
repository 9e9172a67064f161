#pragma once

#include <memory>

#include <rondo/base/bytes.h>

// Immutable bytes that may live in shared memory, with whatever keeps them there. A value: copies
// share the hold. It stays readable after its ref is dropped, its owner died or the Runtime ended;
// the last copy gives the memory back.

namespace rondo {

class Buffer {
 public:
  Buffer() = default;
  Buffer(ByteView view, std::shared_ptr<const void> hold) : view_(view), hold_(std::move(hold)) {}
  explicit Buffer(SharedBytes bytes) : view_(*bytes), hold_(std::move(bytes)) {}

  [[nodiscard]] ByteView view() const { return view_; }
  [[nodiscard]] std::size_t size() const { return view_.size(); }
  // What keeps the bytes; empty: they lie in something that the reader holds anyway.
  [[nodiscard]] const std::shared_ptr<const void>& hold() const { return hold_; }

 private:
  ByteView view_;
  std::shared_ptr<const void> hold_;
};

}  // namespace rondo
