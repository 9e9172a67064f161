// Tasks joined by refs: a tree of sums. A ref given where a value is wanted is a dependency, so the
// driver waits only for the last one.
//
//     ramp(0) ─┐
//              ├─ total ─┐
//     ramp(1) ─┘         ├─ add ── get: 7998000
//     ramp(2) ─┐         │
//              ├─ total ─┘         (each ramp is 1000 numbers, read in place by total)
//     ramp(3) ─┘
//
// Run:       build/bin/02_task_graph
// Expected:  the sum of 0..3999 is 7998000

#include <rondo/runtime.h>

#include <cstdio>
#include <numeric>
#include <span>
#include <vector>

std::vector<double> ramp(int part) {
  std::vector<double> numbers(1000);
  std::iota(numbers.begin(), numbers.end(), 1000.0 * part);
  return numbers;
}
double total(std::span<const double> a, std::span<const double> b) {
  return std::reduce(a.begin(), a.end()) + std::reduce(b.begin(), b.end());
}
double add(double a, double b) { return a + b; }

int main(int argc, char** argv) try {
  rondo::Registry registry;
  registry.task("ramp", ramp).task("total", total).task("add", add);
  rondo::Runtime rt(argc, argv, registry);

  std::vector<rondo::Ref<std::vector<double>>> parts;
  for (int part = 0; part < 4; ++part) parts.push_back(rt.submit(ramp, part));
  const rondo::Ref<double> left = rt.submit(total, parts[0], parts[1]);
  const rondo::Ref<double> right = rt.submit(total, parts[2], parts[3]);
  const rondo::Ref<double> sum = rt.submit(add, left, right);
  std::printf("the sum of 0..3999 is %.0f\n", rt.get(sum));
} catch (const rondo::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
