// The `rondo` program as an operator meets it: real daemons, real kills.

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "cluster_test.h"

namespace rondo::cli_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class CliTest : public ClusterTest {
 protected:
  std::unique_ptr<Beside> driver() {
    const Ran status = home_.rondo({"status", "-o", "json"});
    home_.environment()["RONDO_ADDRESS"] = json::parse(status.out)[0]["address"];
    auto run = home_.beside({"cli_driver"});
    home_.environment()["RONDO_ADDRESS"] = "";
    EXPECT_TRUE(run->waits_for("ready 0")) << run->out() << run->err();
    return run;
  }
};

TEST_F(CliTest, UpShowsItsNodesAndDownLeavesNothing) {
  up(2);
  const json nodes = home_.list("nodes");
  ASSERT_EQ(nodes.size(), 2u) << nodes;
  for (const char* key : {"id", "name", "address", "pid", "state", "cpus"})
    EXPECT_TRUE(nodes[0].contains(key)) << key;
  EXPECT_EQ(count(nodes, "state", "alive"), 2u) << nodes;
  for (const char* what : {"actors", "workers", "objects", "jobs"})
    EXPECT_EQ(home_.list(what), json::array()) << what;
  EXPECT_EQ(home_.rondo({"status"}).code, 0);
  const Ran down = home_.rondo({"down"});
  EXPECT_EQ(down.code, 0) << down.err;
  EXPECT_EQ(up_->end(), 128 + SIGTERM);
  expect_nothing_left();
}

TEST_F(CliTest, AKilledNodeIsDeadAfterItsTermAndAnotherIsStarted) {
  up(2, kQuickTimes);
  const json victim = row_named(home_.list("nodes"), "n2");
  ASSERT_TRUE(victim.is_object());
  ASSERT_EQ(::kill(victim["pid"].get<pid_t>(), SIGKILL), 0);
  const json nodes = home_.list_until("nodes", [&](const json& rows) {
    const json next = row_named(rows, "n2");
    return next.is_object() && next["id"] != victim["id"] && count(rows, "state", "dead") == 1;
  });
  EXPECT_EQ(count(nodes, "state", "dead"), 1u) << nodes;
  EXPECT_EQ(row_named(nodes, "n2", "dead")["id"], victim["id"]) << nodes;
  EXPECT_EQ(count(nodes, "state", "alive"), 2u) << nodes;
  EXPECT_TRUE(up_->waits_for("node n2")) << up_->out();
  EXPECT_NE(up_->out().find("killed by signal 9 (SIGKILL)"), std::string::npos) << up_->out();
}

TEST_F(CliTest, APausedNodeThatWasDeclaredDeadStartsAgainAsAnother) {
  up(2, kQuickTimes);
  const json victim = row_named(home_.list("nodes"), "n2");
  ASSERT_TRUE(victim.is_object());
  const pid_t pid = victim["pid"].get<pid_t>();
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  const json stopped =
      home_.list_until("nodes", [](const json& rows) { return count(rows, "state", "dead") == 1; });
  EXPECT_EQ(row_named(stopped, "n2", "dead")["id"], victim["id"]) << stopped;
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  const json nodes = home_.list_until(
      "nodes", [&](const json& rows) { return row_named(rows, "n2").is_object(); });
  EXPECT_NE(row_named(nodes, "n2")["id"], victim["id"]) << nodes;
  EXPECT_FALSE(alive(pid));
}

