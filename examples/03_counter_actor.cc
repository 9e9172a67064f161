// An actor keeps state between calls, and does the calls of one caller in their order. Its handle
// is a value: here a task gets it and calls it too.
//
//     driver ── add(1) … add(1000) ──▶ ┌─────────┐
//        │                             │ Counter │   in a worker process of its own
//        └─ submit(add_ten) ─▶ task ──▶└─────────┘
//                              add(10)
//
// Run:       build/bin/03_counter_actor
// Expected:  after 1000 calls: 500500
//            after a task's call: 500510
//            find("counter") says 500510

#include <rondo/runtime.h>

#include <cstdio>

class Counter {
 public:
  explicit Counter(long start) : value_(start) {}
  long add(int n) { return value_ += n; }
  long value() const { return value_; }

 private:
  long value_;
};

// Takes a Context because it waits: the verbs of Runtime, without a global.
long add_ten(rondo::Context& context, const rondo::Actor<Counter>& counter) {
  return context.get(counter.call(&Counter::add, 10));
}

int main(int argc, char** argv) try {
  rondo::Registry registry;
  registry.task("add_ten", add_ten);
  registry.actor<Counter, long>("Counter")
      .method("add", &Counter::add)
      .method("value", &Counter::value);
  rondo::Runtime rt(argc, argv, registry);

  const rondo::Actor<Counter> counter = rt.spawn<Counter>({.name = "counter"}, 0);
  rondo::Ref<long> last;
  for (int n = 1; n <= 1000; ++n) last = counter.call(&Counter::add, n);   // none of them waits
  std::printf("after 1000 calls: %ld\n", rt.get(last));
  std::printf("after a task's call: %ld\n", rt.get(rt.submit(add_ten, counter)));

  const auto found = rt.find<Counter>("counter");   // by name, from anywhere in the cluster
  std::printf("find(\"counter\") says %ld\n", rt.get(found.call(&Counter::value)));
} catch (const rondo::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
