#include <rondo/actors/collective/nccl_collective.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <unistd.h>

#include <rondo/actors/collective/rank_tree.h>
#include <rondo/base/check.h>

namespace rondo::collective {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBusyLooks = 2000;
constexpr std::chrono::microseconds kNap{50};

// Between two looks at what another thread or the device does: yields first, then sleeps.
class Patience {
 public:
  explicit Patience(DurationNs timeout)
      : end_(Clock::now() + std::chrono::nanoseconds(timeout.ns)) {}
  [[nodiscard]] bool is_over() const { return Clock::now() >= end_; }
  [[nodiscard]] bool is_long() const { return looks_ >= kBusyLooks; }
  void wait() {
    ++looks_;
    if (is_long()) std::this_thread::sleep_for(kNap);
    else std::this_thread::yield();
  }

 private:
  Clock::time_point end_;
  int looks_ = 0;
};

// Ends the process unless it goes in time.
class Watchdog {
 public:
  explicit Watchdog(DurationNs patience) : thread_([this, patience] { watch(patience); }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    bell_.notify_all();
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch(DurationNs patience) {
    std::unique_lock lock(mutex_);
    if (bell_.wait_for(lock, std::chrono::nanoseconds(patience.ns), [this] { return over_; }))
      return;
    std::fprintf(stderr, "process %d ends: ncclCommAbort has not returned in %lld s\n",
                 static_cast<int>(::getpid()), static_cast<long long>(patience.ns / 1'000'000'000));
    std::_Exit(EXIT_FAILURE);
  }

  std::mutex mutex_;
  std::condition_variable bell_;
  bool over_ = false;    // guarded by mutex_
  std::thread thread_;   // last: it uses the others
};

int nccl_dtype(const Operation& op) {
  return op.dtype == Dtype::kFloat32 ? nccl::kFloat32 : nccl::kFloat64;
}

const std::byte* bytes_at(const void* base, std::size_t at) {
  return static_cast<const std::byte*>(base) + at;
}
std::byte* bytes_at(void* base, std::size_t at) { return static_cast<std::byte*>(base) + at; }

}  // namespace

NcclCollective::NcclCollective(const Member& member, Options options)
    : Collective(member), options_(std::move(options)) {}

Result<std::unique_ptr<NcclCollective>> NcclCollective::join(const Member& member,
                                                             Options options) {
  if (auto wrong = complaint_about(member)) return *wrong;
  RONDO_CHECK(options.api != nullptr && options.exchange && options.device.is_idle);
  std::unique_ptr<NcclCollective> made(new NcclCollective(member, std::move(options)));
  if (auto opened = made->open(); !opened) {
    made->leave(opened.error().what());   // the others wait in NCCL for this rank
    made->drop_communicator();
    return opened.error();
  }
  return made;
}

NcclCollective::~NcclCollective() {
  if (comm_ == nullptr) return;
  // Finalising waits for the others; who is not in step with them any more aborts instead.
  const NcclApi& api = *options_.api;
  const bool broken = flag_.reason().has_value() || async_error() != nccl::kSuccess;
  if (broken || !settle(api.comm_finalize(comm_), "ncclCommFinalize")) drop_communicator();
  else api.comm_destroy(comm_);
}

void NcclCollective::abort(std::string_view reason) {
  flag_.raise(reason);
  if (options_.control) options_.control->abort(reason);
}

void NcclCollective::leave(const std::string& reason) {
  flag_.raise(reason);
  if (options_.control) options_.control->leave(reason);
}

int NcclCollective::async_error() const {
  int state = nccl::kSuccess;
  const int asked = options_.api->comm_get_async_error(comm_, &state);
  return asked == nccl::kSuccess ? state : asked;
}

Error NcclCollective::nccl_error(int result, const char* call) const {
  const char* text = options_.api->get_error_string(result);
  const char* last = comm_ == nullptr ? nullptr : options_.api->get_last_error(comm_);
  std::string what = std::string(call) + " failed on rank " + std::to_string(member().rank) +
                     " in incarnation " + std::to_string(member().incarnation.value) + ": " +
                     (text == nullptr ? "unknown error" : text);
  if (last != nullptr && *last != '\0') what += std::string(" (") + last + ")";
  return {ErrorCode::kUnavailable, what};
}

Result<void> NcclCollective::settle(int result, const char* call) {
  Patience patience(limit());
  while (result == nccl::kInProgress) {
    if (auto raised = flag_.raised(member())) return *raised;
    if (patience.is_long() && options_.control)
      if (auto seen = options_.control->look()) return *seen;
    if (patience.is_over())
      return Error(ErrorCode::kTimeout, std::string(call) + " of rank " +
                                            std::to_string(member().rank) + " did not end within " +
                                            std::to_string(limit().ns / 1'000'000) +
                                            " ms");
    patience.wait();
    result = async_error();
  }
  if (result != nccl::kSuccess) return nccl_error(result, call);
  return {};
}

Result<void> NcclCollective::open() {
  const NcclApi& api = *options_.api;
  std::optional<NcclId> mine;
  if (member().rank == 0) {
    mine.emplace();
    if (const int drawn = api.get_unique_id(&*mine); drawn != nccl::kSuccess)
      return nccl_error(drawn, "ncclGetUniqueId");
  }
  auto id = options_.exchange(mine);
  if (!id) return id.error();
  nccl::Config config;
  const int begun = api.comm_init(&comm_, member().size, id.value(), member().rank, &config);
  return settle(begun, "ncclCommInitRankConfig");
}

void NcclCollective::drop_communicator() {
  if (comm_ == nullptr) return;
  const Watchdog watchdog(limit());
  // Its result changes nothing: nobody uses the communicator again.
  options_.api->comm_abort(std::exchange(comm_, nullptr));
}

Result<void> NcclCollective::carry_out(const Operation& op, std::uint64_t number) {
  Result<void> done;
  bool is_known = false;   // to all ranks: each compares the calls, `control` tells its failures
  if (auto raised = flag_.raised(member())) done = *raised;
  if (done) {
    done = agree(op, number);
    is_known = !done;
  }
  if (done) done = dispatch(op);
  if (done) done = wait_for_device(number);
  if (done) return done;
  // The others wait in NCCL for this rank: they hear of it through `control`, or by their timeout.
  if (!is_known) leave(flag_.reason().value_or(done.error().what()));
  drop_communicator();
  drain_device();
  return done;
}

// What is in line still works on the caller's memory. Nobody waits for a device that is broken.
void NcclCollective::drain_device() {
  Patience patience(limit());
  while (!patience.is_over()) {
    const auto idle = options_.device.is_idle();
    if (!idle || idle.value()) return;
    patience.wait();
  }
}

// Everybody's call, by rank, in everybody's hands: NCCL itself would hang or mix them up.
Result<void> NcclCollective::agree(const Operation& op, std::uint64_t number) {
  if (!options_.control) return {};
  const auto size = static_cast<std::size_t>(member().size);
  const auto me = static_cast<std::size_t>(member().rank);
  std::vector<double> calls(2 * size);   // whole numbers below 2^53
  calls[2 * me] = static_cast<double>(op.count);
  calls[2 * me + 1] = static_cast<double>(op.shape());
  auto met = options_.control->all_reduce(std::span<const double>(calls), std::span<double>(calls));
  if (!met) return met;
  for (std::size_t rank = 0; rank < size; ++rank) {
    const auto count = static_cast<std::uint64_t>(calls[2 * rank]);
    const auto shape = static_cast<std::uint64_t>(calls[2 * rank + 1]);
    if (count != op.count || shape != op.shape())
      return disagreement(member(), describe(op.count, op.shape()), static_cast<int>(rank),
                          describe(count, shape), number);
  }
  return {};
}

Result<void> NcclCollective::dispatch(const Operation& op) {
  const NcclApi& api = *options_.api;
  const NcclDevice& device = options_.device;
  const Part mine = my_part(op.count, op.dtype);
  const std::size_t element = size_of(op.dtype);
  const int how = op.combine == Combine::kSum ? nccl::kSum : nccl::kMax;
  if (op.kind == Kind::kBarrier) {   // agree() was one; alone, NCCL passes one number round
    if (options_.control) return {};
    auto word = device.scratch(sizeof(double));
    if (!word) return word.error();
    return settle(api.all_reduce(word.value(), word.value(), 1, nccl::kFloat32, nccl::kMax, comm_,
                                 device.stream), "ncclAllReduce");
  }
  if (op.count == 0) return {};
  if (op.kind == Kind::kBroadcast)
    return settle(api.broadcast(op.in, op.out, op.count, nccl_dtype(op), op.root, comm_,
                                device.stream), "ncclBroadcast");
  if (op.kind == Kind::kReduceScatter) return reduce_own_part(op, op.out);
  if (op.kind == Kind::kAllGather) {
    if (mine.count != 0)
      if (auto put = device.copy(bytes_at(op.out, mine.begin * element), op.in,
                                 mine.count * element); !put)
        return put;
    return gather_parts(op);
  }
  if (options_.bits == Bits::kLoose)
    return settle(api.all_reduce(op.in, op.out, op.count, nccl_dtype(op), how, comm_,
                                 device.stream), "ncclAllReduce");
  if (auto reduced = reduce_own_part(op, bytes_at(op.out, mine.begin * element)); !reduced)
    return reduced;
  return gather_parts(op);
}

Result<void> NcclCollective::exchange_parts(const Operation& op, std::byte* scratch,
                                            std::size_t stride) {
  const NcclApi& api = *options_.api;
  const std::size_t element = size_of(op.dtype);
  const Part mine = my_part(op.count, op.dtype);
  int failed = api.group_start();
  for (int rank = 0; rank < member().size && failed == nccl::kSuccess; ++rank) {
    if (rank == member().rank) continue;
    const Part theirs = part_of(op.count, op.dtype, rank, member().size);
    if (theirs.count != 0)
      failed = api.send(bytes_at(op.in, theirs.begin * element), theirs.count, nccl_dtype(op), rank,
                        comm_, options_.device.stream);
    if (mine.count != 0 && (failed == nccl::kSuccess || failed == nccl::kInProgress))
      failed = api.recv(scratch + static_cast<std::size_t>(rank) * stride, mine.count,
                        nccl_dtype(op), rank, comm_, options_.device.stream);
    if (failed == nccl::kInProgress) failed = nccl::kSuccess;   // the group's end waits for it
  }
  const int ended = api.group_end();
  return settle(failed == nccl::kSuccess ? ended : failed, "ncclSend and ncclRecv");
}

// This rank's part of everybody's data, added in the fixed tree into `out`.
Result<void> NcclCollective::reduce_own_part(const Operation& op, void* out) {
  const NcclDevice& device = options_.device;
  const Part mine = my_part(op.count, op.dtype);
  const std::size_t bytes = mine.count * size_of(op.dtype);
  const std::size_t stride = (bytes + 255) / 256 * 256;
  auto scratch = device.scratch(std::max<std::size_t>(stride, 256) *
                                static_cast<std::size_t>(member().size));
  if (!scratch) return scratch.error();
  auto* slots = static_cast<std::byte*>(scratch.value());
  if (auto moved = exchange_parts(op, slots, stride); !moved) return moved;
  if (bytes == 0) return {};
  const auto slot = [&](int rank) { return slots + static_cast<std::size_t>(rank) * stride; };
  if (auto put = device.copy(slot(member().rank), bytes_at(op.in, mine.begin * size_of(op.dtype)),
                             bytes); !put)
    return put;
  // A node's value replaces its leftmost rank's.
  const std::function<Result<void>(Node)> add = [&](Node node) -> Result<void> {
    if (node.is_leaf()) return {};
    if (auto left = add(node.left()); !left) return left;
    if (auto right = add(node.right()); !right) return right;
    return device.combine(op, slot(node.lo), slot(node.right().lo), mine.count, slot(node.lo));
  };
  if (auto added = add({0, member().size}); !added) return added;
  return device.copy(out, slot(0), bytes);
}

// Parts differ in size, so each goes round by itself; NCCL joins them into one pass.
Result<void> NcclCollective::gather_parts(const Operation& op) {
  const NcclApi& api = *options_.api;
  const std::size_t element = size_of(op.dtype);
  int failed = api.group_start();
  for (int rank = 0; rank < member().size && failed == nccl::kSuccess; ++rank) {
    const Part part = part_of(op.count, op.dtype, rank, member().size);
    if (part.count == 0) continue;
    void* at = bytes_at(op.out, part.begin * element);
    failed = api.broadcast(at, at, part.count, nccl_dtype(op), rank, comm_, options_.device.stream);
    if (failed == nccl::kInProgress) failed = nccl::kSuccess;
  }
  const int ended = api.group_end();
  return settle(failed == nccl::kSuccess ? ended : failed, "ncclBroadcast of the parts");
}

Result<void> NcclCollective::wait_for_device(std::uint64_t number) {
  Patience patience(limit());
  while (true) {
    auto idle = options_.device.is_idle();
    if (!idle) return idle.error();
    if (const int state = async_error(); state != nccl::kSuccess && state != nccl::kInProgress)
      return nccl_error(state, "a collective");
    if (idle.value()) return {};
    if (auto raised = flag_.raised(member())) return *raised;
    if (patience.is_long() && options_.control)
      if (auto seen = options_.control->look()) return *seen;
    if (patience.is_over())
      return late(member(), "NCCL did not end rank " + std::to_string(member().rank) + "'s work",
                  number);
    patience.wait();
  }
}

}  // namespace rondo::collective
