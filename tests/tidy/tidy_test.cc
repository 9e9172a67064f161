#include <gtest/gtest.h>

#include <string>

#include "tree.h"

// The checker is itself checked: each rule against a small bad snippet and a good one that looks
// like it.

namespace tidy {
namespace {

std::vector<std::string> rules_broken(const std::string& path, const std::string& text) {
  std::vector<std::string> rules;
  for (const Finding& finding : check_file(read_source(path, text))) rules.push_back(finding.rule);
  return rules;
}

using Rules = std::vector<std::string>;

std::string repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(Tidy, CountsColumnsInCharactersNotBytes) {
  EXPECT_EQ(rules_broken("runtime/base/a.cc", "// " + std::string(97, 'x') + "\n"), Rules{});
  EXPECT_EQ(rules_broken("runtime/base/a.cc", "// " + repeat("→", 97) + "\n"), Rules{});
  EXPECT_EQ(rules_broken("runtime/base/a.cc", "// " + std::string(98, 'x') + "\n"),
            Rules{"columns"});
}

TEST(Tidy, RefusesLongFilesByKind) {
  const std::string header = "#pragma once\n// What it is.\n" + repeat("int f();\n", 398);
  EXPECT_EQ(rules_broken("ops/a.h", header), Rules{});
  EXPECT_EQ(rules_broken("ops/a.h", header + "int f();\n"), Rules{"file-length"});
  EXPECT_EQ(rules_broken("ops/a.cc", repeat("int f();\n", 600)), Rules{});
  EXPECT_EQ(rules_broken("ops/a.cc", repeat("int f();\n", 601)), Rules{"file-length"});
}

TEST(Tidy, RefusesLongFunctionsWhereverTheyStand) {
  const std::string body = repeat("  g();\n", 69);  // with its first and last line: 71
  const Rules broken{"function-length"};
  EXPECT_EQ(rules_broken("ops/a.cc", "void f() {\n" + repeat("  g();\n", 68) + "}\n"), Rules{});
  EXPECT_EQ(rules_broken("ops/a.cc", "void f() {\n" + body + "}\n"), broken);
  EXPECT_EQ(rules_broken("ops/a.cc", "namespace a {\nvoid f() {\n" + body + "}\n}\n"), broken);
  EXPECT_EQ(rules_broken("ops/a.cc", "struct A {\nvoid f() const {\n" + body + "}\n};\n"), broken);
  EXPECT_EQ(rules_broken("ops/a.cc", "A::A(int x) : a_{x}, b_(2) {\n" + body + "}\n"), broken);
  EXPECT_EQ(rules_broken("ops/a.cc", "template <class T>\nT f(T) {\n" + body + "}\n"), broken);
  EXPECT_EQ(rules_broken("ops/a.cc", "auto f(O o = {}) -> int {\n" + body + "}\n"), broken);
  EXPECT_EQ(rules_broken("ops/a.cc", "TEST(A, B) {\n" + body + "}\n"), broken);
}

TEST(Tidy, TakesNeitherTypesNorTablesForFunctions) {
  const std::string fields = repeat("  int a;\n", 90);
  EXPECT_EQ(rules_broken("ops/a.cc", "struct A {\n" + fields + "};\n"), Rules{});
  EXPECT_EQ(rules_broken("ops/a.cc", "template <class T>\nstruct A : B<T> {\n" + fields + "};\n"),
            Rules{});
  EXPECT_EQ(rules_broken("ops/a.cc", "namespace a::b {\n" + fields + "}\n"), Rules{});
  EXPECT_EQ(rules_broken("ops/a.cc", "const int k[] = {\n" + repeat("  1,\n", 90) + "};\n"),
            Rules{});
}

TEST(Tidy, IsNotDeceivedByBracesInStringsAndComments) {
  const std::string tricky = "void f() {\n  g(\"}{{\"); // {{\n  /* { */ h('{', 1'000);\n}\n";
  EXPECT_EQ(find_functions(read_source("a.cc", tricky)).size(), 1u);
  EXPECT_EQ(find_functions(read_source("a.cc", tricky + tricky)).size(), 2u);
  EXPECT_EQ(
      find_functions(read_source("a.cc", "const char* k = R\"(void f() {)\";\n" + tricky)).size(),
      1u);
}

TEST(Tidy, HoldsTheIncludeDag) {
  const Rules broken{"include-dag"};
  EXPECT_EQ(rules_broken("runtime/base/a.cc", "#include <rondo/core/a.h>\n"), broken);
  EXPECT_EQ(rules_broken("runtime/core/a.cc", "#include <rondo/wire/a.h>\n"), broken);
  EXPECT_EQ(rules_broken("runtime/core/a.cc", "#include <rondo/runtime.h>\n"), broken);
  EXPECT_EQ(rules_broken("runtime/sim/a.cc", "#include <rondo/host/a.h>\n"), broken);
  EXPECT_EQ(rules_broken("runtime/host/a.cc", "#include <rondo/ops/a.h>\n"), broken);
  EXPECT_EQ(rules_broken("runtime/host/a.cc", "#include <rondo/runtime.h>\n"), broken);
  EXPECT_EQ(rules_broken("runtime/host/a.cc", "#include <rondo/client.h>\n"), Rules{});
  EXPECT_EQ(rules_broken("ops/a.cc", "#include <rondo/base/ids.h>\n"), broken);
  EXPECT_EQ(rules_broken("actors/a.cc", "#include <rondo/core/a.h>\n"), broken);
  EXPECT_EQ(rules_broken("runtime/wire/a.cc", "#include <rondo/core/a.h>\n"), Rules{});
  EXPECT_EQ(rules_broken("runtime/runtime.cc", "#include <rondo/host/a.h>\n"), Rules{});
  EXPECT_EQ(rules_broken("actors/a.cc", "#include <rondo/runtime.h>\n"), Rules{});
  EXPECT_EQ(rules_broken("tests/a.cc", "#include <rondo/core/a.h>\n"), Rules{});
  EXPECT_EQ(rules_broken("actors/a.cc", "#include \"../ops/a.h\"\n"), Rules{"include-form"});
}

TEST(Tidy, KeepsCorePure) {
  const Rules broken{"core-ban"};
  for (const char* line :
       {"#include <zmq.h>", "#include <capnp/message.h>", "#include <mutex>", "#include <chrono>",
        "#include <random>", "#include <iostream>", "std::chrono::seconds s;", "double load = 0;",
        "std::map<Peer*, int> m;", "#include <tbb/arena.h>", "std::mutex m;", "cudaStream_t s;"}) {
    EXPECT_FALSE(rules_broken("runtime/core/a.cc", std::string(line) + "\n").empty()) << line;
    EXPECT_TRUE(rules_broken("runtime/host/a.cc", std::string(line) + "\n").empty()) << line;
  }
  EXPECT_EQ(rules_broken("runtime/core/a.cc", "// a double, a thread, zmq\n"), Rules{});
  const std::string table = "std::unordered_map<int, int> seen_;\n";
  EXPECT_EQ(rules_broken("runtime/core/a.cc", table + "auto it = seen_.find(1);\n"), Rules{});
  EXPECT_EQ(rules_broken("runtime/core/a.cc", table + "for (auto& [k, v] : seen_) f(k);\n"),
            broken);
}

TEST(Tidy, FindsLeftoversButNotTemplatesOfNames) {
  EXPECT_EQ(rules_broken("ops/a.cc", "// FIXME later\n"), Rules{"leftover"});
  EXPECT_EQ(rules_broken("ops/a.cc", "// TODO: later\n"), Rules{"leftover"});
  EXPECT_EQ(rules_broken("ops/a.cc", "// TODO(#12): later\n"), Rules{});
  EXPECT_EQ(rules_broken("ops/a.cc", "char name[] = \"/tmp/a.XXXXXX\";\n"), Rules{});
}

TEST(Tidy, AsksOfAPublicHeaderThatItIntroducesItself) {
  const std::string comment = repeat("// a line\n", 5);
  EXPECT_EQ(rules_broken("runtime/ref.h", "#pragma once\n\n" + comment + "namespace rondo {}\n"),
            Rules{});
  EXPECT_EQ(rules_broken("runtime/ref.h", "#pragma once\n// One.\nnamespace rondo {}\n"),
            Rules{"opening-comment"});
  EXPECT_EQ(rules_broken("ops/a.h", "// One.\nint f();\n"), Rules{"pragma-once"});
}

TEST(Tidy, AllowsABrokenRuleOnlyWithItsReason) {
  EXPECT_EQ(rules_broken("runtime/core/a.cc",
                         "double d;  // tidy: allow core-ban, because it is printed\n"),
            Rules{});
  EXPECT_EQ(rules_broken("runtime/core/a.cc", "// tidy: allow core-ban, because so\ndouble d;\n"),
            Rules{});
  EXPECT_EQ(rules_broken("runtime/core/a.cc", "double d;  // tidy: allow core-ban\n"),
            Rules{"core-ban"});
}

TEST(Tidy, FindsFilesThatNothingBuildsOrIncludes) {
  const std::string header = "#pragma once\n// What it is.\n";
  const Files good = {{"ops/CMakeLists.txt", "rondo_library(rondo_ops SOURCES a.cc cpu/b.cc)\n"},
                      {"ops/a.cc", "#include <rondo/ops/a.h>\n"},
                      {"ops/cpu/b.cc", ""},
                      {"ops/a.h", header}};
  EXPECT_TRUE(check_tree(good).empty());
  EXPECT_TRUE(check_tree({{"ops/CMakeLists.txt", "foreach(x a b)\n f(${x}_main.cc)\n"},
                          {"ops/a_main.cc", ""},
                          {"ops/b_main.cc", ""}})
                  .empty());
  Files bad = good;
  bad["ops/aa.cc"] = "";
  bad["ops/old.h"] = header;
  const std::vector<Finding> found = check_tree(bad);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].path, "ops/aa.cc");
  EXPECT_EQ(found[1].path, "ops/old.h");
  EXPECT_EQ(found[1].rule, "dead-file");
}

}  // namespace
}  // namespace tidy
