#include <rondo/actors/collective/shm_segment.h>

#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <rondo/base/check.h>
// tidy: allow include-dag, because the store's maps of shared memory are not made twice
#include <rondo/store/shared_memory.h>

namespace rondo::collective {

namespace {

constexpr std::uint64_t kMagic = 0x6C6C6F632D6F6472ull;
constexpr std::uint32_t kLayout = 1;   // of the segment: ranks of another build are refused
constexpr std::size_t kPage = 4096;
constexpr std::size_t kReasonBytes = 512;
constexpr DurationNs kNapMax = milliseconds(5);   // asleep without a look at the others' lives
constexpr DurationNs kReasonMax = milliseconds(1);   // for an abort's reason to be written
constexpr int kLooksPerTimeCheck = 128;

using Clock = std::chrono::steady_clock;

Clock::time_point after(DurationNs span) {
  return Clock::now() + std::chrono::nanoseconds(span.ns);
}

std::size_t pages(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen, DurationNs most) {
  const timespec span{most.ns / 1'000'000'000, most.ns % 1'000'000'000};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &span, nullptr, 0);   // waking early is harmless
}

void futex_wake_all(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

bool has_ended(const OwnedFd& life) {
  pollfd ask{life.get(), POLLIN, 0};
  return life && ::poll(&ask, 1, 0) == 1;
}

}  // namespace

// A rank's flag with its call, in one cache line; beside it what is seldom written.
struct ShmSegment::Line {
  alignas(64) std::atomic<std::uint32_t> raised;   // flags so far; sleepers wait on it
  ShmCall calls[2];                                // by turn
  alignas(64) std::atomic<std::uint32_t> sleepers;
  std::atomic<std::int32_t> pid;                   // 0: not yet here
};

struct ShmSegment::Head {
  std::uint64_t magic;
  std::uint32_t layout;
  std::int32_t ranks;
  std::uint64_t incarnation;
  std::uint64_t arena_bytes;
  alignas(64) std::atomic<std::uint32_t> abort;   // 0 no, 1 being written, 2 reason is there
  char reason[kReasonBytes];
  Line lines[kRanksMax];
};

namespace {

struct Layout {
  std::size_t small, stage, arena, end;
  Layout(std::size_t head_bytes, int ranks, std::size_t arena_bytes) {
    const auto n = static_cast<std::size_t>(ranks);
    small = pages(head_bytes);
    stage = small + n * 2 * kSmallBytes;
    arena = stage + (n + 1) * kStageBytes;
    end = arena + (n + 1) * pages(arena_bytes);
  }
};

}  // namespace

Result<OwnedFd> ShmSegment::make(const ShmSizes& sizes) {
  Member first{0, sizes.ranks, sizes.incarnation};
  if (auto wrong = complaint_about(first)) return *wrong;
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
  const Layout layout(sizeof(Head), sizes.ranks, sizes.arena_bytes);
  Result<OwnedFd> fd = store::make_memory("rondo-collective", layout.end);
  if (!fd) return fd;
  if (auto made = store::make_pages(fd.value().get(), layout.end); !made) return made.error();
  auto map = store::map_shared(fd.value().get(), layout.end, true);
  if (!map) return map.error();
  Head* head = ::new (map.value().data()) Head{};
  head->layout = kLayout;
  head->ranks = sizes.ranks;
  head->incarnation = sizes.incarnation.value;
  head->arena_bytes = pages(sizes.arena_bytes);
  head->magic = kMagic;
  store::unmap(map.value());
  return fd;
}

Result<void> ShmSegment::join(const ShmHandle& handle, std::size_t arena_bytes) {
  if (auto wrong = complaint_about(member_)) return *wrong;
  auto fd = store::open_of_process(handle.pid, handle.fd, true);
  if (!fd) return fd.error();
  auto bytes = store::size_of(fd.value().get());
  if (!bytes) return bytes.error();
  const Layout layout(sizeof(Head), member_.size, arena_bytes);
  if (bytes.value() < sizeof(Head))
    return Error(ErrorCode::kInvalid, "this shared memory belongs to no group");
  auto map = store::map_shared(fd.value().get(), bytes.value(), true);
  if (!map) return map.error();
  map_ = map.value();
  store::populate(map_, true);
  head_ = std::launder(reinterpret_cast<Head*>(map_.data()));
  if (head_->magic != kMagic || head_->layout != kLayout)
    return Error(ErrorCode::kInvalid, "this shared memory belongs to no group of this version");
  const std::string me = "rank " + std::to_string(member_.rank);
  if (head_->incarnation != member_.incarnation.value)
    return Error(ErrorCode::kInvalid,
                 me + " is of incarnation " + std::to_string(member_.incarnation.value) +
                     ", the group's shared memory of " + std::to_string(head_->incarnation));
  if (head_->ranks != member_.size || head_->arena_bytes != pages(arena_bytes) ||
      map_.size() != layout.end)
    return Error(ErrorCode::kInvalid,
                 me + " expects " + std::to_string(member_.size) + " ranks with " +
                     std::to_string(pages(arena_bytes)) + " bytes each, the shared memory is for " +
                     std::to_string(head_->ranks) + " with " + std::to_string(head_->arena_bytes));
  arena_bytes_ = head_->arena_bytes;
  if (auto taken = take_place(); !taken) return taken;
  return gather_ranks();
}

Result<void> ShmSegment::take_place() {
  std::int32_t nobody = 0;
  if (!line(member_.rank).pid.compare_exchange_strong(nobody, ::getpid()))
    return Error(ErrorCode::kInvalid, "rank " + std::to_string(member_.rank) +
                                          " is already taken by process " + std::to_string(nobody));
  line(member_.rank).raised.store(++raised_, std::memory_order_seq_cst);
  futex_wake_all(line(member_.rank).raised);
  return {};
}

Result<void> ShmSegment::gather_ranks() {
  lives_.resize(static_cast<std::size_t>(member_.size));
  const auto deadline = after(join_timeout_);
  for (int rank = 0; rank < member_.size; ++rank)
    if (auto come = sleep_for(rank, 0, deadline); !come) return come;
  if (auto unwatched = watch_ranks()) return fail(*unwatched);
  return {};
}

// From the moment a rank has taken its place, or from the start where its process is known: it may
// die while others are still missing.
std::optional<Error> ShmSegment::watch_ranks() {
  for (int rank = 0; rank < member_.size; ++rank) {
    const auto at = static_cast<std::size_t>(rank);
    OwnedFd& life = lives_[at];
    std::int64_t pid = line(rank).pid.load(std::memory_order_acquire);
    if (pid == 0 && at < pids_.size()) pid = pids_[at];
    if (life || pid == 0 || pid == ::getpid()) continue;
    life = OwnedFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!life && errno == ESRCH)
      return Error(ErrorCode::kUnavailable, "rank " + std::to_string(rank) + " (process " +
                                                std::to_string(pid) +
                                                ") ended before all had joined");
    if (!life)
      return Error(ErrorCode::kUnavailable, "rank " + std::to_string(rank) + " (process " +
                                                std::to_string(pid) + ") cannot be watched: " +
                                                errno_text(errno));
  }
  return std::nullopt;
}

