#include <gtest/gtest.h>

#include <rondo/runtime.h>

#include "inline_client.h"

// Runtime over an engine without a cluster: what the constructor and destructor promise.

namespace rondo {
namespace {

struct InlineEngine : detail::Engine {
  explicit InlineEngine(const Registry& registry) : inline_client(registry) { ++living; }
  ~InlineEngine() override { --living; }
  detail::Client& client() override { return inline_client; }

  test::InlineClient inline_client;
  static inline int living = 0;
  static inline bool refuses = false;
};

int one() { return 1; }

}  // namespace

namespace detail {
std::unique_ptr<Engine> start_engine(int&, char**, const Registry& registry) {
  if (InlineEngine::refuses) throw Error(ErrorCode::kUnavailable, "nobody answers");
  return std::make_unique<InlineEngine>(registry);
}
void serve_if_worker(int&, char**, const Registry&) {}
}  // namespace detail

namespace {

ErrorCode code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode{};
}

struct RuntimeTest : ::testing::Test {
  int argc = 0;
  Registry registry;
  RuntimeTest() { registry.task("one", one); }
  void make() { const Runtime rt(argc, nullptr, registry); }
};

TEST_F(RuntimeTest, ASecondOneIsInvalidAndALaterOneIsNot) {
  {
    Runtime rt(argc, nullptr, registry);
    EXPECT_EQ(code_of([&] { make(); }), ErrorCode::kInvalid);
    EXPECT_EQ(rt.get(rt.submit(one)), 1);
  }
  EXPECT_EQ(InlineEngine::living, 0);
  Runtime again(argc, nullptr, registry);
  EXPECT_EQ(again.get(again.submit(one)), 1);
}

TEST_F(RuntimeTest, AnEngineThatDoesNotStartLeavesNothingBehind) {
  InlineEngine::refuses = true;
  EXPECT_EQ(code_of([&] { make(); }), ErrorCode::kUnavailable);
  InlineEngine::refuses = false;
  EXPECT_EQ(code_of([&] { make(); }), ErrorCode{});
  EXPECT_EQ(InlineEngine::living, 0);
}

TEST_F(RuntimeTest, RegisteringAfterItsStartIsInvalid) {
  make();
  EXPECT_EQ(code_of([&] { registry.task("late", one); }), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace rondo
