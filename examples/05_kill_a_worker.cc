// A worker is killed with SIGKILL. Its actor starts again within its budget, in a new process and
// with a new object; a handle that is bound to the dead one says so instead of reaching the new
// one.
//
//     driver ── add(5) ──▶ Counter (pid 100)  5
//     kill -9 100  ✗
//     driver ── add(1) ──▶ Counter (pid 123)  1     restarted: its constructor ran again
//     bound handle ──────▶ ActorDied
//
// Run:       build/bin/05_kill_a_worker
// Expected:  before: 5
//            killed its process
//            after: 1, in a new process, N ms later
//            the old object: ActorDied

#include <rondo/runtime.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

struct Counter {
  int add(int n) { return value += n; }
  int pid() const { return ::getpid(); }
  int value = 0;
};

int main(int argc, char** argv) try {
  rondo::Registry registry;
  registry.actor<Counter>("Counter").method("add", &Counter::add).method("pid", &Counter::pid);
  rondo::Runtime rt(argc, argv, registry);

  // A call that may have begun when the process died is repeated only with max_task_retries.
  const auto counter = rt.spawn<Counter>({.max_restarts = 1, .max_task_retries = 1});
  const auto bound = counter.bound();
  std::printf("before: %d\n", rt.get(counter.call(&Counter::add, 5)));

  const int pid = rt.get(counter.call(&Counter::pid));
  const auto start = std::chrono::steady_clock::now();
  ::kill(pid, SIGKILL);
  std::printf("killed its process\n");

  const int value = rt.get(counter.call(&Counter::add, 1));   // waits for the restart
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  const bool moved = rt.get(counter.call(&Counter::pid)) != pid;
  std::printf("after: %d, in %s process, %.0f ms later\n", value, moved ? "a new" : "the same",
              took.count());
  try {
    rt.get(bound.call(&Counter::add, 1));
  } catch (const rondo::Error& error) {
    std::printf("the old object: %s\n", std::string(rondo::to_string(error.code())).c_str());
  }
} catch (const rondo::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