TEST_F(CliTest, AKilledHeadComesBackAndKnowsItsActorsWhileCallsGoOn) {
  up(1);
  const auto program = driver();
  const json before = json::parse(home_.rondo({"status", "-o", "json"}).out);
  const json actor = home_.list("actors").at(0);
  EXPECT_EQ(actor["name"], "c");
  EXPECT_EQ(actor["state"], "alive");
  ASSERT_EQ(::kill(before[0]["pid"].get<pid_t>(), SIGKILL), 0);
  const auto killed = std::chrono::steady_clock::now();
  program->say("add");
  EXPECT_TRUE(program->waits_for("sum 1", 5)) << program->err();
  const json actors = home_.list_until("actors", [](const json& rows) {
    return rows.size() == 1 && rows[0].value("state", "") == "alive";
  });
  const std::chrono::duration<double> away = std::chrono::steady_clock::now() - killed;
  std::printf("the head knew its actors again %.2f s after it was killed\n", away.count());
  ASSERT_EQ(actors.size(), 1u) << actors;
  EXPECT_EQ(actors[0]["id"], actor["id"]);
  EXPECT_EQ(actors[0]["pid"], actor["pid"]);
  EXPECT_EQ(actors[0]["incarnation"], actor["incarnation"]);
  const json after = json::parse(home_.rondo({"status", "-o", "json"}).out);
  EXPECT_GT(after[0]["incarnation"], before[0]["incarnation"]);
  EXPECT_NE(after[0]["pid"], before[0]["pid"]);
  program->say("add");
  EXPECT_TRUE(program->waits_for("sum 2", 5)) << program->err();
}

TEST_F(CliTest, AKilledActorsWorkerStartsAgainAndItsLogStays) {
  up(1);
  const auto program = driver();
  const json before = home_.list("actors").at(0);
  const std::string line = "(Counter c, n1, pid " + before["pid"].dump() + ") a counter is born";
  EXPECT_TRUE(wait_until([&] { return program->err().find(line) != std::string::npos; }, 5))
      << program->err();
  ASSERT_EQ(::kill(before["pid"].get<pid_t>(), SIGKILL), 0);
  program->say("add");
  EXPECT_TRUE(program->waits_for("sum 1", 20)) << program->err();
  const json after = home_.list("actors").at(0);
  EXPECT_EQ(after["restarts"], 1);
  EXPECT_GT(after["incarnation"], before["incarnation"]);
  for (const std::string& id : {std::string("c"), after["id"].get<std::string>(),
                                std::to_string(after["pid"].get<int>())}) {
    const Ran logs = home_.rondo({"logs", id});
    EXPECT_EQ(logs.code, 0) << logs.err;
    EXPECT_NE(logs.out.find("a counter is born"), std::string::npos) << logs.out;
  }
  EXPECT_EQ(home_.rondo({"logs", "nobody"}).code, 1);
  program->say("quit");
  EXPECT_EQ(program->end(), 0);
  EXPECT_TRUE(home_.list_until("workers", [](const json& rows) { return rows.empty(); }).empty());
  EXPECT_EQ(home_.list("jobs").at(0)["state"], "ended");
}

TEST_F(CliTest, ListObjectsCountsWhoKeepsThem) {
  up(1);
  const auto program = driver();
  program->say("lend");
  EXPECT_TRUE(program->waits_for("lent 4194304", 20)) << program->err();
  const json lent = home_.list_until("objects", [](const json& rows) {
    return rows.size() == 1 && rows[0].value("refs", 0) == 2;
  });
  ASSERT_EQ(lent.size(), 1u) << lent;
  EXPECT_EQ(lent[0]["refs"], 2) << "the driver that owns it and the actor";
  EXPECT_GE(lent[0]["bytes"], 4 << 20);
  EXPECT_EQ(lent[0]["nodes"], json::array({"n1"}));
  program->say("back");
  EXPECT_TRUE(program->waits_for("back", 20)) << program->err();
  const json back = home_.list_until("objects", [](const json& rows) {
    return rows.size() == 1 && rows[0].value("refs", 0) == 1;
  });
  ASSERT_EQ(back.size(), 1u) << back;
  EXPECT_EQ(back[0]["refs"], 1);
  program->say("quit");
  EXPECT_EQ(program->end(), 0);
  EXPECT_TRUE(home_.list_until("objects", [](const json& rows) { return rows.empty(); }).empty());
}

