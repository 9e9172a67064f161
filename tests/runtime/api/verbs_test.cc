#include <gtest/gtest.h>

#include <map>

#include <rondo/base/limits.h>

#include "inline_client.h"

namespace rondo {
namespace {

using namespace std::chrono_literals;

double norm(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x * x;
  return sum;
}
int add(int a, int b) { return a + b; }
float add(float a, float b) { return a + b; }
void nothing(int) {}
int thrower(const std::string& text) { throw std::out_of_range(text); }
std::string greet(std::string name) { return "hello " + name; }
std::size_t address(std::span<const double> v) { return reinterpret_cast<std::size_t>(v.data()); }
double sum(std::span<const double> v) {
  double total = 0;
  for (const double x : v) total += x;
  return total;
}
std::size_t words(std::span<const std::string> v) { return v.size(); }
std::vector<double> iota(int n) {
  std::vector<double> v;
  for (int i = 0; i < n; ++i) v.push_back(i);
  return v;
}
int nested(Context& context, int depth) {
  return depth == 0 ? 1 : 1 + context.get(context.submit(nested, depth - 1));
}
Ref<int> promise(Context& context, int n) { return context.submit<int(int, int)>(add, n, 1); }
int keep(Context& context, std::map<std::string, std::vector<Ref<int>>> refs) {
  int total = 0;
  for (const auto& [name, list] : refs)
    for (const Ref<int>& ref : list) total += context.get(ref);
  return total;
}
int through(Context& context, Ref<int> ref) { return context.get(ref); }
std::size_t bytes_of(std::vector<std::vector<Ref<int>>> refs, const std::string& big) {
  return refs.size() + big.size();
}

struct Counter {
  explicit Counter(int start) : value(start) {}
  int add(int n) { return value += n; }
  int add(const std::string& s) { return value += static_cast<int>(s.size()); }
  [[nodiscard]] int get() const { return value; }
  const std::string& label(Context&) {
    text = "counter " + std::to_string(value);
    return text;
  }
  int value;
  std::string text;
};
struct Typed {
  Typed(Context&, double a, std::uint8_t b, std::string c, const std::vector<int>& d, Ref<int> e)
      : text(std::to_string(a) + " " + std::to_string(b) + " " + c + " " +
             std::to_string(d.size())),
        ref(std::move(e)) {}
  std::string show(Context& context) { return text + " " + std::to_string(context.get(ref)); }
  std::string text;
  Ref<int> ref;
};
struct Fails {
  Fails() { throw std::runtime_error("no disk"); }
  void run() {}
};
int tell(const Actor<Counter>& counter, int n) {
  return static_cast<int>(counter.call<int(int)>(&Counter::add, n).cell()->pending());
}

class Verbs : public ::testing::Test {
 protected:
  Verbs() : client(fill(registry)), rt(client.session()) {}

