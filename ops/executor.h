#pragma once

#include <memory>

// Executor: the threads that an op may use, lent by the caller.
//
// One thread means: run in place, TBB is never touched. More: the calling thread takes parts one
// after another, and so do helpers, threads of a TBB arena. Helpers that find nothing to do wait a
// millisecond for the next run before they leave, because waking a thread costs more than many a
// run; one that the kernel has put on the caller's processor moves off it. A run never waits for a
// helper that has not begun. Bits never depend on it: an op cuts its work into parts by shape,
// parts write disjoint rows or columns and never wait for one another.
// One call at a time on one Executor; a run inside a part runs in place. A part must not throw.

namespace rondo::ops {

class Executor {
 public:
  explicit Executor(int threads = 1);   // Requires: threads >= 1.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  [[nodiscard]] int threads() const { return threads_; }

  // Calls body(part) once for every part in [0, parts), in any order; returns when all are done.
  template <class Body>
  void run(int parts, const Body& body) const {
    if (threads_ == 1 || parts <= 1) {
      for (int part = 0; part < parts; ++part) body(part);
      return;
    }
    run_erased(parts, [](const void* b, int part) { (*static_cast<const Body*>(b))(part); }, &body);
  }

 private:
  struct Arena;
  struct Crew;
  void run_erased(int parts, void (*call)(const void*, int), const void* body) const;
  int threads_;
  std::unique_ptr<Arena> arena_;
};

}  // namespace rondo::ops
