#include <rondo/ops/executor.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include <tbb/info.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#if defined(__linux__)
#include <sched.h>
#endif

#include <rondo/ops/check.h>

// ThreadSanitizer cannot see how TBB, which is not built for it, orders its tasks: this file is
// built without it (CMakeLists.txt) and says by hand what a run promises.
#ifdef RONDO_TSAN
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
#else
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
#endif

namespace rondo::ops {
namespace {

using Clock = std::chrono::steady_clock;

// A helper that has nothing to do first spins, then lets other threads of the machine run between
// its looks, then leaves. A layer's pass is a row of short runs: they find the helper awake.
constexpr auto kSpin = std::chrono::microseconds(50);
constexpr auto kStay = std::chrono::microseconds(1000);

// A helper that finds itself on the caller's processor moves, no oftener than this: on a busy
// machine the kernel may have put it there for a reason.
constexpr auto kMoveEvery = std::chrono::milliseconds(200);

// TBB has few threads: a helper that only waits makes room for another executor's.
std::atomic<int> asked_for{0};

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// The processor that this thread runs on, or −1.
int processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Makes the kernel move this thread to another of the processors that it may use. Left alone, it
// keeps two threads that never sleep on one processor for 50 ms and more, beside an idle one.
void leave_processor(int from) {
#if defined(__linux__)
  cpu_set_t all;
  CPU_ZERO(&all);
  if (sched_getaffinity(0, sizeof all, &all) != 0 || !CPU_ISSET(from, &all)) return;
  cpu_set_t others = all;
  CPU_CLR(from, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
  (void)sched_setaffinity(0, sizeof all, &all);
#else
  (void)from;
#endif
}

// One wait: pauses at first, yields later.
class Patience {
 public:
  // False once `limit` has passed.
  bool wait(Clock::duration limit) {
    relax();
    if (++looks_ % 16 != 0) return true;
    const auto waited = Clock::now() - start_;
    if (waited > kSpin) std::this_thread::yield();
    return waited < limit;
  }

 private:
  Clock::time_point start_ = Clock::now();
  int looks_ = 0;
};

}  // namespace

// A run and its helpers.
struct Executor::Crew {
  ~Crew() { __tsan_acquire(&over); }

  void (*call)(const void*, int) = nullptr;
  const void* body = nullptr;
  int parts = 0;
  std::atomic<int> unclaimed{0};   // written last: claiming a part makes the rest visible
  std::atomic<int> finished{0};
  std::atomic<int> helpers{0};     // that are here or on their way
  std::atomic<bool> over{false};
  std::atomic<bool> in_run{false};
  std::atomic<int> caller_at{-1};  // the processor of whoever published the run

  // A part is claimed by taking one from `unclaimed`, whoever's run it now belongs to; a run does
  // not end, and so its fields do not change, before its claimed parts are finished.
  bool work() {
    int left = unclaimed.load(std::memory_order_acquire);
    while (left > 0) {
      if (!unclaimed.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel)) continue;
      __tsan_acquire(this);
      call(body, parts - left);
      __tsan_release(&finished);
      finished.fetch_add(1, std::memory_order_release);
      return true;
    }
    return false;
  }

  // A helper on the caller's processor only takes its time.
  void keep_away(Clock::time_point& next) const {
    const int at = caller_at.load(std::memory_order_relaxed);
    if (at < 0 || at != processor() || Clock::now() < next) return;
    leave_processor(at);
    next = Clock::now() + kMoveEvery;
  }

  void help() {
    asked_for.fetch_sub(1, std::memory_order_relaxed);
    Clock::time_point next_move{};
    while (true) {
      Patience patience;
      while (!over.load(std::memory_order_relaxed)) {
        if (unclaimed.load(std::memory_order_relaxed) > 0) keep_away(next_move);
        if (work()) {
          patience = Patience();
        } else if (asked_for.load(std::memory_order_relaxed) > 0 || !patience.wait(kStay)) {
          break;
        }
      }
      // Whoever publishes a run looks at `helpers` afterwards: one of the two sees the other.
      helpers.fetch_sub(1);
      if (over || unclaimed.load() == 0) break;
      helpers.fetch_add(1);
    }
    __tsan_release(&over);
  }
};

struct Executor::Arena {
  // More slots than TBB has threads would only earn a warning on stderr.
  explicit Arena(int threads)
      : helpers(std::min(threads, tbb::info::default_concurrency()) - 1), slots(helpers + 1) {}
  // Helpers that are here leave at once; those that never came are run by this thread.
  ~Arena() {
    crew.over = true;
    __tsan_release(&crew.over);
    slots.execute([this] { called.wait(); });
  }
  void call_helper() {
    crew.helpers.fetch_add(1);
    asked_for.fetch_add(1, std::memory_order_relaxed);
    slots.execute([this] { called.run([this] { crew.help(); }); });
  }
  int helpers;
  Crew crew;
  tbb::task_arena slots;
  tbb::task_group called;
};

Executor::Executor(int threads) : threads_(threads) {
  OPS_CHECK(threads >= 1);
  if (threads > 1) arena_ = std::make_unique<Arena>(threads);
}

Executor::~Executor() = default;

void Executor::run_erased(int parts, void (*call)(const void*, int), const void* body) const {
  Crew& crew = arena_->crew;
  if (arena_->helpers == 0 || crew.in_run.exchange(true)) {   // a run inside a run
    for (int part = 0; part < parts; ++part) call(body, part);
    return;
  }
  crew.call = call;
  crew.body = body;
  crew.parts = parts;
  crew.finished.store(0, std::memory_order_relaxed);
  crew.caller_at.store(processor(), std::memory_order_relaxed);
  __tsan_release(&crew);
  crew.unclaimed.store(parts);
  while (crew.helpers.load() < std::min(arena_->helpers, parts - 1)) arena_->call_helper();
  while (crew.work()) {
  }
  Patience patience;
  while (crew.finished.load(std::memory_order_acquire) < parts) patience.wait(kStay);
  __tsan_acquire(&crew.finished);
  crew.in_run = false;
}

}  // namespace rondo::ops
