#include <rondo/actors/collective/collective.h>

#include <algorithm>
#include <string>

namespace rondo::collective {

namespace {

constexpr std::size_t kLineBytes = 64;

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kAllReduce: return "all_reduce";
    case Kind::kReduceScatter: return "reduce_scatter";
    case Kind::kAllGather: return "all_gather";
    case Kind::kBroadcast: return "broadcast";
    case Kind::kBarrier: return "barrier";
  }
  return "an unknown operation";
}

std::string place_of(const Member& me, std::uint64_t number) {
  const std::string what = number == 0 ? "the meeting" : "operation " + std::to_string(number);
  return what + " of incarnation " + std::to_string(me.incarnation.value);
}

}  // namespace

std::uint64_t Operation::shape() const {
  return static_cast<std::uint64_t>(kind) | std::uint64_t{static_cast<std::uint8_t>(dtype)} << 8 |
         std::uint64_t{static_cast<std::uint8_t>(combine)} << 16 |
         static_cast<std::uint64_t>(root) << 32;
}

std::string describe(std::uint64_t count, std::uint64_t shape) {
  const auto kind = static_cast<Kind>(shape & 0xFF);
  std::string text = name_of(kind);
  if (kind == Kind::kAllReduce || kind == Kind::kReduceScatter)
    text += (shape >> 16 & 0xFF) == static_cast<std::uint64_t>(Combine::kSum) ? " (sum)" : " (max)";
  if (kind == Kind::kBroadcast) text += " from rank " + std::to_string(shape >> 32);
  if (kind == Kind::kBarrier) return text;
  const bool is_float = (shape >> 8 & 0xFF) == static_cast<std::uint64_t>(Dtype::kFloat32);
  return text + " of " + std::to_string(count) + (is_float ? " float32" : " float64");
}

Part part_of(std::size_t count, Dtype dtype, int rank, int size) {
  const std::size_t line = kLineBytes / size_of(dtype);
  const std::size_t lines = (count + line - 1) / line;
  const auto cut = [&](int at) {
    return std::min(count, lines * static_cast<std::size_t>(at) / static_cast<std::size_t>(size) *
                               line);
  };
  return {cut(rank), cut(rank + 1) - cut(rank)};
}

std::optional<Error> Collective::complaint(const Operation& op, std::size_t in_count,
                                           std::size_t out_count) const {
  const std::size_t part = my_part(op.count, op.dtype).count;
  const std::size_t in_wanted = op.kind == Kind::kAllGather ? part : op.count;
  const std::size_t out_wanted = op.kind == Kind::kReduceScatter ? part : op.count;
  const std::string what = describe(op.count, op.shape());
  if (in_count != in_wanted || out_count != out_wanted)
    return Error(ErrorCode::kInvalid,
                 what + " on rank " + std::to_string(member_.rank) + " of " +
                     std::to_string(member_.size) + " takes " + std::to_string(in_wanted) +
                     " elements and gives " + std::to_string(out_wanted) + ", but was handed " +
                     std::to_string(in_count) + " and " + std::to_string(out_count));
  if (op.root < 0 || op.root >= member_.size)
    return Error(ErrorCode::kInvalid, what + ": a group of " + std::to_string(member_.size) +
                                          " has no rank " + std::to_string(op.root));
  return std::nullopt;
}

Result<void> Collective::run(const Operation& op, std::size_t in_count, std::size_t out_count) {
  if (broken_) return *broken_;
  // A wrong argument is told here, and to the others too: they would wait for a call that never
  // comes.
  if (auto wrong = complaint(op, in_count, out_count)) {
    leave("rank " + std::to_string(member_.rank) + " made a wrong call: " + wrong->what());
    broken_ = *wrong;
    return *wrong;
  }
  ++number_;
  Result<void> result = carry_out(op, number_);
  if (!result) broken_ = result.error();
  return result;
}

std::optional<Error> complaint_about(const Member& member) {
  if (member.size < 1 || member.size > kRanksMax)
    return Error(ErrorCode::kInvalid, "a group has 1 to " + std::to_string(kRanksMax) +
                                          " ranks, not " + std::to_string(member.size));
  if (member.rank < 0 || member.rank >= member.size)
    return Error(ErrorCode::kInvalid, "a group of " + std::to_string(member.size) +
                                          " has no rank " + std::to_string(member.rank));
  if (!member.incarnation)
    return Error(ErrorCode::kInvalid, "a group's incarnation counts from 1");
  if (member.timeout <= DurationNs{})
    return Error(ErrorCode::kInvalid, "a collective call needs a timeout above 0");
  return std::nullopt;
}

Error disagreement(const Member& me, const std::string& mine, int other, const std::string& theirs,
                   std::uint64_t number) {
  return {ErrorCode::kInvalid,
          "rank " + std::to_string(other) + " came with " + theirs + " where rank " +
              std::to_string(me.rank) + " came with " + mine + ", as " + place_of(me, number) +
              ": all ranks must make the same calls in the same order"};
}

Error late(const Member& me, const std::string& what, std::uint64_t number) {
  return {ErrorCode::kTimeout, what + " within " + std::to_string(me.timeout.ns / 1'000'000) +
                                   " ms, for " + place_of(me, number)};
}

void AbortFlag::raise(std::string_view reason) {
  const std::lock_guard lock(mutex_);
  if (!reason_) reason_ = reason;
}

std::optional<std::string> AbortFlag::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

std::optional<Error> AbortFlag::raised(const Member& me) const {
  const std::optional<std::string> why = reason();
  if (!why) return std::nullopt;
  return aborted(me, *why);
}

Error aborted(const Member& me, std::string_view reason, ErrorCode code) {
  return {code, "incarnation " + std::to_string(me.incarnation.value) +
                    " of the group was aborted: " + std::string(reason)};
}

}  // namespace rondo::collective
