#include <gtest/gtest.h>
#include <rondo/runtime.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "private_test.h"

// The public surface against real worker processes of a private cluster, some of them killed.

using namespace std::chrono_literals;

namespace {

int g_argc = 0;
char** g_argv = nullptr;

// ---- what the workers run ----------------------------------------------------------------------

int twice(int n) { return 2 * n; }
double norm(const std::vector<double>& v) {
  return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
}
int fails(std::string why) { throw std::runtime_error(why); }
int my_pid() { return ::getpid(); }
int die() { std::abort(); }
int die_once(std::string marker) {
  if (std::ifstream(marker).good()) return 7;
  std::ofstream(marker) << "x";
  ::kill(::getpid(), SIGKILL);
  return 0;
}
double sum_span(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
std::vector<double> ramp(std::size_t n) {
  std::vector<double> out(n);
  std::iota(out.begin(), out.end(), 0.0);
  return out;
}
rondo::Ref<int> nested(rondo::Context& rt, int n) { return rt.submit(twice, n); }
int read_ref(rondo::Context& rt, rondo::Ref<int> ref) { return rt.get(ref); }
void nothing() {}
std::string stdin_of_a_worker() {
  char path[256] = "";
  const ssize_t n = ::readlink("/proc/self/fd/0", path, sizeof path - 1);
  return n > 0 ? path : "none";
}
int add3(int a, int b, int c) { return a + b + c; }

struct Counter {
  explicit Counter(int start) : value(start) {}
  int add(int n) { return value += n; }
  int pid() const { return ::getpid(); }
  void crash() { ::kill(::getpid(), SIGKILL); }
  int value;
};

struct Fragile {
  explicit Fragile(bool breaks) {
    if (breaks) throw std::runtime_error("no such model");
  }
  int ok() { return 1; }
};

// Leaves a line each time it is born, and never lives.
struct Stillborn {
  explicit Stillborn(std::string diary) {
    std::ofstream(diary, std::ios::app) << "born\n";
    throw std::runtime_error("the weights are of another shape");
  }
  int ok() { return 1; }
};

struct Ring {
  explicit Ring(std::string own) : name(std::move(own)) {}
  void join(rondo::Actor<Ring> other) { next = other; }
  int go(rondo::Context& rt, int hops) {
    return hops == 0 ? 0 : 1 + rt.get(next.call(&Ring::go, hops - 1));
  }
  std::string name;
  rondo::Actor<Ring> next;
};

int call_actor(rondo::Context& rt, rondo::Actor<Counter> counter, int n) {
  return rt.get(counter.call(&Counter::add, n));
}

void fill(rondo::Registry& registry) {
  registry.task("twice", twice).task("norm", norm).task("fails", fails).task("my_pid", my_pid);
  registry.task("die", die).task("die_once", die_once).task("sum_span", sum_span);
  registry.task("ramp", ramp).task("nested", nested).task("read_ref", read_ref);
  registry.task("nothing", nothing).task("call_actor", call_actor).task("add3", add3);
  registry.actor<Counter, int>("Counter")
      .method("add", &Counter::add)
      .method("pid", &Counter::pid)
      .method("crash", &Counter::crash);
  registry.task("stdin", stdin_of_a_worker);
  registry.actor<Fragile, bool>("Fragile").method("ok", &Fragile::ok);
  registry.actor<Stillborn, std::string>("Stillborn").method("ok", &Stillborn::ok);
  registry.actor<Ring, std::string>("Ring").method("join", &Ring::join).method("go", &Ring::go);
}

using rondo::system_test::error_of;

class EngineTest : public rondo::system_test::PrivateTest {
 protected:
  EngineTest() {
    fill(registry);
    rt = std::make_unique<rondo::Runtime>(g_argc, g_argv, registry);
  }
};

TEST_F(EngineTest, SubmitsATaskToAnotherProcessAndGetsItsResult) {
  EXPECT_EQ(rt->get(rt->submit(twice, 21), 20s), 42);
  EXPECT_NE(rt->get(rt->submit(my_pid), 20s), ::getpid());
  EXPECT_DOUBLE_EQ(rt->get(rt->submit(norm, std::vector{3.0, 4.0}), 20s), 5.0);
  rt->get(rt->submit(nothing), 20s);
}

TEST_F(EngineTest, ManyTasksAllComeBack) {
  std::vector<rondo::Ref<int>> refs;
  for (int i = 0; i < 5000; ++i) refs.push_back(rt->submit(twice, i));
  EXPECT_EQ(rt->wait(refs, refs.size(), 60s).size(), refs.size());
  for (std::size_t i = 0; i < 5000; ++i) EXPECT_EQ(rt->get(refs[i]), 2 * static_cast<int>(i));
}

TEST_F(EngineTest, RefsJoinTasksIntoAGraph) {
  const auto a = rt->submit(twice, 1);
  const auto b = rt->submit(twice, a);
  const auto c = rt->submit(add3, a, b, 10);
  EXPECT_EQ(rt->get(c, 20s), 16);
}

TEST_F(EngineTest, AThrowingTaskFailsWithItsNameAndCause) {
  const std::string text = error_of([&] { rt->get(rt->submit(fails, "out of cheese"), 20s); });
  EXPECT_NE(text.find("TaskFailed"), std::string::npos) << text;
  EXPECT_NE(text.find("fails"), std::string::npos) << text;
  EXPECT_NE(text.find("out of cheese"), std::string::npos) << text;
}

TEST_F(EngineTest, ATaskWhoseWorkerDiesIsRunAgain) {
  char marker[] = "/tmp/rondo-test-XXXXXX";
  const int fd = ::mkstemp(marker);
  ::close(fd);
  ::unlink(marker);
  EXPECT_EQ(rt->get(rt->submit(die_once, std::string(marker)), 30s), 7);
  ::unlink(marker);
}

TEST_F(EngineTest, ATaskThatAlwaysKillsItsWorkerFailsNamingTheSignal) {
  rondo::TaskOptions options;
  options.max_retries = 1;
  const std::string text = error_of([&] { rt->get(rt->submit(options, die), 30s); });
  EXPECT_NE(text.find("TaskFailed"), std::string::npos) << text;
  EXPECT_NE(text.find("SIGABRT"), std::string::npos) << text;
}

TEST_F(EngineTest, AnActorKeepsItsStateAndTheOrderOfCalls) {
  const auto counter = rt->spawn<Counter>({.name = "c"}, 10);
  std::vector<rondo::Ref<int>> refs;
  for (int i = 1; i <= 1000; ++i) refs.push_back(counter.call(&Counter::add, 1));
  for (std::size_t i = 0; i < refs.size(); ++i) {
    ASSERT_EQ(rt->get(refs[i], 20s), 11 + static_cast<int>(i));
  }
  EXPECT_EQ(rt->get(rt->submit(call_actor, counter, 5), 20s), 1015);
  const auto found = rt->find<Counter>("c");
  EXPECT_EQ(rt->get(found.call(&Counter::add, 1), 20s), 1016);
}

TEST_F(EngineTest, AKilledActorRestartsWithinItsBudgetAndThenIsDead) {
  const auto counter = rt->spawn<Counter>({.name = "k", .max_restarts = 1}, 0);
  const auto bound = counter.bound(rondo::seconds(20));
  const int first = rt->get(counter.call(&Counter::pid), 20s);
  ::kill(first, SIGKILL);
  int second = first;
  for (int i = 0; i < 50 && second == first; ++i) {
    try {
      second = rt->get(counter.call(&Counter::pid), 20s);
    } catch (const rondo::Error& error) {
      EXPECT_EQ(error.code(), rondo::ErrorCode::kActorDied) << error.what();
    }
  }
  EXPECT_NE(second, first);
  const std::string old = error_of([&] { rt->get(bound.call(&Counter::pid), 20s); });
  EXPECT_NE(old.find("ActorDied"), std::string::npos) << old;
  ::kill(second, SIGKILL);
  std::string text = "no error";
  for (int i = 0; i < 50 && text.find("is dead") == std::string::npos; ++i) {
    text = error_of([&] { rt->get(counter.call(&Counter::pid), 20s); });
  }
  EXPECT_NE(text.find("ActorDied"), std::string::npos) << text;
  EXPECT_NE(text.find("SIGKILL"), std::string::npos) << text;
}

TEST_F(EngineTest, ACallThatKillsItsActorIsNotRepeatedWithoutRetries) {
  const auto counter = rt->spawn<Counter>({.max_restarts = 5}, 0);
  const std::string text = error_of([&] { rt->get(counter.call(&Counter::crash), 20s); });
  EXPECT_NE(text.find("ActorDied"), std::string::npos) << text;
  EXPECT_EQ(rt->get(counter.call(&Counter::add, 3), 20s), 3);
}

TEST_F(EngineTest, AConstructorThatThrowsKillsTheActorInWords) {
  const auto fragile = rt->spawn<Fragile>({}, true);
  const std::string text = error_of([&] { rt->get(fragile.call(&Fragile::ok), 20s); });
  EXPECT_NE(text.find("ActorDied"), std::string::npos) << text;
  EXPECT_NE(text.find("no such model"), std::string::npos) << text;
}

TEST_F(EngineTest, AConstructorThatThrowsAtEveryRestartSpendsTheBudgetAndSaysSo) {
  const std::string diary = home_.scratch() + "/diary";
  const auto still = rt->spawn<Stillborn>({.name = "s", .max_restarts = 2}, diary);
  const std::string text = error_of([&] { rt->get(still.call(&Stillborn::ok), 30s); });
  EXPECT_NE(text.find("ActorDied"), std::string::npos) << text;
  EXPECT_NE(text.find("Stillborn"), std::string::npos) << text;
  EXPECT_NE(text.find("the weights are of another shape"), std::string::npos) << text;
  EXPECT_NE(text.find("after 2 restarts"), std::string::npos) << text;
  std::ifstream lines(diary);
  int born = 0;
  for (std::string line; std::getline(lines, line);) ++born;
  EXPECT_EQ(born, 3);
  const std::string later = error_of([&] { rt->get(still.call(&Stillborn::ok), 20s); });
  EXPECT_NE(later.find("the weights are of another shape"), std::string::npos) << later;
}

TEST_F(EngineTest, AnActorCalledAfterItsDeathSaysWhoItWasAndWhatItDiedOf) {
  const auto counter = rt->spawn<Counter>({.name = "mortal"}, 0);
  const int pid = rt->get(counter.call(&Counter::pid), 20s);
  ::kill(pid, SIGKILL);
  const std::string first = error_of([&] { rt->get(counter.call(&Counter::crash), 20s); });
  EXPECT_NE(first.find("ActorDied"), std::string::npos) << first;
  const std::string text = error_of([&] { rt->get(counter.call(&Counter::pid), 20s); });
  EXPECT_NE(text.find("ActorDied"), std::string::npos) << text;
  EXPECT_NE(text.find("mortal"), std::string::npos) << text;
  EXPECT_NE(text.find("SIGKILL"), std::string::npos) << text;
  const std::string found = error_of([&] { (void)rt->find<Counter>("mortal"); });
  EXPECT_NE(found.find("NotFound"), std::string::npos) << found;
}

TEST_F(EngineTest, AWorkerReadsNothingFromTheDriversStdin) {
  EXPECT_EQ(rt->get(rt->submit(stdin_of_a_worker), 20s), "/dev/null");
}

TEST_F(EngineTest, KillEndsAnActorForGood) {
  const auto counter = rt->spawn<Counter>({.max_restarts = 9}, 0);
  rt->get(counter.call(&Counter::add, 1), 20s);
  rt->kill(counter);
  std::string text;
  for (int i = 0; i < 1000 && text.find("ActorDied") == std::string::npos; ++i) {
    text = error_of([&] { rt->get(counter.call(&Counter::add, 1), 20s); });
  }
  EXPECT_NE(text.find("ActorDied"), std::string::npos) << text;
}

TEST_F(EngineTest, ATaskMaySubmitAndPassRefsOn) {
  const auto inner = rt->get(rt->submit(nested, 4), 20s);
  EXPECT_EQ(rt->get(inner, 20s), 8);
  EXPECT_EQ(rt->get(rt->submit(read_ref, rt->put(33)), 20s), 33);
  EXPECT_EQ(rt->get(rt->submit(read_ref, inner), 20s), 8);
}

TEST_F(EngineTest, LargeValuesLieInTheStoreAndAreReadInPlace) {
  const std::vector<double> values = ramp(1'000'000);
  const auto big = rt->put(values);
  const double expected = 999'999.0 * 500'000.0;
  EXPECT_DOUBLE_EQ(rt->get(rt->submit(sum_span, big), 30s), expected);
  EXPECT_DOUBLE_EQ(rt->get(rt->submit(sum_span, values), 30s), expected);
  const auto made = rt->submit(ramp, std::size_t{500'000});
  EXPECT_EQ(rt->get(made, 30s).size(), 500'000u);
  EXPECT_DOUBLE_EQ(rt->get(rt->submit(sum_span, made), 30s), 499'999.0 * 250'000.0);
}

TEST_F(EngineTest, AnImpossibleTaskFailsInsteadOfWaiting) {
  rondo::TaskOptions options;
  options.resources.cpu = 100'000;
  const std::string text = error_of([&] { rt->get(rt->submit(options, twice, 1), 30s); });
  EXPECT_NE(text.find("Invalid"), std::string::npos) << text;
}

TEST_F(EngineTest, GetWithATimeoutThrowsWhenLate) {
  const auto a = rt->spawn<Ring>({}, std::string("a"));
  const auto b = rt->spawn<Ring>({}, std::string("b"));
  rt->get(a.call(&Ring::join, b), 20s);
  rt->get(b.call(&Ring::join, a), 20s);
  const auto stuck = a.call(&Ring::go, 2);
  EXPECT_NE(error_of([&] { rt->get(stuck, 100ms); }).find("Timeout"), std::string::npos);
}

TEST_F(EngineTest, ASecondRuntimeIsRefused) {
  rondo::Registry other;
  fill(other);
  const std::string text = error_of([&] { rondo::Runtime second(g_argc, g_argv, other); });
  EXPECT_NE(text.find("Invalid"), std::string::npos) << text;
  EXPECT_EQ(rt->get(rt->submit(twice, 4), 20s), 8);  // the first does not mind
  rt.reset();
  rondo::Runtime later(g_argc, g_argv, other);
  EXPECT_EQ(later.get(later.submit(twice, 5), 20s), 10);
}

TEST_F(EngineTest, AnUnknownNameIsNotFound) {
  const std::string text = error_of([&] { (void)rt->find<Counter>("nobody"); });
  EXPECT_NE(text.find("NotFound"), std::string::npos) << text;
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