std::string ShmSegment::name_of_process(int rank) const {
  const std::int32_t pid = line(rank).pid.load();
  return pid == 0 ? ", which had not joined yet," : " (process " + std::to_string(pid) + ")";
}

ShmSegment::~ShmSegment() {
  if (!map_.empty()) store::unmap(map_);
}

ShmSegment::Line& ShmSegment::line(int rank) const { return head_->lines[rank]; }

std::byte* ShmSegment::small(int rank, std::uint32_t turn) const {
  const Layout layout(sizeof(Head), member_.size, arena_bytes_);
  return map_.data() + layout.small + (static_cast<std::size_t>(rank) * 2 + turn) * kSmallBytes;
}

std::byte* ShmSegment::stage(int rank) const {
  const Layout layout(sizeof(Head), member_.size, arena_bytes_);
  return map_.data() + layout.stage + static_cast<std::size_t>(rank) * kStageBytes;
}

std::span<std::byte> ShmSegment::arena(int rank) const {
  const Layout layout(sizeof(Head), member_.size, arena_bytes_);
  return map_.subspan(layout.arena + static_cast<std::size_t>(rank) * arena_bytes_, arena_bytes_);
}

// Two additions to one count are in order: if a sleeper's comes later, it sees the flag that was
// raised before, else it is seen here. Called once the flag has had time to travel: right behind
// its store the addition would wait for that.
void ShmSegment::wake_sleepers() {
  Line& mine = line(member_.rank);
  if (mine.sleepers.fetch_add(0, std::memory_order_acq_rel) != 0) futex_wake_all(mine.raised);
}

bool ShmSegment::has_come(int rank) const {
  const std::uint32_t there = line(rank).raised.load(std::memory_order_acquire);
  return static_cast<std::int32_t>(there - raised_) >= 0;
}

Result<void> ShmSegment::meet(std::uint64_t number) {
  line(member_.rank).raised.store(++raised_, std::memory_order_release);
  for (int rank = 0; rank < member_.size; ++rank)
    if (!has_come_soon(rank)) {
      wake_sleepers();
      if (auto come = sleep_for(rank, number, after(member_.timeout)); !come) return come;
    }
  wake_sleepers();
  return {};
}

