#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <rondo/base/ids.h>
#include <rondo/base/result.h>
#include <rondo/base/time.h>

// Collective: what the ranks of one group do together with their gradients: sum them, hand them
// round, wait for one another. Over shared memory (shm_collective.h), ZeroMQ (zmq_collective.h) or
// NCCL (nccl_collective.h).
//
// Every rank makes the same calls in the same order. Sums are formed per element in one fixed tree
// over the ranks, ((0+1)+(2+3))+..., the same as the tree over slices: the same bits whatever
// carries them, however they are cut.
// A group lives in one incarnation. Every wait ends by the timeout, by abort() from any thread, or
// with the death of a rank where that can be seen. The first failure breaks the incarnation: all
// later calls give the same sentence, and the group is built anew under the next one. Ranks that
// disagree about a call all get kInvalid and a sentence that names both calls.
//
// Owned by the rank; one call at a time, from one thread at a time. Not for small talk between
// actors: a call is that.

namespace rondo::collective {

inline constexpr int kRanksMax = 64;

enum class Dtype : std::uint8_t { kFloat32 = 1, kFloat64 };
enum class Combine : std::uint8_t { kSum = 1, kMax };   // a NaN on any rank is the maximum
enum class Kind : std::uint8_t { kAllReduce = 1, kReduceScatter, kAllGather, kBroadcast, kBarrier };

[[nodiscard]] constexpr std::size_t size_of(Dtype dtype) {
  return dtype == Dtype::kFloat32 ? 4 : 8;
}

struct Member {
  int rank = 0;
  int size = 1;
  Incarnation incarnation;
  DurationNs timeout = seconds(30);   // of one wait: a call that goes on may take longer
};

// One call, without its types. `count`: elements of the whole, the same on every rank.
struct Operation {
  Kind kind = Kind::kBarrier;
  Dtype dtype = Dtype::kFloat32;
  Combine combine = Combine::kSum;
  int root = 0;
  std::size_t count = 0;
  const void* in = nullptr;
  void* out = nullptr;   // all_reduce: may be `in`; else may not overlap it

  [[nodiscard]] std::size_t bytes() const { return count * size_of(dtype); }
  // All that must be equal between ranks but the count, in one word; 0 is no operation.
  [[nodiscard]] std::uint64_t shape() const;
};

// "all_reduce (sum) of 12 float32", from count and shape() of an operation.
[[nodiscard]] std::string describe(std::uint64_t count, std::uint64_t shape);

// The elements that belong to `rank` when `count` are cut into `size` parts: in ascending order,
// without gaps, cut at whole cache lines; the last ones may be empty.
struct Part {
  std::size_t begin = 0;
  std::size_t count = 0;
};
[[nodiscard]] Part part_of(std::size_t count, Dtype dtype, int rank, int size);

template <class T>
concept Element = std::is_same_v<T, float> || std::is_same_v<T, double>;
template <Element T>
constexpr Dtype dtype_of() {
  return std::is_same_v<T, float> ? Dtype::kFloat32 : Dtype::kFloat64;
}

class Collective {
 public:
  virtual ~Collective() = default;
  Collective(const Collective&) = delete;
  Collective& operator=(const Collective&) = delete;

  [[nodiscard]] const Member& member() const { return member_; }
  [[nodiscard]] Part my_part(std::size_t count, Dtype dtype) const {
    return part_of(count, dtype, member_.rank, member_.size);
  }

  // Everybody's `in` combined, in everybody's `out`; equal sizes.
  template <Element T>
  Result<void> all_reduce(std::span<const T> in, std::span<T> out,
                          Combine combine = Combine::kSum) {
    return run({Kind::kAllReduce, dtype_of<T>(), combine, 0, in.size(), in.data(), out.data()},
               in.size(), out.size());
  }
  // The same, but each rank gets my_part() of the result only: `out` has that size.
  template <Element T>
  Result<void> reduce_scatter(std::span<const T> in, std::span<T> out,
                              Combine combine = Combine::kSum) {
    return run({Kind::kReduceScatter, dtype_of<T>(), combine, 0, in.size(), in.data(), out.data()},
               in.size(), out.size());
  }
  // Puts everybody's part together: `in` is my_part() of `out`.
  template <Element T>
  Result<void> all_gather(std::span<const T> in, std::span<T> out) {
    return run({Kind::kAllGather, dtype_of<T>(), {}, 0, out.size(), in.data(), out.data()},
               in.size(), out.size());
  }
  // The root's data in everybody's.
  template <Element T>
  Result<void> broadcast(std::span<T> data, int root) {
    return run({Kind::kBroadcast, dtype_of<T>(), {}, root, data.size(), data.data(), data.data()},
               data.size(), data.size());
  }
  // Returns when every rank has called it.
  Result<void> barrier() { return run({}, 0, 0); }

  // The same without types; the sizes are those of the spans above.
  Result<void> run(const Operation& op, std::size_t in_count, std::size_t out_count);

  // Any thread: ends every rank's wait in this incarnation where they can be reached, at the least
  // this rank's, with kCancelled and the reason. Idempotent.
  virtual void abort(std::string_view reason) = 0;
  // The rank's thread, outside of a call: like abort(), and tells all the others.
  virtual void leave(const std::string& reason) { abort(reason); }
  // The rank's thread, outside of a call: why this incarnation is over, as far as can be seen
  // without waiting.
  [[nodiscard]] virtual std::optional<Error> look() { return std::nullopt; }

 protected:
  explicit Collective(const Member& member) : member_(member) {}
  // `number`: counts this rank's operations, from 1. A failure breaks the incarnation.
  virtual Result<void> carry_out(const Operation& op, std::uint64_t number) = 0;

 private:
  [[nodiscard]] std::optional<Error> complaint(const Operation& op, std::size_t in_count,
                                               std::size_t out_count) const;

  Member member_;
  std::uint64_t number_ = 0;
  std::optional<Error> broken_;
};

// A member that cannot be: a rank outside its group, no incarnation, no timeout.
[[nodiscard]] std::optional<Error> complaint_about(const Member& member);
// The sentence for ranks that came with different calls.
[[nodiscard]] Error disagreement(const Member& me, const std::string& mine, int other,
                                 const std::string& theirs, std::uint64_t number);
[[nodiscard]] Error late(const Member& me, const std::string& what, std::uint64_t number);

// What a rank's wait ends with when its incarnation was aborted.
[[nodiscard]] Error aborted(const Member& me, std::string_view reason,
                            ErrorCode code = ErrorCode::kCancelled);

// Set by abort() in one thread, read by the rank's. The first reason stays.
class AbortFlag {
 public:
  void raise(std::string_view reason);
  [[nodiscard]] std::optional<Error> raised(const Member& me) const;
  [[nodiscard]] std::optional<std::string> reason() const;

 private:
  mutable std::mutex mutex_;
  std::optional<std::string> reason_;  // guarded by mutex_
};

}  // namespace rondo::collective
