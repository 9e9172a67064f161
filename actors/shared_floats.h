#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <rondo/base/check.h>
#include <rondo/value/codec.h>
#include <rondo/value/containers.h>

// SharedFloats: floats that travel between processes without a copy but the one into the store.
// Who makes them lends up to two pieces of memory, which are written one after another when the
// value travels; who receives them reads them in place, for as long as the SharedFloats lives. On
// the wire they are a std::vector<float>.
//
// A value; what is lent must stay until it has travelled: as a method's result, until the method
// has returned.

namespace rondo::actors {

class SharedFloats {
 public:
  using Piece = std::span<const float>;

  SharedFloats() = default;
  [[nodiscard]] static SharedFloats lend(Piece first, Piece second = {}) {
    SharedFloats floats;
    floats.pieces_ = {first, second};
    return floats;
  }

  [[nodiscard]] std::size_t size() const { return pieces_[0].size() + pieces_[1].size(); }
  // Requires: received, or lent in one piece.
  [[nodiscard]] Piece view() const {
    RONDO_CHECK(pieces_[1].empty());
    return pieces_[0];
  }

 private:
  friend struct Codec<SharedFloats>;

  std::array<Piece, 2> pieces_;
  Buffer received_;   // holds what pieces_[0] reads
};

}  // namespace rondo::actors

template <>
struct rondo::Codec<rondo::actors::SharedFloats> {
  static void type(detail::TypeName& name) { name.list<float>("vector<", ">"); }
  static void write(Writer& out, const actors::SharedFloats& value) {
    out.count(value.size());
    out.align(16);
    for (const auto piece : value.pieces_) out.bytes(piece.data(), piece.size_bytes());
  }
  static actors::SharedFloats read(Reader& in) {
    const std::size_t count = in.count(sizeof(float));
    in.align(16);
    actors::SharedFloats value;
    value.received_ = in.share(count * sizeof(float));
    const auto* first = reinterpret_cast<const float*>(value.received_.view().data());
    if (reinterpret_cast<std::uintptr_t>(first) % alignof(float) != 0)
      Reader::fail("the numbers are not aligned");
    value.pieces_[0] = {first, count};
    return value;
  }
};
