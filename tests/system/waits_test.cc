// Tasks and actors that wait for one another: recursion needs few workers, cycles are found.

#include <gtest/gtest.h>
#include <rondo/runtime.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include <rondo/host/machine.h>

#include "private_test.h"

using namespace std::chrono_literals;

namespace {

int g_argc = 0;
char** g_argv = nullptr;

long fib(rondo::Context& rt, int n) {
  if (n < 2) return n;
  const auto a = rt.submit(fib, n - 1);
  const auto b = rt.submit(fib, n - 2);
  return rt.get(a) + rt.get(b);
}

// Each asks the next one on its round, `hops` times in all.
struct C;
struct B;
struct A {
  void join(rondo::Actor<B> other) { next = other; }
  int f(rondo::Context& rt, int hops);
  rondo::Actor<B> next;
};
struct B {
  void join(rondo::Actor<A> other) { back = other; }
  void join_c(rondo::Actor<C> other) { on = other; }
  int g(rondo::Context& rt, int hops) {
    return hops == 0 ? 0 : 1 + rt.get(back.call(&A::f, hops - 1));
  }
  int h(rondo::Context& rt, int hops);
  rondo::Actor<A> back;
  rondo::Actor<C> on;
};
struct C {
  void join(rondo::Actor<A> other) { next = other; }
  int k(rondo::Context& rt, int hops) {
    return hops == 0 ? 0 : 1 + rt.get(next.call(&A::f, hops - 1));
  }
  rondo::Actor<A> next;
};
int A::f(rondo::Context& rt, int hops) {
  if (hops == 0) return 0;
  const bool of_three = hops % 2 == 1;  // odd: A, B, C, A; even: A, B, A
  return 1 + (of_three ? rt.get(next.call(&B::h, hops - 1)) : rt.get(next.call(&B::g, hops - 1)));
}
int B::h(rondo::Context& rt, int hops) {
  return hops == 0 ? 0 : 1 + rt.get(on.call(&C::k, hops - 1));
}

void fill(rondo::Registry& registry) {
  registry.task("fib", fib);
  registry.actor<A>("A").method("join", &A::join).method("f", &A::f);
  registry.actor<B>("B")
      .method("join", &B::join)
      .method("join_c", &B::join_c)
      .method("g", &B::g)
      .method("h", &B::h);
  registry.actor<C>("C").method("join", &C::join).method("k", &C::k);
}

using rondo::system_test::error_of;

class WaitsTest : public rondo::system_test::PrivateTest {
 protected:
  WaitsTest() {
    fill(registry);
    rt = std::make_unique<rondo::Runtime>(g_argc, g_argv, registry);
  }
  void expect_cycle(const std::string& text, const std::string& chain) {
    EXPECT_TRUE(text.starts_with("Invalid: ")) << text;
    EXPECT_NE(text.find("a cycle of waits: " + chain), std::string::npos) << text;
  }
};

TEST_F(WaitsTest, RecursiveTasksWaitForOneAnother) {
  EXPECT_EQ(rt->get(rt->submit(fib, 12), 60s), 144);
}

TEST_F(WaitsTest, Fib20NeedsAtMostTwoWorkersBeyondTheCores) {
  const auto before = std::chrono::steady_clock::now();
  const auto result = rt->submit(fib, 20);
  std::size_t most = 0;
  while (rt->wait(std::vector{result}, 1, 20ms).empty()) {
    most = std::max(most, home_.processes().size());
    ASSERT_LT(std::chrono::steady_clock::now() - before, 120s);
  }
  EXPECT_EQ(rt->get(result), 6765);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
  const auto cores = static_cast<std::size_t>(rondo::host::machine_cpu_milli() / 1000);
  std::printf("fib(20): 21891 tasks in %.1f s with at most %zu workers on %zu cores\n",
              took.count(), most, cores);
  EXPECT_GE(most, 1u);
  EXPECT_LE(most, cores + 2);
}

TEST_F(WaitsTest, ManyRecursionsAtOnceEndToo) {
  std::vector<rondo::Ref<long>> refs;
  for (int n = 0; n < 40; ++n) refs.push_back(rt->submit(fib, 9));
  for (const auto& ref : refs) EXPECT_EQ(rt->get(ref, 60s), 34);
}

TEST_F(WaitsTest, ACycleOfTwoIsFoundWithinTwoSecondsAndEveryCallOnItFails) {
  const auto a = rt->spawn<A>({});
  const auto b = rt->spawn<B>({});
  rt->get(a.call(&A::join, b), 20s);
  rt->get(b.call(&B::join, a), 20s);
  EXPECT_EQ(rt->get(a.call(&A::f, 0), 20s), 0);
  const auto before = std::chrono::steady_clock::now();
  const std::string text = error_of([&] { rt->get(a.call(&A::f, 4), 20s); });
  EXPECT_LT(std::chrono::steady_clock::now() - before, 2s);
  expect_cycle(text, "A.f → B.g → A.f");
  EXPECT_EQ(rt->get(a.call(&A::f, 0), 20s), 0);  // both are free again
  EXPECT_EQ(rt->get(b.call(&B::g, 0), 20s), 0);
}

TEST_F(WaitsTest, ACycleOfThreeIsFoundAndNamedInItsOrder) {
  const auto a = rt->spawn<A>({});
  const auto b = rt->spawn<B>({});
  const auto c = rt->spawn<C>({});
  rt->get(a.call(&A::join, b), 20s);
  rt->get(b.call(&B::join_c, c), 20s);
  rt->get(c.call(&C::join, a), 20s);
  const auto before = std::chrono::steady_clock::now();
  const std::string text = error_of([&] { rt->get(a.call(&A::f, 7), 20s); });
  EXPECT_LT(std::chrono::steady_clock::now() - before, 2s);
  expect_cycle(text, "A.f → B.h → C.k → A.f");
  EXPECT_EQ(rt->get(c.call(&C::k, 0), 20s), 0);
}

TEST_F(WaitsTest, CallsThatMeetFromBothSidesEndOneWayOrTheOther) {
  const auto a = rt->spawn<A>({});
  const auto b = rt->spawn<B>({});
  rt->get(a.call(&A::join, b), 20s);
  rt->get(b.call(&B::join, a), 20s);
  // a waits for b and b for a, each begun by a call from outside; or one finds the other busy.
  for (int n = 0; n < 3; ++n) {
    const auto from_a = a.call(&A::f, 2);
    const auto from_b = b.call(&B::g, 3);
    for (const std::string& text :
         {error_of([&] { rt->get(from_a, 20s); }), error_of([&] { rt->get(from_b, 20s); })})
      EXPECT_TRUE(text.starts_with("Invalid: ") || text == "no error") << text;
  }
  EXPECT_EQ(rt->get(a.call(&A::f, 0), 20s), 0);
}

}  // namespace

int main(int argc, char** argv) {
  {
    rondo::Registry registry;
    fill(registry);
    rondo::serve_if_worker(argc, argv, registry);
  }
  ::testing::InitGoogleTest(&argc, argv);
  g_argc = argc;
  g_argv = argv;
  return RUN_ALL_TESTS();
}