  static Registry& fill(Registry& r) {
    r.task("norm", norm).task("add", static_cast<int (*)(int, int)>(add));
    r.task("add floats", static_cast<float (*)(float, float)>(add));
    r.task("nothing", nothing).task("thrower", thrower).task("greet", greet);
    r.task("address", address).task("sum", sum).task("words", words).task("iota", iota);
    r.task("nested", nested).task("promise", promise).task("keep", keep).task("through", through);
    r.task("bytes_of", bytes_of).task("tell", tell);
    r.actor<Counter, int>("Counter")
        .method("add", static_cast<int (Counter::*)(int)>(&Counter::add))
        .method("add text", static_cast<int (Counter::*)(const std::string&)>(&Counter::add))
        .method("get", &Counter::get)
        .method("label", &Counter::label);
    r.actor<Typed, double, std::uint8_t, std::string, std::vector<int>, Ref<int>>("Typed").method(
        "show", &Typed::show);
    r.actor<Fails>("Fails").method("run", &Fails::run);
    return r;
  }
  template <class Action>
  void expect_error(ErrorCode code, const std::string& words, Action action) {
    try {
      action();
      ADD_FAILURE() << "no error, wanted: " << words;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }

  Registry registry;
  test::InlineClient client;
  Context rt;
};

TEST_F(Verbs, ATaskRunsAndItsValueComesBack) {
  EXPECT_EQ(rt.get(rt.submit(norm, std::vector{3.0, 4.0})), 25.0);
  rt.get(rt.submit(nothing, 1));
  rt.submit({.name = "named", .max_retries = 7}, nothing, 1);
  EXPECT_EQ(client.last_task.name, "named");
  EXPECT_EQ(client.last_task.max_retries, 7);
  EXPECT_EQ(client.last_task.resources.cpu, 1);
}

TEST_F(Verbs, ValuesConvertAtTheCaller) {
  EXPECT_EQ((rt.get(rt.submit<int(int, int)>(add, 2.9, 'a'))), 2 + 'a');
  EXPECT_EQ((rt.get(rt.submit<float(float, float)>(add, 1, 2.5))), 3.5F);
  EXPECT_EQ(rt.get(rt.submit(greet, "you")), "hello you");
  EXPECT_EQ(rt.get(rt.submit({}, greet, std::string("me"))), "hello me");
}

TEST_F(Verbs, ARefWhereAValueIsWantedIsADependency) {
  const Ref<int> a = rt.submit<int(int, int)>(add, 1, 2);
  const Ref<int> b = rt.submit<int(int, int)>(add, a, a);
  EXPECT_EQ(rt.get(b), 6);
  const Ref<int> failed = rt.submit(thrower, "deep");
  expect_error(ErrorCode::kTaskFailed, "deep",
               [&] { rt.get(rt.submit<int(int, int)>(add, failed, 1)); });
  expect_error(ErrorCode::kInvalid, "empty Ref",
               [&] { rt.submit<int(int, int)>(add, Ref<int>(), 1); });
}

TEST_F(Verbs, ASpanReadsAVectorInPlace) {
  const Ref<std::vector<double>> v = rt.submit(iota, 1000);
  const std::size_t at = rt.get(rt.submit(address, v));
  const ByteView bytes = v.cell()->inline_view();
  EXPECT_EQ(at, reinterpret_cast<std::size_t>(bytes.data()) + 16);
  EXPECT_EQ(rt.get(rt.submit(sum, v)), 499'500.0);
  EXPECT_EQ(rt.get(rt.submit(sum, std::vector{1.0, 2.0})), 3.0);
  EXPECT_EQ(rt.get(rt.submit(sum, std::array{1.0, 2.0, 3.0})), 6.0);
  EXPECT_EQ(rt.get(rt.submit(words, std::vector<std::string>{"a", "b"})), 2U);
}

TEST_F(Verbs, ALargeArgumentIsPutFirst) {
  const std::vector<double> large(limits::kInlineBytesMax / 8 + 1, 1.0);
  EXPECT_EQ(rt.get(rt.submit(norm, large)), static_cast<double>(large.size()));
  EXPECT_EQ(client.puts, 1U);
  EXPECT_EQ(client.last_payload_bytes, 8U);   // one header: a ref
  const Ref<int> one = rt.put(1);
  const std::vector<std::vector<Ref<int>>> refs(20'000, {one});   // large, with refs inside
  EXPECT_EQ(rt.get(rt.submit(bytes_of, refs, "x")), 20'001U);
}

TEST_F(Verbs, RefsTravelInsideValues) {
  const Ref<int> one = rt.put(1);
  const Ref<int> two = rt.submit<int(int, int)>(add, one, 1);
  std::map<std::string, std::vector<Ref<int>>> refs{{"a", {one, two}}, {"b", {two}}};
  EXPECT_EQ(rt.get(rt.submit(keep, refs)), 5);
  EXPECT_EQ(rt.get(rt.submit(keep, rt.put(refs))), 5);
  EXPECT_EQ(rt.get(rt.submit(through, two)), 2);
  const Ref<Ref<int>> outer = rt.submit(promise, 41);
  EXPECT_EQ(rt.get(rt.get(outer)), 42);
}

TEST_F(Verbs, ATaskMaySubmitThroughItsContext) { EXPECT_EQ(rt.get(rt.submit(nested, 10)), 11); }

TEST_F(Verbs, WhatATaskThrowsArrivesAtGet) {
  const Ref<int> failed = rt.submit(thrower, "too far");
  expect_error(ErrorCode::kTaskFailed, "thrower: std::out_of_range: too far",
               [&] { rt.get(failed); });
  expect_error(ErrorCode::kTaskFailed, "too far", [&] { rt.try_get(failed); });
}

TEST_F(Verbs, WhatIsNotThereTimesOutAndCanBeTriedAgain) {
  client.deferred = true;
  const Ref<int> later = rt.submit<int(int, int)>(add, 1, 2);
  const Ref<void> done = rt.submit(nothing, 1);
  EXPECT_EQ(rt.try_get(later), std::nullopt);
  EXPECT_FALSE(rt.try_get(done));
  expect_error(ErrorCode::kTimeout, "in time", [&] { rt.get(later, 1ms); });
  expect_error(ErrorCode::kTimeout, "in time",
               [&] { rt.get(done, std::chrono::duration<double>(0)); });
  client.run_all();
  EXPECT_EQ(rt.get(later, 1s), 3);
  EXPECT_EQ(rt.try_get(later), 3);
  EXPECT_TRUE(rt.try_get(done));
}

TEST_F(Verbs, WaitGivesTheIndicesThatAreReady) {
  std::vector<Ref<int>> refs{rt.put(1), rt.submit(thrower, "counts as ready")};
  client.deferred = true;
  refs.push_back(rt.submit<int(int, int)>(add, 1, 2));
  EXPECT_EQ(rt.wait(refs, 3, 1ms), (std::vector<std::size_t>{0, 1}));
  client.run_all();
  EXPECT_EQ(rt.wait(refs, 1), (std::vector<std::size_t>{0, 1, 2}));
  refs.emplace_back();
  expect_error(ErrorCode::kInvalid, "empty Ref", [&] { rt.wait(refs, 1); });
}

TEST_F(Verbs, AnActorIsCalledConstOverloadedAndWithContext) {
  const Actor<Counter> counter = rt.spawn<Counter>({.name = "c", .max_restarts = 3}, 10);
  EXPECT_EQ(client.last_actor.max_restarts, 3);
  const Ref<int> a = counter.call<int(int)>(&Counter::add, 5);
  EXPECT_EQ(rt.get(counter.call<int(int)>(&Counter::add, a)), 30);
  EXPECT_EQ((rt.get(counter.call<int(const std::string&)>(&Counter::add, "abc"))), 33);
  EXPECT_EQ(rt.get(counter.call(&Counter::get)), 33);
  EXPECT_EQ(rt.get(counter.call(&Counter::label)), "counter 33");
}

TEST_F(Verbs, AHandleWorksWhereverItArrives) {
  const Actor<Counter> counter = rt.spawn<Counter>({}, 1);
  EXPECT_EQ(rt.get(rt.submit(tell, counter, 2)), 0);
  EXPECT_EQ(rt.get(counter.call(&Counter::get)), 3);
  EXPECT_EQ(rt.get(rt.put(counter)), counter);
  EXPECT_EQ(counter.bound().incarnation(), Incarnation{1});
  EXPECT_FALSE(counter.bound() == counter);
  expect_error(ErrorCode::kInvalid, "empty Actor", [] { Actor<Counter>().call(&Counter::get); });
}

TEST_F(Verbs, AnActorIsFoundByNameAndClassAndKilled) {
  const Actor<Counter> counter = rt.spawn<Counter>({.name = "c"}, 1);
  EXPECT_EQ(rt.find<Counter>("c"), counter);
  expect_error(ErrorCode::kNotFound, "\"d\"", [&] { static_cast<void>(rt.find<Counter>("d")); });
  expect_error(ErrorCode::kInvalid, "is a Counter, find asked for a Typed",
               [&] { static_cast<void>(rt.find<Typed>("c")); });
  rt.kill(counter);
  expect_error(ErrorCode::kActorDied, "killed", [&] { rt.get(counter.call(&Counter::get)); });
  const Actor<Fails> fails = rt.spawn<Fails>({});
  expect_error(ErrorCode::kActorDied, "no disk", [&] { rt.get(fails.call(&Fails::run)); });
}

TEST_F(Verbs, ConstructorArgumentsConvertIfTheyFit) {
  const Ref<int> seven = rt.put(7);
  const Ref<std::vector<int>> three = rt.put(std::vector{1, 2, 3});
  const auto typed = rt.spawn<Typed>({}, 1, 200L, "text", three, seven);
  EXPECT_EQ(rt.get(typed.call(&Typed::show)), "1.000000 200 text 3 7");
  const auto other = rt.spawn<Typed>({}, 0.5F, 2.0, std::string_view("s"), std::vector{1}, seven);
  EXPECT_EQ(rt.get(other.call(&Typed::show)), "0.500000 2 s 1 7");
  EXPECT_EQ(rt.get(rt.spawn<Counter>({}, seven).call(&Counter::get)), 7);
}

TEST_F(Verbs, ConstructorArgumentsThatDoNotFitNameBothTypes) {
  const auto spawn = [&](auto... arguments) {
    return [this, arguments...] { rt.spawn<Typed>({}, arguments...); };
  };
  const auto invalid = [&](const std::string& text, const std::function<void()>& action) {
    expect_error(ErrorCode::kInvalid, text, action);
  };
  const Ref<int> ref = rt.put(1);
  const std::vector<int> v;
  invalid("registered as u8, spawn was given i32", spawn(1, 256, "", v, ref));
  invalid("registered as u8, spawn was given f64", spawn(1, 1.5, "", v, ref));
  invalid("registered as u8, spawn was given i32", spawn(1, -1, "", v, ref));
  invalid("registered as f64, spawn was given string", spawn("one", 1, "", v, ref));
  invalid("registered as string, spawn was given i32", spawn(1, 1, 1, v, ref));
  invalid("registered as vector<i32>, spawn was given vector<f64>",
          spawn(1, 1, "", std::vector<double>(), ref));
  invalid("registered as f64, spawn was given ref<i32>", spawn(ref, 1, "", v, ref));
  invalid("registered as ref<i32>, spawn was given i32", spawn(1, 1, "", v, 1));
  invalid("5 parameters, spawn was given 2", spawn(1, 1));
  invalid("exceed", spawn(1, 1, std::string(1 << 20, 'x'), v, ref));
}

TEST_F(Verbs, AHandleThatOutlivesItsRuntimeIsInvalidNotDangling) {
  Actor<Counter> counter;
  Ref<std::vector<double>> value;
  {
    test::InlineClient short_lived(registry);
    Context context(short_lived.session());
    counter = context.spawn<Counter>({}, 1);
    value = context.put(std::vector{1.0, 2.0, 3.0, 4.0, 5.0});
  }
  expect_error(ErrorCode::kInvalid, "has ended", [&] { counter.call(&Counter::get); });
  EXPECT_EQ(rt.get(value).size(), 5U);   // a ready ref still reads
}

TEST_F(Verbs, BuffersAreReadInPlaceAndOutliveTheirRef) {
  Ref<Buffer> ref = rt.put(Buffer(share(Bytes(5'000, std::byte{3}))));
  const Buffer buffer = rt.get(ref);
  EXPECT_EQ(buffer.view().data(), ref.cell()->bytes->data() + 16);
  ref = {};
  EXPECT_EQ(buffer.view()[4'999], std::byte{3});
  EXPECT_EQ(rt.get(rt.put(Buffer(share(Bytes(3, std::byte{1}))))).size(), 3U);   // small: copied
}

}  // namespace
}  // namespace rondo