TEST_F(CliTest, AKilledDriverEndsItsJobAndItsWorkers) {
  up(1);
  const auto program = driver();
  ASSERT_EQ(home_.list("jobs").at(0)["state"], "running");
  program->signal(SIGKILL);
  const json jobs = home_.list_until(
      "jobs", [](const json& rows) { return count(rows, "state", "ended") == 1; }, 10);
  EXPECT_EQ(count(jobs, "state", "ended"), 1u) << jobs;
  EXPECT_TRUE(home_.list_until("workers", [](const json& rows) { return rows.empty(); }).empty());
}

TEST_F(CliTest, CtrlCEndsEverythingAndSoDoesItsSecondOne) {
  up(2);
  up_->signal(SIGINT);
  EXPECT_EQ(up_->end(), 130);
  expect_nothing_left();
  up(1);
  const pid_t node = home_.list("nodes").at(0)["pid"].get<pid_t>();
  ::kill(node, SIGSTOP);  // it cannot end by itself
  up_->signal(SIGINT);
  ::poll(nullptr, 0, 300);
  EXPECT_TRUE(alive(up_->pid()));
  up_->signal(SIGINT);
  EXPECT_EQ(up_->end(3), 130);
  expect_nothing_left();
}

TEST_F(CliTest, AKilledSupervisorTakesItsDaemonsAlongAndTheNextStartCleansUp) {
  up(1);
  const std::vector<pid_t> daemons = home_.processes();
  ASSERT_EQ(daemons.size(), 3u);
  up_->signal(SIGKILL);
  EXPECT_EQ(up_->end(), 128 + SIGKILL);
  // By pid: a process that is ending has no environment any more but still holds its locks.
  EXPECT_TRUE(wait_until([&] { return std::none_of(daemons.begin(), daemons.end(), alive); }, 10));
  EXPECT_FALSE(home_.empty());
  const Ran none = home_.rondo({"status"});
  EXPECT_EQ(none.code, 4);
  up(1);
  EXPECT_EQ(home_.list("nodes").size(), 1u);
  EXPECT_EQ(home_.rondo({"down"}).code, 0);
  expect_nothing_left();
}

TEST_F(CliTest, DetachGivesThePromptBack) {
  const Ran detached = home_.rondo({"up", "--detach"});
  EXPECT_EQ(detached.code, 0) << detached.err;
  EXPECT_NE(detached.out.find("Rondo is up"), std::string::npos);
  const Ran again = home_.rondo({"up", "--detach"});
  EXPECT_EQ(again.code, 5);
  EXPECT_NE(again.err.find("rondo down"), std::string::npos) << again.err;
  EXPECT_EQ(home_.list("nodes").size(), 1u);
  EXPECT_EQ(home_.rondo({"down"}).code, 0);
  expect_nothing_left();
}

TEST_F(CliTest, DaemonsAloneAreEndedByDownToo) {
  const auto head = home_.beside({"rondo", "head"});
  ASSERT_TRUE(head->waits_for("head listens at ")) << head->err();
  const std::string address = head->out().substr(16, head->out().find('\n') - 16);
  const auto first = home_.beside({"rondo", "node", "--head", address});
  ASSERT_TRUE(first->waits_for("node n1 listens")) << first->err();
  const auto second = home_.beside({"rondo", "node", "--head", address, "--cpus", "3"});
  ASSERT_TRUE(second->waits_for("node n2 listens")) << second->err();
  const json nodes = home_.list_until("nodes", [](const json& rows) { return rows.size() == 2; });
  EXPECT_EQ(row_named(nodes, "n2")["cpus"], 3) << nodes;
  const Ran taken = home_.rondo({"node", "--head", address, "--name", "n1"});
  EXPECT_EQ(taken.code, 5) << taken.err;
  EXPECT_EQ(home_.rondo({"down"}).code, 0);
  EXPECT_EQ(head->end(), 0) << head->err();
  EXPECT_EQ(first->end(), 0) << first->err();
  EXPECT_EQ(second->end(), 0) << second->err();
  expect_nothing_left();
}

// ---- addresses ---------------------------------------------------------------------------------

