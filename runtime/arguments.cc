#include <rondo/arguments.h>

#include <cmath>
#include <limits>

#include <rondo/base/limits.h>
#include <rondo/core/call.h>

namespace rondo::detail {
namespace {

constexpr std::size_t kHeaderBytes = sizeof(core::ArgumentHeader);

std::size_t round_up(std::size_t bytes) { return (bytes + 7) / 8 * 8; }

void write_header(std::byte* to, core::ArgumentKind kind, std::size_t size) {
  const core::ArgumentHeader header{static_cast<std::uint32_t>(size), kind};
  std::memcpy(to, &header, sizeof header);
}

template <class T>
Bytes bytes_of(T value) {
  Bytes bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// Requires: T is an integer. Empty if the number is not exactly one of T's.
template <class T>
Bytes to_integer(const Number& n) {
  switch (n.kind) {
    case Number::Kind::kSigned:
      return std::in_range<T>(n.whole) ? bytes_of(static_cast<T>(n.whole)) : Bytes();
    case Number::Kind::kUnsigned: {
      const auto value = static_cast<std::uint64_t>(n.whole);
      return std::in_range<T>(value) ? bytes_of(static_cast<T>(value)) : Bytes();
    }
    case Number::Kind::kReal: {
      const double low =
          std::ldexp(std::is_signed_v<T> ? -1.0 : 0.0, std::numeric_limits<T>::digits);
      const double high = std::ldexp(1.0, std::numeric_limits<T>::digits);
      const bool fits = n.real >= low && n.real < high && std::trunc(n.real) == n.real;
      return fits ? bytes_of(static_cast<T>(n.real)) : Bytes();
    }
    case Number::Kind::kNone: break;
  }
  return {};
}

// Whole numbers must be kept exactly; reals may lose digits, not their size.
template <class T>
Bytes to_real(const Number& n) {
  constexpr std::int64_t exact = std::int64_t{1} << std::numeric_limits<T>::digits;
  switch (n.kind) {
    case Number::Kind::kSigned:
      if (n.whole > exact || n.whole < -exact) return {};
      return bytes_of(static_cast<T>(n.whole));
    case Number::Kind::kUnsigned:
      if (static_cast<std::uint64_t>(n.whole) > static_cast<std::uint64_t>(exact)) return {};
      return bytes_of(static_cast<T>(n.whole));
    case Number::Kind::kReal:
      if (std::isfinite(n.real) && std::abs(n.real) > std::numeric_limits<T>::max()) return {};
      return bytes_of(static_cast<T>(n.real));
    case Number::Kind::kNone: break;
  }
  return {};
}

}  // namespace

// ---- calls -----------------------------------------------------------------------------------

std::size_t ArgumentWriter::padded(std::size_t bytes) { return kHeaderBytes + round_up(bytes); }

bool ArgumentWriter::is_large(std::size_t bytes) { return bytes > limits::kInlineBytesMax; }

ArgumentWriter::Slot ArgumentWriter::depend(const CellRef& cell) {
  if (!cell)
    throw Error(ErrorCode::kInvalid, "an empty Ref is no argument: it stands for no value");
  const auto number = static_cast<std::uint32_t>(arguments_.refs.size());
  arguments_.refs.push_back(cell);
  arguments_.awaited.push_back(number);
  payload_bytes_ += kHeaderBytes;
  return {0, number, true};
}

ArgumentWriter::Slot ArgumentWriter::put_large(
    std::size_t bytes, std::uint32_t first_ref,
    const std::function<void(std::span<std::byte>)>& fill) {
  auto& refs = arguments_.refs;   // those of this value go with it, numbered from 0
  std::vector<CellRef> inside(refs.begin() + first_ref, refs.end());
  refs.resize(first_ref);
  return depend(client_.put(bytes, std::move(inside), fill));
}

std::span<std::byte> ArgumentWriter::next(const Slot& slot) {
  std::byte* const at = arguments_.payload.data() + at_;
  if (slot.is_ref) {
    write_header(at, core::ArgumentKind::kRef, slot.first_ref);
    at_ += kHeaderBytes;
    return {};
  }
  write_header(at, core::ArgumentKind::kInline, slot.bytes);
  at_ += padded(slot.bytes);
  return {at + kHeaderBytes, slot.bytes};
}

// ---- constructors ----------------------------------------------------------------------------

Bytes convert_number(const Number& from, std::string_view to) {
  if (to == "i8") return to_integer<std::int8_t>(from);
  if (to == "i16") return to_integer<std::int16_t>(from);
  if (to == "i32") return to_integer<std::int32_t>(from);
  if (to == "i64") return to_integer<std::int64_t>(from);
  if (to == "u8") return to_integer<std::uint8_t>(from);
  if (to == "u16") return to_integer<std::uint16_t>(from);
  if (to == "u32") return to_integer<std::uint32_t>(from);
  if (to == "u64") return to_integer<std::uint64_t>(from);
  if (to == "f32") return to_real<float>(from);
  if (to == "f64") return to_real<double>(from);
  return {};
}

SpawnWriter::SpawnWriter(const RegisteredClass& target, std::size_t count) : target_(target) {
  if (count != target.constructor.size())
    throw Error(ErrorCode::kInvalid,
                "the constructor of " + target.name + " is registered with " +
                    std::to_string(target.constructor.size()) + " parameters, spawn was given " +
                    std::to_string(count));
}

void SpawnWriter::mismatch(const std::string& mine) const {
  throw Error(ErrorCode::kInvalid, "parameter " + std::to_string(next_ + 1) +
                                       " of the constructor of " + target_.name +
                                       " is registered as " + target_.constructor[next_] +
                                       ", spawn was given " + mine + ", which does not fit");
}

void SpawnWriter::depend(const CellRef& cell) {
  if (!cell)
    throw Error(ErrorCode::kInvalid, "an empty Ref is no argument: it stands for no value");
  const std::size_t at = arguments_.payload.size();
  arguments_.payload.resize(at + kHeaderBytes);
  write_header(arguments_.payload.data() + at, core::ArgumentKind::kRef, arguments_.refs.size());
  arguments_.awaited.push_back(static_cast<std::uint32_t>(arguments_.refs.size()));
  arguments_.refs.push_back(cell);
  ++next_;
}

void SpawnWriter::inline_value(const Bytes& bytes) {
  const std::size_t at = arguments_.payload.size();
  if (at + bytes.size() > limits::kSpawnBytesMax)
    throw Error(ErrorCode::kInvalid, "the arguments of " + target_.name + "'s constructor exceed " +
                                         std::to_string(limits::kSpawnBytesMax) +
                                         " bytes: put large ones and give the Ref");
  arguments_.payload.resize(at + kHeaderBytes + round_up(bytes.size()));
  write_header(arguments_.payload.data() + at, core::ArgumentKind::kInline, bytes.size());
  std::memcpy(arguments_.payload.data() + at + kHeaderBytes, bytes.data(), bytes.size());
  ++next_;
}

EncodedArguments SpawnWriter::take() { return std::move(arguments_); }

}  // namespace rondo::detail
