#include <rondo/core/call_sender.h>

#include <cstring>

#include <rondo/base/check.h>

namespace rondo::core {

namespace {
constexpr std::size_t padded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }

template <class T>
void append(Bytes& out, const T& value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}
}  // namespace

void CallSender::forget(ProcessId peer) {
  numbers_.erase(peer);
  last_peer_ = {};
  last_number_ = nullptr;
}

void CallSender::send(TimeNs now, Call& call, ProcessId to, std::uint64_t target) {
  if (to != last_peer_) {
    last_number_ = &numbers_[to];
    last_peer_ = to;
  }
  call.state = Call::State::kSent;
  call.to = to;
  call.sent_at = now;
  call.number = ++*last_number_;
  ByteView payload = call.payload;
  entries_.clear();
  if (!call.awaited.empty()) {
    resolve(call.payload, call.refs);
    payload = payload_;
  } else {
    for (const CellRef& ref : call.refs) entries_.push_back(objects_.entry_of(*ref));
  }
  CallHeader head;
  head.payload_bytes = static_cast<std::uint32_t>(payload.size());
  head.ref_count = static_cast<std::uint16_t>(entries_.size());
  head.kind = call.kind;
  head.slot = call.slot;
  head.generation = call.generation;
  head.function = call.function;
  head.attempt = call.attempt;
  head.number = call.number;
  head.target = target;
  port_.call(to, head, payload, entries_);
}

void CallSender::resolve(ByteView payload, std::span<const CellRef> refs) {
  payload_.clear();
  entries_.clear();
  for (const CellRef& ref : refs) entries_.push_back(objects_.entry_of(*ref));
  std::size_t at = 0;
  while (at < payload.size()) {
    ArgumentHeader head;
    RONDO_CHECK_LE(at + sizeof head, payload.size());
    std::memcpy(&head, payload.data() + at, sizeof head);
    if (head.kind == ArgumentKind::kRef) {
      at += sizeof head;
      RONDO_CHECK_LT(head.size, refs.size());
      put_value(*refs[head.size], head.size);
      continue;
    }
    RONDO_CHECK(head.kind == ArgumentKind::kInline);
    const std::size_t whole = sizeof head + padded(head.size);
    RONDO_CHECK_LE(at + whole, payload.size());
    payload_.insert(payload_.end(), payload.begin() + static_cast<std::ptrdiff_t>(at),
                    payload.begin() + static_cast<std::ptrdiff_t>(at + whole));
    at += whole;
  }
}

void CallSender::put_value(const Cell& cell, std::uint32_t ref_number) {
  const auto first = static_cast<std::uint32_t>(entries_.size());
  if (cell.extra) {
    for (const RefInside& inside : cell.extra->refs)
      entries_.push_back(objects_.entry_of(*inside.cell));
  }
  if (cell.extra && cell.extra->stored) {
    const StoredValue& stored = *cell.extra->stored;
    append(payload_, ArgumentHeader{sizeof(StoredArgument), ArgumentKind::kStored});
    append(payload_, StoredArgument{stored.node.value, stored.bytes, stored.extent,
                                    stored.generation, ref_number, first});
    return;
  }
  const ByteView bytes = cell.inline_view();
  append(payload_,
         ArgumentHeader{static_cast<std::uint32_t>(bytes.size()), ArgumentKind::kInlineAt});
  append(payload_, std::uint64_t{first});
  payload_.insert(payload_.end(), bytes.begin(), bytes.end());
  payload_.resize(padded(payload_.size()));
}

}  // namespace rondo::core
