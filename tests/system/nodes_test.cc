// Several nodes on one machine, each with its own store, cache and workers, and this program as
// their driver: what is copied where, and what a killed node takes with it.

#include <gtest/gtest.h>
#include <rondo/runtime.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <span>
#include <thread>

#include "cluster_test.h"
#include "private_test.h"

using namespace std::chrono_literals;

namespace rondo::cli_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using system_test::error_of;

std::vector<double> ramp(std::size_t n) {
  std::vector<double> out(n);
  std::iota(out.begin(), out.end(), 0.0);
  return out;
}
double sum(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
long node_pid() { return ::getppid(); }  // a worker is a child of its node

struct Counter {
  explicit Counter(int start) : value(start) {}
  int add(int n) { return value += n; }
  long home() { return ::getppid(); }
  int value;
};
struct Caller {
  // So many calls to the other, a thousand under way; the last answer.
  int call_many(rondo::Context& rt, rondo::Actor<Counter> other, int calls) {
    std::vector<rondo::Ref<int>> under_way(1000);
    int last = 0;
    for (int n = 0; n < calls; ++n) {
      rondo::Ref<int>& slot = under_way[static_cast<std::size_t>(n) % under_way.size()];
      if (n >= static_cast<int>(under_way.size())) last = rt.get(slot);
      slot = other.call(&Counter::add, 1);
    }
    for (const rondo::Ref<int>& ref : under_way) last = std::max(last, rt.get(ref));
    return last;
  }
};

void fill(rondo::Registry& registry) {
  registry.task("ramp", ramp).task("sum", sum).task("node_pid", node_pid);
  registry.actor<Counter, int>("Counter").method("add", &Counter::add).method("home",
                                                                              &Counter::home);
  registry.actor<Caller>("Caller").method("call_many", &Caller::call_many);
}

class NodesTest : public ClusterTest {
 protected:
  NodesTest() {
    ::setenv("RONDO_HOME", home_.path().c_str(), 1);
    ::unsetenv("RONDO_ADDRESS");
  }
  void TearDown() override {
    rt.reset();
    ClusterTest::TearDown();
  }
  // This program becomes a driver at the node of this name.
  void connect(const std::string& name) {
    const json nodes = home_.list_until(
        "nodes", [&](const json& rows) { return row_named(rows, name).is_object(); });
    std::string flag = "--rondo-address=" + row_named(nodes, name)["address"].get<std::string>();
    std::string program = "nodes_test";
    std::vector<char*> argv{program.data(), flag.data(), nullptr};
    int argc = 2;
    fill(registry);
    rt = std::make_unique<rondo::Runtime>(argc, argv.data(), registry);
  }
  static rondo::TaskOptions needs(double cpu, double memory = 0) {
    rondo::TaskOptions options;
    options.resources.cpu = cpu;
    options.resources.memory = memory;
    return options;
  }
  void kill_node(const std::string& name) {
    nodes_.at(name)->signal(SIGKILL);
    nodes_.at(name)->end();
    home_.list_until("nodes", [&](const json& rows) {
      return row_named(rows, name, "dead").is_object();
    });
  }
  [[nodiscard]] fs::path cache_of(const std::string& name) const {
    return fs::path(home_.path()) / "main/nodes" / name / "cache";
  }
  // The whole files of a node's cache, by content hash.
  [[nodiscard]] std::map<std::string, std::uint64_t> cached(const std::string& name) const {
    std::map<std::string, std::uint64_t> files;
    for (const auto& entry : fs::directory_iterator(cache_of(name))) {
      const std::string file = entry.path().filename();
      EXPECT_EQ(file.find(".part-"), std::string::npos) << "half a file: " << entry.path();
      if (entry.is_regular_file()) files[file] = entry.file_size();
    }
    return files;
  }
  // Bytes that a process has written to files.
  static std::uint64_t written_by(pid_t pid) {
    std::ifstream io("/proc/" + std::to_string(pid) + "/io");
    std::string key;
    std::uint64_t value = 0;
    while (io >> key >> value)
      if (key == "wchar:") return value;
    return 0;
  }

  rondo::Registry registry;
  std::unique_ptr<rondo::Runtime> rt;
};

// ---- killed nodes ------------------------------------------------------------------------------

TEST_F(NodesTest, AnObjectIsReadFromItsCopyWhenItsNodeDiedAndIsLostInWordsWithoutOne) {
  head(kQuickTimes);
  node("n1", {"--cpus", "1", "--memory", "1G"});
  node("n2", {"--cpus", "2", "--memory", "1G"});
  node("n3", {"--cpus", "1", "--memory", "4G"});
  connect("n1");
  const auto copied = rt->submit(needs(2), ramp, 1'000'000);  // only n2 has two processors
  const auto lonely = rt->submit(needs(2), ramp, 1'000'000);
  EXPECT_EQ(rt->get(copied, 30s).size(), 1'000'000u);  // read here: n1 has a copy now
  EXPECT_EQ(rt->wait(std::vector{lonely}, 1, 30s).size(), 1u);
  kill_node("n2");
  const auto there = rt->submit(needs(1, 2e9), sum, copied);  // only n3 has the memory
  EXPECT_DOUBLE_EQ(rt->get(there, 30s), 999'999.0 * 500'000.0);
  const std::string text = error_of([&] { rt->get(lonely, 30s); });
  EXPECT_TRUE(text.starts_with("ObjectLost: ")) << text;
  EXPECT_NE(text.find("n2"), std::string::npos) << text;
  const std::string passed = error_of([&] { rt->get(rt->submit(sum, lonely), 30s); });
  EXPECT_TRUE(passed.starts_with("ObjectLost: ")) << passed;
}

TEST_F(NodesTest, AnActorMovesOnWhenTwoNodesAreKilledOneAfterAnother) {
  head(kQuickTimes);
  node("n1", {"--cpus", "1"});
  std::map<long, std::string> names{{node("n2", {"--cpus", "2"}).pid(), "n2"},
                                    {node("n3", {"--cpus", "2"}).pid(), "n3"}};
  connect("n1");
  const auto counter = rt->spawn<Counter>(
      {.name = "c", .resources = {.cpu = 2}, .max_restarts = 5, .max_task_retries = 5}, 0);
  std::set<std::string> homes;
  for (int death = 0; death < 2; ++death) {
    const std::string home = names.at(rt->get(counter.call(&Counter::home), 30s));
    EXPECT_TRUE(homes.insert(home).second) << home;
    if (death == 1) node("n4", {"--cpus", "2"});  // else it could never be placed
    kill_node(home);
  }
  EXPECT_EQ(rt->get(counter.call(&Counter::home), 30s), nodes_.at("n4")->pid());
  EXPECT_EQ(rt->get(counter.call(&Counter::add, 7), 30s), 7);
  EXPECT_EQ(home_.list("actors").at(0)["restarts"], 2);
  EXPECT_EQ(rt->get(rt->submit(sum, ramp(10)), 30s), 45);  // the driver's own node goes on
}

// ---- programs ----------------------------------------------------------------------------------

TEST_F(NodesTest, ANodeFetchesADriversProgramOnceHoweverManyDriversRunIt) {
  head();
  node("n1", {"--cpus", "1"});
  const Beside& n2 = node("n2", {"--cpus", "8"});
  home_.list_until("nodes", [](const json& rows) { return count(rows, "state", "alive") == 2; });
  const json nodes = home_.list("nodes");
  home_.environment()["RONDO_ADDRESS"] = row_named(nodes, "n1")["address"];
  EXPECT_TRUE(cached("n2").empty());
  const std::uint64_t before = written_by(n2.pid());
  const auto a = home_.beside({"cli_driver", "a", "2"});
  const auto b = home_.beside({"cli_driver", "b", "2"});
  ASSERT_TRUE(a->waits_for("ready 0")) << a->err();
  ASSERT_TRUE(b->waits_for("ready 0")) << b->err();
  const auto files = cached("n2");
  EXPECT_EQ(files, cached("n1"));
  std::uint64_t bytes = 0;
  for (const auto& [hash, size] : files) bytes += size;
  EXPECT_GE(bytes, fs::file_size(std::string(RONDO_BIN_DIR) + "/cli_driver"));
  const std::uint64_t fetched = written_by(n2.pid()) - before;
  EXPECT_GE(fetched, bytes);
  EXPECT_LT(fetched, bytes + (1 << 20)) << "of " << bytes;
  const auto c = home_.beside({"cli_driver", "c", "2"});
  ASSERT_TRUE(c->waits_for("ready 0")) << c->err();
  EXPECT_LT(written_by(n2.pid()) - before, fetched + (1 << 20));
  EXPECT_EQ(cached("n2"), files);
  for (const Beside* driver : {a.get(), b.get(), c.get()}) driver->say("end");
  for (Beside* driver : {a.get(), b.get(), c.get()}) EXPECT_EQ(driver->end(), 0) << driver->err();
}

TEST_F(NodesTest, ALibraryOrProgramThatCannotBeFetchedIsNamed) {
  head();
  node("n1", {"--cpus", "1"});
  node("n2", {"--cpus", "2"});
  node("n3", {"--cpus", "4"});
  connect("n1");
  EXPECT_DOUBLE_EQ(rt->get(rt->submit(sum, ramp(10)), 30s), 45);
  fs::path library;
  for (const auto& entry : fs::recursive_directory_iterator(cache_of("n1")))
    if (entry.path().filename().string().starts_with("libzmq.so")) library = entry.path();
  ASSERT_FALSE(library.empty());
  const std::string hash = fs::read_symlink(library).filename();
  ASSERT_TRUE(fs::remove(cache_of("n1") / hash)) << library << hash;
  const std::string lacks = error_of([&] { rt->get(rt->submit(needs(2), node_pid), 30s); });
  EXPECT_NE(lacks.find("libzmq.so"), std::string::npos) << lacks;
  EXPECT_NE(lacks.find("could not be fetched from its home node"), std::string::npos) << lacks;
  const std::string other = error_of([&] { rt->get(rt->submit(needs(4), node_pid), 30s); });
  EXPECT_NE(other.find("libzmq.so"), std::string::npos) << other;
  const auto actor = rt->spawn<Counter>({.resources = {.cpu = 2}}, 0);
  const std::string stillborn = error_of([&] { rt->get(actor.call(&Counter::add, 1), 30s); });
  EXPECT_NE(stillborn.find("libzmq.so"), std::string::npos) << stillborn;
  EXPECT_DOUBLE_EQ(rt->get(rt->submit(sum, ramp(10)), 30s), 45);  // its own node still has it all
}

TEST_F(NodesTest, AProgramThatIsGoneFromItsNodeIsNamed) {
  head();
  node("n1", {"--cpus", "1"});
  connect("n1");
  EXPECT_DOUBLE_EQ(rt->get(rt->submit(sum, ramp(10)), 30s), 45);
  for (const auto& [hash, bytes] : cached("n1")) fs::remove(cache_of("n1") / hash);
  const long worker = home_.list("workers").at(0)["pid"];
  std::string text = "no error";
  for (int n = 0; n < 20 && text == "no error"; ++n) {  // the warm workers first
    const auto actor = rt->spawn<Counter>({}, 0);
    text = error_of([&] { rt->get(actor.call(&Counter::add, 1), 30s); });
  }
  EXPECT_NE(text.find("could not start"), std::string::npos) << text << worker;
  EXPECT_NE(text.find(cache_of("n1").string()), std::string::npos) << text;
}

// ---- a full store ------------------------------------------------------------------------------

TEST_F(NodesTest, AFullStoreRefusesPutsAndResultsInWordsUntilRefsAreDropped) {
  head();
  node("n1", {"--cpus", "2", "--store-bytes", "24M"});
  connect("n1");
  const auto expect_full = [](const std::string& text) {
    EXPECT_TRUE(text.starts_with("Overloaded: ")) << text;
    EXPECT_NE(text.find("the store of this node is full"), std::string::npos) << text;
    EXPECT_NE(text.find("--store-bytes"), std::string::npos) << text;
  };
  expect_full(error_of([&] { (void)rt->put(ramp(4'000'000)); }));              // 32 MB at once
  expect_full(error_of([&] { rt->get(rt->submit(ramp, 4'000'000), 30s); }));  // as a result
  std::vector<rondo::Ref<std::vector<double>>> refs;
  expect_full(error_of([&] {
    for (int n = 0; n < 20; ++n) refs.push_back(rt->put(ramp(500'000)));  // 4 MB each
  }));
  EXPECT_GE(refs.size(), 4u);
  EXPECT_LE(refs.size(), 6u);
  expect_full(error_of([&] { rt->get(rt->submit(ramp, 1'000'000), 30s); }));
  EXPECT_DOUBLE_EQ(rt->get(rt->submit(sum, refs[0]), 30s), 499'999.0 * 250'000.0);
  refs.clear();
  EXPECT_TRUE(wait_until([&] {  // the owner tells its node a moment later
    return error_of([&] { rt->get(rt->submit(ramp, 1'000'000), 30s); }) == "no error";
  })) << "dropped refs give no room";
}

// ---- a head that stands still ------------------------------------------------------------------

TEST_F(NodesTest, WithTheHeadStopped100000CallsBetweenWorkersComplete) {
  head({"--suspect", "20", "--term", "60"});  // calls go on without a head for a membership term
  node("n1", {"--cpus", "1"});
  node("n2", {"--cpus", "2"});
  connect("n1");
  const auto counter = rt->spawn<Counter>({.resources = {.cpu = 2}}, 0);  // on n2
  const auto caller = rt->spawn<Caller>({.resources = {.cpu = 1}});
  EXPECT_EQ(rt->get(caller.call(&Caller::call_many, counter, 1000), 30s), 1000);
  head_->signal(SIGSTOP);
  const auto before = std::chrono::steady_clock::now();
  const auto result = caller.call(&Caller::call_many, counter, 100'000);
  const std::string error = error_of([&] { EXPECT_EQ(rt->get(result, 60s), 101'000); });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
  head_->signal(SIGCONT);
  EXPECT_EQ(error, "no error");
  std::printf("100,000 calls between workers of two nodes in %.2f s, the head stopped\n",
              took.count());
  EXPECT_EQ(rt->get(counter.call(&Counter::add, 1), 30s), 101'001);
}

}  // namespace
}  // namespace rondo::cli_test

int main(int argc, char** argv) {
  {
    rondo::Registry registry;
    rondo::cli_test::fill(registry);
    rondo::serve_if_worker(argc, argv, registry);
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
