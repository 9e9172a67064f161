// One function, run in another process.
//
//     driver ── submit(norm, {3, 4}) ──▶ worker
//        ◀──────────── 5 ───────────────
//
// Run:       build/bin/01_hello_task
// Expected:  |(3, 4)| = 5, computed by another process
//
// `main` runs in the worker too: up to the Runtime's constructor, which then serves and never
// returns.

#include <rondo/runtime.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

// The norm, and the process that computed it: a pair travels by itself.
std::pair<double, long> norm(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x * x;
  return {std::sqrt(sum), static_cast<long>(::getpid())};
}

int main(int argc, char** argv) try {
  rondo::Registry registry;
  registry.task("norm", norm);
  rondo::Runtime rt(argc, argv, registry);   // no address: a private cluster on this machine

  const rondo::Ref<std::pair<double, long>> promise = rt.submit(norm, std::vector{3.0, 4.0});
  const auto [length, pid] = rt.get(promise);
  std::printf("|(3, 4)| = %g, computed by %s\n", length,
              pid == ::getpid() ? "this process" : "another process");
} catch (const rondo::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
