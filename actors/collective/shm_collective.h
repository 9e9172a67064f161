#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include <rondo/actors/collective/collective.h>
#include <rondo/actors/collective/shm_segment.h>

// A Collective between processes (or threads) of one machine, through memory that they share.
//
// Fastest where the gradients live in it: allocate() gives each rank memory of its own that the
// others can read, and one place for the result that all read. Then all_reduce copies nothing: each
// rank adds its part of everybody's data into the result. Private data is copied in and out, in
// pieces that stay in the cache.
//
// Whoever starts the ranks makes the memory (ShmSegment::make) and hands it over. A rank's death
// ends the others' waits within milliseconds, by its pidfd; abort() ends everybody's at once.
// Not where there are more ranks than cores: it works, but every wait then sleeps.

namespace rondo::collective {

class ShmCollective final : public Collective {
 public:
  struct Options {
    ShmHandle handle;
    std::size_t arena_bytes = 0;          // as the segment was made with
    DurationNs spin = microseconds(50);   // before a wait sleeps; 0 with more ranks than cores
    DurationNs join_timeout{};            // of join; 0: the member's
    std::vector<std::int64_t> pids;       // by rank, where known: their deaths end join at once
  };
  // Memory that begins at the same place for every rank. Valid as long as the Collective.
  template <class T>
  struct Shared {
    std::span<T> mine;     // this rank's data; the others read it during a call
    std::span<T> result;   // everybody's; written only by calls, between which all may read it
  };

  // Waits for the other ranks: until the timeout at most, and not when one that was there has died.
  static Result<std::unique_ptr<ShmCollective>> join(const Member& member, const Options& options);

  // Every rank asks for the same sizes in the same order. kOverloaded: the arena is used up.
  template <Element T>
  Result<Shared<T>> allocate(std::size_t count) {
    auto at = reserve(count, sizeof(T));
    if (!at) return at.error();
    const auto span_in = [&](std::span<std::byte> arena) {
      return std::span<T>(reinterpret_cast<T*>(arena.data() + at.value()), count);
    };
    return Shared<T>{span_in(segment_.arena(member().rank)), span_in(segment_.arena_result())};
  }

  void abort(std::string_view reason) override { segment_.raise_abort(reason); }
  [[nodiscard]] std::optional<Error> look() override { return segment_.look_for_trouble(true); }

 protected:
  Result<void> carry_out(const Operation& op, std::uint64_t number) override;

 private:
  ShmCollective(const Member& member, const Options& options);

  Result<std::size_t> reserve(std::size_t count, std::size_t element);
  [[nodiscard]] std::uint64_t place_of(const Operation& op) const;
  Result<void> reduce_small(const Operation& op, const ShmCall& call, std::uint64_t number);
  Result<void> reduce_in_place(const Operation& op, const ShmCall& call, std::uint64_t number);
  Result<void> reduce_staged(const Operation& op, const ShmCall& call, std::uint64_t number);
  Result<void> scatter_staged(const Operation& op, const ShmCall& call, std::uint64_t number);
  Result<void> gather_staged(const Operation& op, const ShmCall& call, std::uint64_t number);
  Result<void> broadcast_staged(const Operation& op, const ShmCall& call, std::uint64_t number);

  ShmSegment segment_;
  std::size_t used_bytes_ = 0;
};

}  // namespace rondo::collective
