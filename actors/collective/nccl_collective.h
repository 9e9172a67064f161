#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <rondo/actors/collective/collective.h>
#include <rondo/actors/collective/nccl_api.h>

// A Collective between GPUs, over NCCL. All data lies in device memory.
//
// NCCL's own sums depend on topology and algorithm. So by default NCCL only moves data: each rank
// gets its part of everybody's, adds it in the fixed tree, and the parts are handed round; as many
// bytes as a ring, and the bits of every other way. Bits::kLoose leaves the sum to NCCL; a run's
// layout says so.
// Communicators never block: every wait looks at NCCL's error, the deadline and the abort flag,
// then the communicator is aborted and the incarnation is over; the next one makes a new one with
// a new id, which rank 0 draws and `exchange` hands to the others.
// NCCL cannot tell that ranks disagree, or that one has died: with `control`, a Collective between
// the same ranks' processes, every call is compared first and a death ends the waits. Without it
// only the timeout does.
// A call's memory and the scratch must live until the stream is idle: a call that fails waits for
// that, for the timeout at most. Aborting a communicator blocks; where it hangs, nobody could end
// it, so after the timeout the process ends, with a sentence.
// One thread; abort() from any. It has run against a library that stands in for NCCL on the CPU;
// not yet on a GPU.

namespace rondo::collective {

// Where NCCL's work runs: a stream, and what else must be put in line on it.
struct NcclDevice {
  void* stream = nullptr;
  // Everything put in line so far has run; an error of the device ends the incarnation.
  std::function<Result<bool>()> is_idle;
  // Memory of the device of at least so many bytes; may replace what it gave before.
  std::function<Result<void*>(std::size_t bytes)> scratch;
  std::function<Result<void>(void* to, const void* from, std::size_t bytes)> copy;
  // out = left + right; `out` may be `left`.
  std::function<Result<void>(const Operation& op, const void* left, const void* right,
                             std::size_t count, void* out)> combine;
};

enum class Bits : std::uint8_t { kFixed, kLoose };

class NcclCollective final : public Collective {
 public:
  struct Options {
    std::shared_ptr<const NcclApi> api;
    NcclDevice device;
    // Called once by every rank, by rank 0 with the id; gives it to all. Must end by itself, also
    // where a rank never calls it: rank 0 does not when NCCL gives it no id.
    std::function<Result<NcclId>(std::optional<NcclId> mine)> exchange;
    std::unique_ptr<Collective> control;   // optional
    Bits bits = Bits::kFixed;
    // For what NCCL and the device do once every rank has come; 0: the member's timeout.
    DurationNs patience{};
  };

  static Result<std::unique_ptr<NcclCollective>> join(const Member& member, Options options);
  ~NcclCollective() override;

  void abort(std::string_view reason) override;
  void leave(const std::string& reason) override;

 protected:
  Result<void> carry_out(const Operation& op, std::uint64_t number) override;

 private:
  NcclCollective(const Member& member, Options options);

  Result<void> open();
  Result<void> agree(const Operation& op, std::uint64_t number);
  Result<void> dispatch(const Operation& op);
  Result<void> reduce_own_part(const Operation& op, void* out);
  Result<void> exchange_parts(const Operation& op, std::byte* scratch, std::size_t stride);
  Result<void> gather_parts(const Operation& op);
  Result<void> wait_for_device(std::uint64_t number);
  // A call of NCCL, until it is in line.
  Result<void> settle(int result, const char* call);
  [[nodiscard]] Error nccl_error(int result, const char* call) const;
  [[nodiscard]] int async_error() const;
  [[nodiscard]] DurationNs limit() const {
    return options_.patience.ns > 0 ? options_.patience : member().timeout;
  }
  void drop_communicator();
  void drain_device();

  Options options_;
  AbortFlag flag_;
  NcclComm* comm_ = nullptr;
};

}  // namespace rondo::collective