TEST_F(CliTest, ATcpClusterServesWhoHasItsTokenAndNobodyElse) {
  up(1, {"--listen", "tcp://127.0.0.1:*"});
  const json status = json::parse(home_.rondo({"status", "-o", "json"}).out);
  const std::string address = status[0]["address"];
  EXPECT_TRUE(address.starts_with("tcp://127.0.0.1:")) << address;
  const fs::perms mode = fs::status(home_.path() + "/main/token").permissions();
  EXPECT_EQ(mode, fs::perms::owner_read | fs::perms::owner_write);
  const auto program = driver();
  program->say("add");
  EXPECT_TRUE(program->waits_for("sum 1")) << program->err();
  Home stranger;
  const Ran refused = stranger.rondo({"status", "--address", address});
  EXPECT_EQ(refused.code, 4);
  EXPECT_LT(refused.seconds, 5.5);
  EXPECT_NE(refused.err.find("token"), std::string::npos) << refused.err;
  const json killed = json::parse(home_.rondo({"status", "-o", "json"}).out);
  ::kill(killed[0]["pid"].get<pid_t>(), SIGKILL);
  EXPECT_TRUE(wait_until([&] {
    const Ran again = home_.rondo({"status", "-o", "json"});
    return again.code == 0 && json::parse(again.out)[0]["pid"] != killed[0]["pid"] &&
           json::parse(again.out)[0]["address"] == address;
  }));
}

TEST_F(CliTest, APortInUseIsTheMachinesFault) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof where;
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&where), bytes), 0);
  ASSERT_EQ(::listen(fd, 8), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&where), &bytes), 0);
  const std::string address = "tcp://127.0.0.1:" + std::to_string(ntohs(where.sin_port));
  for (const char* verb : {"up", "head"}) {
    const Ran refused = home_.rondo({verb, "--listen", address});
    EXPECT_EQ(refused.code, 5) << verb;
    EXPECT_NE(refused.err.find(address), std::string::npos) << refused.err;
    EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
  }
  // Somebody listens there who is no head: no answer.
  const Ran silent = home_.rondo({"status", "--address", address});
  EXPECT_EQ(silent.code, 4);
  EXPECT_LT(silent.seconds, 5.5);
  ::close(fd);
  const Ran nobody = home_.rondo({"status", "--address", address});
  EXPECT_EQ(nobody.code, 4);
  EXPECT_LT(nobody.seconds, 2);
  EXPECT_NE(nobody.err.find("nothing listens at " + address), std::string::npos) << nobody.err;
  expect_nothing_left();
}

TEST_F(CliTest, AddressesBeyondThisMachineAreRefusedInWords) {
  for (const char* address :
       {"tcp://0.0.0.0:4000", "tcp://10.0.0.1:4000", "http://x", "nonsense"}) {
    const Ran refused = home_.rondo({"up", "--listen", address});
    EXPECT_EQ(refused.code, 2) << address << refused.err;
    EXPECT_NE(refused.err.find(address), std::string::npos) << refused.err;
    for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
             {"status", "--address", address},
             {"down", "--address", address},
             {"logs", "x", "--address", address},
             {"node", "--head", address}}) {
      const Ran asked = home_.rondo(words);
      EXPECT_EQ(asked.code, 2) << testing::PrintToString(words) << asked.err;
      EXPECT_NE(asked.err.find(address), std::string::npos) << asked.err;
    }
  }
  expect_nothing_left();
}

TEST_F(CliTest, NoneOrSeveralClustersAreListedWithCode4) {
  const Ran none = home_.rondo({"list", "nodes"});
  EXPECT_EQ(none.code, 4);
  EXPECT_NE(none.err.find("rondo up"), std::string::npos) << none.err;
  up(1);
  const Ran second = home_.rondo({"up", "--cluster", "other", "--detach"});
  ASSERT_EQ(second.code, 0) << second.err;
  const Ran several = home_.rondo({"list", "nodes"});
  EXPECT_EQ(several.code, 4);
  EXPECT_NE(several.err.find("/main/s/head"), std::string::npos) << several.err;
  EXPECT_NE(several.err.find("/other/s/head"), std::string::npos) << several.err;
  const std::string other = "ipc://" + home_.path() + "/other/s/head";
  EXPECT_EQ(home_.rondo({"down", "--address", other}).code, 0);
  EXPECT_EQ(home_.list("nodes").size(), 1u);
}

