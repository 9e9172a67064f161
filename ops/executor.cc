#include <rondo/ops/executor.h>

#include <algorithm>

#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <rondo/ops/check.h>

// ThreadSanitizer cannot see how TBB, which is not built for it, orders its tasks: this file is
// built without it (CMakeLists.txt) and says by hand what TBB promises.
#ifdef RONDO_TSAN
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
#else
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
#endif

namespace rondo::ops {

struct Executor::Arena {
  // More slots than TBB has threads would only earn a warning on stderr.
  explicit Arena(int threads) : slots(std::min(threads, tbb::info::default_concurrency())) {}
  tbb::task_arena slots;
};

Executor::Executor(int threads) : threads_(threads) {
  OPS_CHECK(threads >= 1);
  if (threads > 1) arena_ = std::make_unique<Arena>(threads);
}

Executor::~Executor() = default;

void Executor::run_erased(int parts, void (*call)(const void*, int), const void* body) const {
  char begun = 0;
  char ended = 0;
  __tsan_release(&begun);
  arena_->slots.execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<int>(0, parts, 1),
        [&](const tbb::blocked_range<int>& range) {
          __tsan_acquire(&begun);
          for (int part = range.begin(); part != range.end(); ++part) call(body, part);
          __tsan_release(&ended);
        },
        tbb::simple_partitioner());
  });
  __tsan_acquire(&ended);
}

}  // namespace rondo::ops
