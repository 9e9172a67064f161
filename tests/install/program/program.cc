#include <cstdio>

#include <rondo/actors/model.h>
#include <rondo/ops/tensor.h>
#include <rondo/runtime.h>

// What a user of the installed Rondo writes: a task and an actor in processes of their own.

int square(int x) { return x * x; }

struct Counter {
  explicit Counter(int start) : value(start) {}
  int add(int n) { return value += n; }
  int value;
};

int main(int argc, char** argv) {
  rondo::Registry registry;
  registry.task("square", square);
  registry.actor<Counter, int>("Counter").method("add", &Counter::add);
  rondo::Runtime rt(argc, argv, registry);

  rondo::Ref<int> nine = rt.submit(square, 3);
  rondo::Actor<Counter> counter = rt.spawn<Counter>({.name = "c"}, 10);
  const int sum = rt.get(counter.call(&Counter::add, nine));
  std::printf("10 + 3*3 = %d\n", sum);
  return sum == 19 ? 0 : 1;
}