TEST_F(CliTest, AHomeThatCannotHoldAClusterIsTheMachinesFault) {
  // Too long for every socket, and for those of workers and clients alone.
  for (const std::size_t bytes : {130, 100, 92, 85}) {
    SCOPED_TRACE(bytes);
    std::string place = home_.path();
    place.resize(bytes, 'x');
    home_.environment()["RONDO_HOME"] = place;
    for (const char* verb : {"up", "head"}) {
      const Ran far = home_.rondo({verb});
      EXPECT_EQ(far.code, 5) << verb;
      EXPECT_NE(far.err.find("set RONDO_HOME to a shorter path"), std::string::npos) << far.err;
      EXPECT_EQ(lines_in(far.err), 1u) << far.err;
      EXPECT_EQ(far.out, "") << verb;
    }
    EXPECT_TRUE(fs::is_empty(place));
  }
  const fs::path open = fs::path(home_.path()).parent_path() / "open";
  fs::create_directories(open);
  fs::permissions(open, fs::perms::all);
  home_.environment()["RONDO_HOME"] = open.string();
  const Ran loose = home_.rondo({"up"});
  EXPECT_EQ(loose.code, 5);
  EXPECT_NE(loose.err.find("chmod 700"), std::string::npos) << loose.err;
  EXPECT_EQ(home_.rondo({"status"}).code, 5);
  EXPECT_EQ(home_.rondo({"node"}).code, 5);
}

// ---- usage -------------------------------------------------------------------------------------

TEST_F(CliTest, MistypedVerbsAndFlagsAreUsage) {
  const Ran verb = home_.rondo({"statsu"});
  EXPECT_EQ(verb.code, 2);
  EXPECT_NE(verb.err.find("did you mean \"rondo status\"?"), std::string::npos) << verb.err;
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{},
                                             {"up", "--nodse", "2"},
                                             {"up", "--nodes", "0"},
                                             {"list"},
                                             {"list", "shoes"},
                                             {"logs"},
                                             {"status", "-o", "xml"},
                                             {"up", "--term", "1", "--suspect", "2"},
                                             {"node", "--cpus", "-1"},
                                             {"--frobnicate"}}) {
    const Ran wrong = home_.rondo(words);
    EXPECT_EQ(wrong.code, 2) << testing::PrintToString(words) << wrong.err;
    EXPECT_TRUE(wrong.err.starts_with("rondo: ")) << wrong.err;
  }
  EXPECT_EQ(home_.rondo({"--help"}).code, 0);
  EXPECT_EQ(home_.rondo({"up", "--help"}).code, 0);
  const Ran version = home_.rondo({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_TRUE(version.out.starts_with("rondo 0.")) << version.out;
  expect_nothing_left();
}

TEST_F(CliTest, AnotherVerbIsAProgramWithItsOwnArgumentsAndCode) {
  const fs::path folder = fs::path(home_.path()).parent_path() / "bin";
  fs::create_directories(folder);
  std::ofstream(folder / "rondo-greet") << "#!/bin/sh\necho \"hello $1 $2\"\nexit 7\n";
  fs::permissions(folder / "rondo-greet", fs::perms::owner_all);
  home_.environment()["PATH"] = folder.string() + ":/usr/bin:/bin";
  const Ran greeted = home_.rondo({"greet", "--loud", "x y"});
  EXPECT_EQ(greeted.code, 7);
  EXPECT_EQ(greeted.out, "hello --loud x y\n");
  const Ran meant = home_.rondo({"gret"});
  EXPECT_EQ(meant.code, 2);
  EXPECT_NE(meant.err.find("rondo greet"), std::string::npos) << meant.err;
}

}  // namespace
}  // namespace rondo::cli_test
