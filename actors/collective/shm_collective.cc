#include <rondo/actors/collective/shm_collective.h>

#include <sched.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <rondo/actors/collective/rank_tree.h>

namespace rondo::collective {

namespace {

constexpr std::size_t kPage = 4096;
// From here on the data passes through the caches anyhow: a result that is written around them is
// not read first.
constexpr std::size_t kPastCacheBytes = std::size_t{8} << 20;

bool has_a_core_each(int ranks) {
  cpu_set_t mine;
  CPU_ZERO(&mine);
  return ::sched_getaffinity(0, sizeof(mine), &mine) != 0 || CPU_COUNT(&mine) >= ranks;
}

using Parts = std::array<const void*, kRanksMax>;

template <class Where>
std::span<const void* const> gather_parts(int size, Parts& parts, Where where) {
  for (int rank = 0; rank < size; ++rank) parts[static_cast<std::size_t>(rank)] = where(rank);
  return {parts.data(), static_cast<std::size_t>(size)};
}

// No memory has no places: an empty span may lie at null.
const std::byte* bytes_at(const void* base, std::size_t at) {
  return base == nullptr ? nullptr : static_cast<const std::byte*>(base) + at;
}
std::byte* bytes_at(void* base, std::size_t at) {
  return base == nullptr ? nullptr : static_cast<std::byte*>(base) + at;
}

// memcpy that allows empty pieces without memory.
void copy_bytes(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
}

}  // namespace

ShmCollective::ShmCollective(const Member& member, const Options& options)
    : Collective(member),
      segment_(member, has_a_core_each(member.size) ? options.spin : DurationNs{},
               options.join_timeout > DurationNs{} ? options.join_timeout : member.timeout,
               options.pids) {}

Result<std::unique_ptr<ShmCollective>> ShmCollective::join(const Member& member,
                                                           const Options& options) {
  std::unique_ptr<ShmCollective> made(new ShmCollective(member, options));
  if (auto joined = made->segment_.join(options.handle, options.arena_bytes); !joined)
    return joined.error();
  return made;
}

Result<std::size_t> ShmCollective::reserve(std::size_t count, std::size_t element) {
  const std::size_t room = segment_.arena_result().size() - used_bytes_;
  if (count > room / element)
    return Error(ErrorCode::kOverloaded,
                 "the group's shared memory has " + std::to_string(room) +
                     " bytes a rank left, but " + std::to_string(count) + " elements of " +
                     std::to_string(element) + " bytes are wanted: make it larger");
  const std::size_t at = used_bytes_;
  used_bytes_ += std::min(room, (count * element + kPage - 1) / kPage * kPage);
  return at;
}

// Where data lies in the arena, + 1; 0 if it does not, or its result lies elsewhere.
std::uint64_t ShmCollective::place_of(const Operation& op) const {
  const auto at = [&](std::span<std::byte> arena, const void* data) {
    const auto* begin = static_cast<const std::byte*>(data);
    const bool inside =
        begin >= arena.data() && begin + op.bytes() <= arena.data() + arena.size();
    return inside ? static_cast<std::uint64_t>(begin - arena.data()) + 1 : 0;
  };
  if (op.kind != Kind::kAllReduce || op.count == 0) return 0;
  const std::uint64_t mine = at(segment_.arena(member().rank), op.in);
  return mine == at(segment_.arena_result(), op.out) ? mine : 0;
}

Result<void> ShmCollective::carry_out(const Operation& op, std::uint64_t number) {
  if (auto ended = segment_.aborted()) return *ended;
  const ShmCall call{op.count, op.shape(), place_of(op)};
  switch (op.kind) {
    case Kind::kBarrier: return segment_.meet(call, number);
    case Kind::kAllReduce:
      if (call.place != 0) return reduce_in_place(op, call, number);
      if (op.bytes() <= kSmallBytes) return reduce_small(op, call, number);
      return reduce_staged(op, call, number);
    case Kind::kReduceScatter: return scatter_staged(op, call, number);
    case Kind::kAllGather: return gather_staged(op, call, number);
    case Kind::kBroadcast: return broadcast_staged(op, call, number);
  }
  return Error(ErrorCode::kInvalid, "an unknown collective operation");
}

// One meeting: the data travels with the flags, and every rank adds all of it.
Result<void> ShmCollective::reduce_small(const Operation& op, const ShmCall& call,
                                         std::uint64_t number) {
  const std::uint32_t turn = segment_.turn();
  copy_bytes(segment_.small(member().rank, turn), op.in, op.bytes());
  if (auto met = segment_.meet(call, number); !met) return met;
  Parts parts;
  const auto all =
      gather_parts(member().size, parts, [&](int rank) { return segment_.small(rank, turn); });
  if (op.count != 0) combine_parts({op.dtype, op.combine}, all, {0, op.count}, op.out);
  return {};
}

Result<void> ShmCollective::reduce_in_place(const Operation& op, const ShmCall& call,
                                            std::uint64_t number) {
  if (auto met = segment_.meet(call, number); !met) return met;
  const Part part = my_part(op.count, op.dtype);
  Parts parts;
  const auto all = gather_parts(member().size, parts, [&](int rank) {
    return segment_.arena(rank).data() + (call.place - 1);
  });
  combine_parts({op.dtype, op.combine}, all,
                {part.begin, part.count, op.bytes() >= kPastCacheBytes},
                bytes_at(op.out, part.begin * size_of(op.dtype)));
  return segment_.meet(number);
}

// Private data, piece by piece: copied in, added by parts, copied out. Who has met for the adding
// of a piece has copied the piece before out.
Result<void> ShmCollective::reduce_staged(const Operation& op, const ShmCall& call,
                                          std::uint64_t number) {
  const std::size_t element = size_of(op.dtype);
  const std::size_t step = kStageBytes / element;
  Parts parts;
  const auto all =
      gather_parts(member().size, parts, [&](int rank) { return segment_.stage(rank); });
  for (std::size_t begin = 0; begin < op.count; begin += step) {
    const std::size_t count = std::min(step, op.count - begin);
    copy_bytes(segment_.stage(member().rank), bytes_at(op.in, begin * element),
               count * element);
    auto met = begin == 0 ? segment_.meet(call, number) : segment_.meet(number);
    if (!met) return met;
    const Part part = my_part(count, op.dtype);
    combine_parts({op.dtype, op.combine}, all, {part.begin, part.count},
                  segment_.stage_result() + part.begin * element);
    if (met = segment_.meet(number); !met) return met;
    copy_bytes(bytes_at(op.out, begin * element), segment_.stage_result(), count * element);
  }
  return {};
}

// Every rank's part in each piece, so that all add at the same time.
Result<void> ShmCollective::scatter_staged(const Operation& op, const ShmCall& call,
                                           std::uint64_t number) {
  if (auto met = segment_.meet(call, number); !met) return met;
  const std::size_t element = size_of(op.dtype);
  const std::size_t step = kStageBytes / element / static_cast<std::size_t>(member().size);
  const auto part = [&](int rank) { return part_of(op.count, op.dtype, rank, member().size); };
  std::size_t longest = 0;
  for (int rank = 0; rank < member().size; ++rank) longest = std::max(longest, part(rank).count);
  for (std::size_t begin = 0; begin < longest; begin += step) {
    const auto count_of = [&](int rank) {
      return std::min(step, part(rank).count - std::min(begin, part(rank).count));
    };
    for (int rank = 0; rank < member().size; ++rank)
      copy_bytes(segment_.stage(member().rank) + static_cast<std::size_t>(rank) * step * element,
                 bytes_at(op.in, (part(rank).begin + begin) * element), count_of(rank) * element);
    if (auto met = segment_.meet(number); !met) return met;
    Parts parts;
    const auto all = gather_parts(member().size, parts, [&](int rank) {
      return segment_.stage(rank) + static_cast<std::size_t>(member().rank) * step * element;
    });
    if (const std::size_t count = count_of(member().rank); count != 0)
      combine_parts({op.dtype, op.combine}, all, {0, count}, bytes_at(op.out, begin * element));
    if (auto met = segment_.meet(number); !met) return met;
  }
  return {};
}

Result<void> ShmCollective::gather_staged(const Operation& op, const ShmCall& call,
                                          std::uint64_t number) {
  if (auto met = segment_.meet(call, number); !met) return met;
  const std::size_t element = size_of(op.dtype);
  const std::size_t step = kStageBytes / element;
  const auto part = [&](int rank) { return part_of(op.count, op.dtype, rank, member().size); };
  std::size_t longest = 0;
  for (int rank = 0; rank < member().size; ++rank) longest = std::max(longest, part(rank).count);
  for (std::size_t begin = 0; begin < longest; begin += step) {
    const auto count_of = [&](int rank) {
      return std::min(step, part(rank).count - std::min(begin, part(rank).count));
    };
    copy_bytes(segment_.stage(member().rank), bytes_at(op.in, begin * element),
               count_of(member().rank) * element);
    if (auto met = segment_.meet(number); !met) return met;
    for (int rank = 0; rank < member().size; ++rank)
      copy_bytes(bytes_at(op.out, (part(rank).begin + begin) * element), segment_.stage(rank),
                 count_of(rank) * element);
    if (auto met = segment_.meet(number); !met) return met;
  }
  return {};
}

Result<void> ShmCollective::broadcast_staged(const Operation& op, const ShmCall& call,
                                             std::uint64_t number) {
  if (auto met = segment_.meet(call, number); !met) return met;
  for (std::size_t begin = 0; begin < op.bytes(); begin += kStageBytes) {
    const std::size_t bytes = std::min(kStageBytes, op.bytes() - begin);
    if (member().rank == op.root)
      copy_bytes(segment_.stage_result(), bytes_at(op.in, begin), bytes);
    if (auto met = segment_.meet(number); !met) return met;
    if (member().rank != op.root)
      copy_bytes(bytes_at(op.out, begin), segment_.stage_result(), bytes);
    if (auto met = segment_.meet(number); !met) return met;
  }
  return {};
}

}  // namespace rondo::collective
