// Two nodes: each actor takes a whole processor of its node, so they live on different ones, and
// what one makes the other reads.
//
//     ┌─ node n1 ──────┐          ┌─ node n2 ──────┐
//     │ Worker: make() │ ─ Ref ─▶ │ Worker: sum()  │ ─▶ driver
//     └────────────────┘  8 MB,   └────────────────┘
//                         copied once between the nodes' stores
//
// Run:       examples/on_cluster.sh 2 build/bin/04_two_nodes
//            (it does: rondo up --nodes 2 --cpus 1 --detach; the program; rondo down)
// Expected:  two workers, on two nodes
//            the sum of a million ones is 1000000

#include <rondo/runtime.h>
#include <unistd.h>

#include <cstdio>
#include <numeric>
#include <span>
#include <vector>

struct Worker {
  long node_pid() { return ::getppid(); }   // a worker is a child of its node
  std::vector<double> make(std::size_t count) { return std::vector<double>(count, 1.0); }
  double sum(std::span<const double> values) { return std::reduce(values.begin(), values.end()); }
};

int main(int argc, char** argv) try {
  rondo::Registry registry;
  registry.actor<Worker>("Worker")
      .method("node_pid", &Worker::node_pid)
      .method("make", &Worker::make)
      .method("sum", &Worker::sum);
  rondo::Runtime rt(argc, argv, registry);   // RONDO_ADDRESS says where

  const auto one = rt.spawn<Worker>({.resources = {.cpu = 1}});
  const auto two = rt.spawn<Worker>({.resources = {.cpu = 1}});
  const long first = rt.get(one.call(&Worker::node_pid));
  const long second = rt.get(two.call(&Worker::node_pid));
  std::printf("two workers, on %s\n", first == second ? "one node" : "two nodes");

  const rondo::Ref<std::vector<double>> million = one.call(&Worker::make, 1'000'000);
  const double sum = rt.get(two.call(&Worker::sum, million));
  std::printf("the sum of a million ones is %.0f\n", sum);
} catch (const rondo::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
