#include <gtest/gtest.h>

#include <rondo/registry.h>

namespace rondo {
namespace {

int twice(int n) { return 2 * n; }
int same_type(int n) { return n; }
double half(double x) noexcept { return x / 2; }
int area(int side) { return side * side; }
double area(double side) { return side * side; }
double with_context(Context&, const std::vector<double>& v) { return v.at(0); }

struct Base {
  int inherited(int n) { return n; }
};
struct Counter : Base {
  explicit Counter(int start) : value(start) {}
  virtual ~Counter() = default;
  int add(int n) { return value += n; }
  int mul(int n) { return value *= n; }
  int mul(int n, int m) { return value *= n * m; }
  [[nodiscard]] int get() const noexcept { return value; }
  virtual int turn() { return -value; }
  int value;
};
struct Other : Base {
  virtual ~Other() = default;
  virtual int turn() { return 0; }
};

template <class Action>
std::string invalid_text(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalid);
    return error.what();
  }
  return "no error";
}
void expect_words(const std::string& text, const std::string& words) {
  EXPECT_NE(text.find(words), std::string::npos) << text;
}

void fill(Registry& registry) {
  registry.task("twice", twice).task("half", half);
  registry.task("area of doubles", static_cast<double (*)(double)>(area));
  registry.actor<Counter, int>("Counter")
      .method("add", &Counter::add)
      .method("mul", static_cast<int (Counter::*)(int)>(&Counter::mul))
      .method("get", &Counter::get)
      .method("turn", &Counter::turn)
      .method("inherited", &Counter::inherited);
  registry.actor<Other>("Other")
      .method("turn", &Other::turn)
      .method("inherited", &Other::inherited);
}

TEST(Registry, NumbersFollowTheOrderOfRegistration) {
  Registry registry;
  fill(registry);
  const detail::Entries& entries = *registry.entries();
  EXPECT_EQ(entries.task_number(detail::task_key(twice)), 0U);
  EXPECT_EQ(entries.task_number(detail::task_key(half)), 1U);
  EXPECT_EQ(entries.task_number(detail::task_key<double(double)>(half)), 1U);   // without noexcept
  EXPECT_EQ(entries.task_number(detail::task_key<double(double)>(area)), 2U);
  EXPECT_EQ(entries.method_number(detail::method_key<Counter>(&Counter::add)), 0U);
  EXPECT_EQ(entries.method_number(detail::method_key<Counter>(&Counter::get)), 2U);
  EXPECT_EQ(entries.task(1).name, "half");
  EXPECT_EQ(entries.task(1).signature, "(f64)->f64");
  EXPECT_EQ(entries.actor_class("Counter").constructor, std::vector<std::string>{"i32"});
}

TEST(Registry, VirtualAndInheritedMethodsBelongToTheirClass) {
  Registry registry;
  fill(registry);
  const detail::Entries& entries = *registry.entries();
  const auto one = entries.method_number(detail::method_key<Counter>(&Counter::turn));
  const auto two = entries.method_number(detail::method_key<Other>(&Other::turn));
  EXPECT_EQ(one >> 16, 0U);
  EXPECT_EQ(two >> 16, 1U);
  EXPECT_EQ(entries.method_number(detail::method_key<Counter>(&Counter::inherited)), 4U);
  EXPECT_EQ(entries.method_number(detail::method_key<Other>(&Other::inherited)), (1U << 16) + 1);
  EXPECT_EQ(entries.method(two).name, "turn");
  EXPECT_EQ(entries.actor_class(two).name, "Other");
}

