#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <rondo/actors/collective/collective.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// ShmSegment: the memory that the ranks of one incarnation share on one machine, and how they wait
// for one another in it.
//
// Picture a row of flags, one a rank: who gets to the next point raises its own and looks at the
// others. A waiting rank looks for a short while, then sleeps on the flag that is missing (futex)
// and wakes now and then to see whether its bearer still lives (pidfd).
//
// One rank, or whoever starts them, makes the segment and hands its Handle to the others, who open
// it through /proc, as the store does. It ends with the last map. Each incarnation has its own, so
// nothing of an older one can be met.
// One thread of the rank; raise_abort() from any.

namespace rondo::collective {

struct ShmHandle {
  std::int64_t pid = 0;   // lives until all have joined
  std::int64_t fd = 0;
};

struct ShmSizes {
  int ranks = 0;
  Incarnation incarnation;
  std::size_t arena_bytes = 0;   // a rank's memory for its own data, and as much for the results
};

inline constexpr std::size_t kSmallBytes = 4096;               // travels with the flag
inline constexpr std::size_t kStageBytes = std::size_t{256} << 10;   // of private data, at once

// What a rank says about its call as it raises its flag; compared by the others.
struct ShmCall {
  std::uint64_t count = 0;
  std::uint64_t shape = 0;
  std::uint64_t place = 0;   // of data in the arena, + 1; 0: private
  bool operator==(const ShmCall&) const = default;
};

class ShmSegment {
 public:
  // Makes the memory and its pages. kOverloaded: there is no room.
  static Result<OwnedFd> make(const ShmSizes& sizes);
  // For who made it, and is no rank: raise_abort() for all of them.
  static void raise_abort(const OwnedFd& made, std::string_view reason);
  // Takes the rank's place and waits until all have taken theirs. `spin`: how long a wait looks
  // before it sleeps. `join_timeout`: of all of join(), which also ends when a rank dies that has
  // taken its place or whose process `pids` names (by rank, or none). kInvalid: of another
  // incarnation or size, or the place is taken.
  ShmSegment(const Member& member, DurationNs spin, DurationNs join_timeout,
             std::vector<std::int64_t> pids)
      : member_(member), spin_(spin), join_timeout_(join_timeout), pids_(std::move(pids)) {}
  Result<void> join(const ShmHandle& handle, std::size_t arena_bytes);
  ~ShmSegment();
  ShmSegment(const ShmSegment&) = delete;
  ShmSegment& operator=(const ShmSegment&) = delete;

  // Raises this rank's flag and waits for all the others'.
  Result<void> meet(std::uint64_t number);
  // The same, and all must have come with the same call.
  Result<void> meet(const ShmCall& call, std::uint64_t number);
  void raise_abort(std::string_view reason);
  [[nodiscard]] std::optional<Error> aborted() const;
  // An abort, or the death of a rank; `anybody`: also of one whose flag is raised already.
  [[nodiscard]] std::optional<Error> look_for_trouble(bool anybody);

  // Memory. `turn`: flags are raised in turns 0 and 1; what a rank wrote before the last flag of a
  // turn may be read by others until they raise the next one of that turn.
  [[nodiscard]] std::uint32_t turn() const { return (raised_ + 1) & 1; }
  [[nodiscard]] std::byte* small(int rank, std::uint32_t turn) const;
  [[nodiscard]] std::byte* stage(int rank) const;
  [[nodiscard]] std::byte* stage_result() const { return stage(member_.size); }
  [[nodiscard]] std::span<std::byte> arena(int rank) const;
  [[nodiscard]] std::span<std::byte> arena_result() const { return arena(member_.size); }

 private:
  struct Head;
  struct Line;

  static void raise_abort(Head& head, std::string_view reason);
  [[nodiscard]] Line& line(int rank) const;
  void wake_sleepers();
  [[nodiscard]] bool has_come_soon(int rank) const;
  Result<void> sleep_for(int rank, std::uint64_t number,
                         std::chrono::steady_clock::time_point deadline);
  Result<void> gather_ranks();
  Result<void> take_place();
  std::optional<Error> watch_ranks();
  [[nodiscard]] std::string name_of_process(int rank) const;
  [[nodiscard]] bool has_come(int rank) const;
  Error fail(Error error);

  Member member_;
  DurationNs spin_;
  DurationNs join_timeout_;
  std::vector<std::int64_t> pids_;
  std::span<std::byte> map_;
  Head* head_ = nullptr;
  std::size_t arena_bytes_ = 0;
  std::uint32_t raised_ = 0;
  std::vector<OwnedFd> lives_;   // by rank: pidfd; none of this process
};

}  // namespace rondo::collective
