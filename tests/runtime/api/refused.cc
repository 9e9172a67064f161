// What the typed surface refuses at compile time, and in which words. refused.cmake compiles one
// case at a time: it must fail, and print the words behind its `// refused:`. Case 0 must compile.

#include <rondo/context.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

using rondo::Context;
using rondo::Ref;
using rondo::Registry;

struct Counter {
  explicit Counter(int) {}
  int add(int n) { return n; }
};
struct Other {
  int add(int n) { return n; }
};
int twice(int n) { return n; }
int length(const std::string& text) { return static_cast<int>(text.size()); }
double total(std::span<const double> v) { return v.empty() ? 0 : v[0]; }

#if CASE == 1  // refused: a non-const reference cannot be a parameter
void change(std::vector<int>& v) { v.clear(); }
void test(Registry& r, Context&) { r.task("change", change); }
#elif CASE == 2  // refused: a pointer cannot travel to another process
int text(const char* text) { return text[0]; }
void test(Registry& r, Context&) { r.task("text", text); }
#elif CASE == 3  // refused: take std::string instead of std::string_view
int text(std::string_view text) { return text[0]; }
void test(Registry& r, Context&) { r.task("text", text); }
#elif CASE == 4  // refused: a view cannot be a result
std::string_view view() { return "x"; }
void test(Registry& r, Context&) { r.task("view", view); }
#elif CASE == 5  // refused: instead of a span that writes
void fill(std::span<double> v) { v[0] = 1; }
void test(Registry& r, Context&) { r.task("fill", fill); }
#elif CASE == 6  // refused: wrong number of arguments
void test(Registry&, Context& c) { c.submit(twice); }
#elif CASE == 7  // refused: does not convert to its parameter's type
void test(Registry&, Context& c) { c.submit(length, 3); }
#elif CASE == 8  // refused: a Ref<U> fits only where U is exactly the parameter's type
void test(Registry&, Context& c) { c.submit(twice, c.put(1.5)); }
#elif CASE == 9  // refused: as its first parameter
int late(int n, Context&) { return n; }
void test(Registry& r, Context&) { r.task("late", late); }
#elif CASE == 10  // refused: it is no plain aggregate
void test(Registry& r, Context& c) { r.task("twice", twice); c.put(std::make_shared<int>(1)); }
#elif CASE == 11  // refused: an aggregate with a base class
struct Base { int a; };
struct Derived : Base { int b; };
void test(Registry&, Context& c) { c.put(Derived{}); }
#elif CASE == 12  // refused: an aggregate with bit-fields
struct Bits { unsigned a : 3; unsigned b : 5; };
void test(Registry&, Context& c) { c.put(Bits{}); }
#elif CASE == 13  // refused: at most 32 fields
struct Many {
  int a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20,
      a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32, a33;
};
void test(Registry&, Context& c) { c.put(Many{}); }
#elif CASE == 14  // refused: this method belongs to another class
void test(Registry&, Context& c) { c.spawn<Counter>({}, 1).call(&Other::add, 1); }
#elif CASE == 15  // refused: has no constructor that takes these types
void test(Registry& r, Context&) { r.actor<Counter, std::string>("Counter"); }
#elif CASE == 16  // refused: a lambda or function object has no number
void test(Registry&, Context& c) { c.submit([](int n) { return n; }, 1); }
#elif CASE == 17  // refused: takes a vector of T, a Ref to one
void test(Registry&, Context& c) { c.submit(total, std::string("x")); }
#elif CASE == 18  // refused: a view cannot travel inside a value
struct Holder { int n; std::string_view text; };
void test(Registry&, Context& c) { c.put(Holder{}); }
#elif CASE == 19  // refused: this parameter takes a Ref of another type
int through(Ref<int>) { return 0; }
void test(Registry&, Context& c) { c.submit(through, c.put(1.5)); }
#else
void test(Registry& r, Context& c) {
  r.task("twice", twice);
  r.actor<Counter, int>("Counter").method("add", &Counter::add);
  c.submit(twice, c.put(1));
  c.submit(total, c.put(std::vector<double>{1}));
  c.spawn<Counter>({}, 1).call(&Counter::add, 1.5);
}
#endif
