#include <rondo/sim/order.h>

#include <cstring>
#include <utility>

namespace rondo::sim {

namespace {
constexpr std::size_t padded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }

template <class T>
void append(Bytes& out, const T& value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}

template <class T>
bool take(ByteView& from, T& value) {
  if (from.size() < sizeof value) return false;
  std::memcpy(&value, from.data(), sizeof value);
  from = from.subspan(sizeof value);
  return true;
}
}  // namespace

void write_order(core::Submission& out, const Order& order, std::vector<CellRef> inner,
                 std::vector<CellRef> arguments) {
  Order whole = order;
  whole.inner_refs = static_cast<std::uint32_t>(inner.size());
  whole.arguments = static_cast<std::uint32_t>(arguments.size());
  append(out.payload, core::ArgumentHeader{sizeof(Order), core::ArgumentKind::kInline});
  append(out.payload, whole);
  out.payload.resize(padded(out.payload.size()));
  out.refs = std::move(inner);
  for (CellRef& argument : arguments) {
    const auto number = static_cast<std::uint32_t>(out.refs.size());
    append(out.payload, core::ArgumentHeader{number, core::ArgumentKind::kRef});
    out.refs.push_back(std::move(argument));
    out.awaited.push_back(number);
  }
}

bool read_order(ByteView payload, const std::vector<CellRef>& refs, OrderRead& out) {
  core::ArgumentHeader head;
  if (!take(payload, head) || head.size != sizeof(Order) || !take(payload, out.order)) return false;
  if (out.order.inner_refs > refs.size()) return false;
  for (std::uint32_t i = 0; i < out.order.inner_refs; ++i) out.inner.push_back(refs[i]);
  for (std::uint32_t i = 0; i < out.order.arguments; ++i) {
    if (!take(payload, head)) return false;
    ArgumentRead argument;
    std::uint64_t first = 0;
    if (head.kind == core::ArgumentKind::kStored) {
      core::StoredArgument stored;
      if (!take(payload, stored) || stored.object_ref >= refs.size()) return false;
      argument.stored = true;
      argument.object = refs[stored.object_ref];
    } else if (head.kind == core::ArgumentKind::kInlineAt) {
      ValueBytes value;
      if (!take(payload, first) || head.size != sizeof value || !take(payload, value)) return false;
      if (first + value.refs > refs.size()) return false;
      argument.token = value.token;
      for (std::uint64_t n = 0; n < value.refs; ++n) argument.refs.push_back(refs[first + n]);
    } else {
      return false;
    }
    out.arguments.push_back(std::move(argument));
  }
  return true;
}

}  // namespace rondo::sim