Result<void> ShmSegment::meet(const ShmCall& call, std::uint64_t number) {
  const std::uint32_t at = turn();
  line(member_.rank).calls[at] = call;
  if (auto met = meet(number); !met) return met;
  const auto words = [](const ShmCall& c) {
    return describe(c.count, c.shape) + (c.place == 0 ? " in private memory"
                                                      : " at byte " + std::to_string(c.place - 1) +
                                                            " of the shared memory");
  };
  for (int rank = 0; rank < member_.size; ++rank)
    if (const ShmCall& theirs = line(rank).calls[at]; theirs != call)
      return fail(disagreement(member_, words(call), rank, words(theirs), number));
  return {};
}

bool ShmSegment::has_come_soon(int rank) const {
  for (int look = 0; look < kLooksPerTimeCheck; ++look)
    if (has_come(rank)) return true;
  const auto enough = after(std::min(spin_, member_.timeout));
  while (Clock::now() < enough) {
    for (int look = 0; look < kLooksPerTimeCheck; ++look) {
      if (has_come(rank)) return true;
      relax();
    }
    if (head_->abort.load(std::memory_order_acquire) != 0) break;
  }
  return false;
}

// `number` 0: for a rank that has not joined yet.
Result<void> ShmSegment::sleep_for(int rank, std::uint64_t number, Clock::time_point deadline) {
  Line& theirs = line(rank);
  const bool joins = number == 0;
  theirs.sleepers.fetch_add(1, std::memory_order_seq_cst);
  std::optional<Error> trouble;
  while (!trouble) {
    const std::uint32_t seen = theirs.raised.load(std::memory_order_seq_cst);
    if (has_come(rank)) break;
    const DurationNs left{
        std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - Clock::now()).count()};
    if (left <= DurationNs{}) {
      Member me = member_;
      if (joins) me.timeout = join_timeout_;
      const std::string who = "rank " + std::to_string(rank);
      trouble = late(me, joins ? who + " did not join" : who + " did not come", number);
    } else {
      if (joins) trouble = watch_ranks();
      if (!trouble) trouble = look_for_trouble(joins);   // who has joined cannot have left yet
      if (!trouble) futex_wait(theirs.raised, seen, std::min(left, kNapMax));
    }
  }
  theirs.sleepers.fetch_sub(1, std::memory_order_seq_cst);
  if (trouble && !has_come(rank)) return fail(*trouble);
  return {};
}

std::optional<Error> ShmSegment::look_for_trouble(bool anybody) {
  if (auto error = aborted()) return error;
  for (std::size_t rank = 0; rank < lives_.size(); ++rank)
    if (has_ended(lives_[rank]) && (anybody || !has_come(static_cast<int>(rank))))
      return Error(ErrorCode::kUnavailable,
                   "rank " + std::to_string(rank) + name_of_process(static_cast<int>(rank)) +
                       " ended while incarnation " + std::to_string(member_.incarnation.value) +
                       " of the group was at work");
  return std::nullopt;
}

std::optional<Error> ShmSegment::aborted() const {
  std::uint32_t state = head_->abort.load(std::memory_order_acquire);
  if (state == 0) return std::nullopt;
  const auto enough = after(kReasonMax);
  while (state == 1 && Clock::now() < enough) {
    std::this_thread::yield();
    state = head_->abort.load(std::memory_order_acquire);
  }
  const std::string reason =   // 1: whoever writes it may have died over it
      state == 2 ? std::string(head_->reason, ::strnlen(head_->reason, kReasonBytes))
                 : "the reason is being written";
  return collective::aborted(member_, reason);
}

void ShmSegment::raise_abort(std::string_view reason) {
  if (head_ != nullptr) raise_abort(*head_, reason);
}

void ShmSegment::raise_abort(Head& head, std::string_view reason) {
  std::uint32_t none = 0;
  if (!head.abort.compare_exchange_strong(none, 1)) return;
  const std::size_t length = std::min(reason.size(), kReasonBytes - 1);
  std::memcpy(head.reason, reason.data(), length);
  head.reason[length] = '\0';
  head.abort.store(2, std::memory_order_release);
  for (int rank = 0; rank < std::min(head.ranks, kRanksMax); ++rank)
    futex_wake_all(head.lines[rank].raised);
}

void ShmSegment::raise_abort(const OwnedFd& made, std::string_view reason) {
  const auto map = store::map_shared(made.get(), pages(sizeof(Head)), true);
  if (!map) return;   // its memory is used up: the ranks end by their timeout
  raise_abort(*std::launder(reinterpret_cast<Head*>(map.value().data())), reason);
  store::unmap(map.value());
}

// What one rank could not bear ends the incarnation for all.
Error ShmSegment::fail(Error error) {
  raise_abort(error.what());
  return error;
}

}  // namespace rondo::collective