TEST(Registry, WhatIsNotRegisteredIsInvalidAndSaysWhatToAdd) {
  Registry registry;
  fill(registry);
  const detail::Entries& e = *registry.entries();
  expect_words(invalid_text([&] { static_cast<void>(e.task_number(detail::task_key(same_type))); }),
               "add registry.task(");
  expect_words(
      invalid_text([&] { static_cast<void>(e.task_number(detail::task_key<int(int)>(area))); }),
      "this task is not registered");
  expect_words(invalid_text([&] {
                 static_cast<void>(e.method_number(detail::method_key<Counter>(
                     static_cast<int (Counter::*)(int, int)>(&Counter::mul))));
               }),
               "this method is not registered for Counter");
  expect_words(
      invalid_text([&] { static_cast<void>(e.actor_class(std::type_index(typeid(Base)))); }),
      "class is not registered");
  expect_words(invalid_text([&] { static_cast<void>(e.task(3)); }), "no task has the number 3");
  expect_words(invalid_text([&] { static_cast<void>(e.method(77)); }), "Counter has no method");
  expect_words(invalid_text([&] { static_cast<void>(e.method(7U << 16)); }), "no class");
}

TEST(Registry, TheSameTwiceAnEmptyNameAndALateOneAreInvalid) {
  Registry registry;
  fill(registry);
  expect_words(invalid_text([&] { registry.task("twice", same_type); }), "two tasks");
  expect_words(invalid_text([&] { registry.task("again", twice); }),
               "already registered as \"twice\"");
  expect_words(invalid_text([&] { registry.task("", same_type); }), "empty");
  expect_words(invalid_text([&] { registry.task(std::string(201, 'n'), same_type); }), "200");
  expect_words(invalid_text([&] { registry.actor<Counter, int>("C2"); }), "already registered");
  expect_words(invalid_text([&] { registry.actor<Base>("Counter"); }), "two classes");
  auto base = registry.actor<Base>("Base");
  base.method("inherited", &Base::inherited);
  expect_words(invalid_text([&] { base.method("other", &Base::inherited); }), "already registered");
  registry.freeze();
  expect_words(invalid_text([&] { registry.task("late", same_type); }), "before Runtime");
}

TEST(Registry, TheFingerprintIsOfNamesTypesAndOrder) {
  const auto of = [](auto fill_it) {
    Registry registry;
    fill_it(registry);
    return registry.fingerprint();
  };
  const auto base = of([](Registry& r) { r.task("a", twice).task("b", half); });
  EXPECT_EQ(base, of([](Registry& r) { r.task("a", same_type).task("b", half); }));   // same types
  EXPECT_NE(base, of([](Registry& r) { r.task("b", half).task("a", twice); }));
  EXPECT_NE(base, of([](Registry& r) { r.task("a", twice).task("c", half); }));
  EXPECT_NE(base, of([](Registry& r) { r.task("a", half).task("b", twice); }));
  EXPECT_NE(base, of([](Registry& r) { r.task("a", twice); }));
  const auto actor = of([](Registry& r) { r.actor<Counter, int>("C").method("a", &Counter::add); });
  EXPECT_NE(actor,
            of([](Registry& r) { r.actor<Counter, short>("C").method("a", &Counter::add); }));
  EXPECT_NE(actor, of([](Registry& r) { r.actor<Counter, int>("C").method("a", &Counter::get); }));
  EXPECT_NE(of([](Registry&) {}), actor);
}

TEST(Registry, ThousandsOfEntriesAreFound) {
  detail::Entries entries;
  for (std::uint64_t i = 0; i < 5'000; ++i) {
    detail::FunctionKey key;
    key.bytes.words[0] = 0x400000 + 16 * i;
    entries.add_task("t" + std::to_string(i), "", {}, key);
  }
  for (std::uint64_t i = 0; i < 5'000; ++i) {
    detail::FunctionKey key;
    key.bytes.words[0] = 0x400000 + 16 * i;
    EXPECT_EQ(entries.task_number(key), i);
  }
}

TEST(Registry, AContextIsNoPartOfTheSignature) {
  Registry registry;
  registry.task("with", with_context);
  EXPECT_EQ(registry.entries()->task(0).signature, "(vector<f64>)->f64");
}

}  // namespace
}  // namespace rondo
