// A driver for the tests of the `rondo` program:
//
//   cli_driver [NAME [CPU]]     spawns a counter of this name that takes so much cpu, then does
//                               what its stdin says: "add" calls it, "pid" says where it lives,
//                               "lend" puts 4 MiB that the counter then keeps too, "back" makes
//                               it let go, anything else ends the driver. An error is printed
//                               and ends it.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include <rondo/runtime.h>

namespace {

struct Counter {
  explicit Counter(int start) : value(start) {
    std::printf("a counter is born\n");
    std::fflush(stdout);
  }
  int add(int n) { return value += n; }
  int pid() { return static_cast<int>(::getpid()); }
  std::size_t keep(const rondo::Buffer& lent) { return (kept = lent).size(); }
  void let_go() { kept = {}; }
  int value;
  rondo::Buffer kept;
};

}  // namespace

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  rondo::Registry registry;
  registry.actor<Counter, int>("Counter")
      .method("add", &Counter::add)
      .method("pid", &Counter::pid)
      .method("keep", &Counter::keep)
      .method("let_go", &Counter::let_go);
  try {
    rondo::Runtime rt(argc, argv, registry);
    rondo::ActorOptions options{.name = "c", .max_restarts = 5, .max_task_retries = 5};
    if (argc > 1) options.name = argv[1];
    if (argc > 2) options.resources.cpu = std::atof(argv[2]);
    rondo::Actor<Counter> counter = rt.spawn<Counter>(options, 0);
    std::printf("ready %d\n", rt.get(counter.call(&Counter::add, 0), 60s));
    std::fflush(stdout);
    rondo::Ref<rondo::Buffer> lent;
    for (std::string line; std::getline(std::cin, line);) {
      if (line == "add") std::printf("sum %d\n", rt.get(counter.call(&Counter::add, 1), 30s));
      else if (line == "pid") std::printf("pid %d\n", rt.get(counter.call(&Counter::pid), 30s));
      else if (line == "lend") {
        lent = rt.put(rondo::Buffer(rondo::share(rondo::Bytes(std::size_t{4} << 20))));
        std::printf("lent %zu\n", rt.get(counter.call(&Counter::keep, lent), 30s));
      } else if (line == "back") {
        rt.get(counter.call(&Counter::let_go), 30s);
        std::printf("back\n");
      } else break;
      std::fflush(stdout);
    }
  } catch (const rondo::Error& error) {
    std::fprintf(stderr, "driver: %s\n", error.what());
    return 1;
  }
  return 0;
}
