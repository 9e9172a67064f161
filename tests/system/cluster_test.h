#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli_home.h"

// A cluster of real daemons in a RONDO_HOME of its own. At the end of each test nothing may be
// left: no process, no socket or file in the home, no shared memory.

namespace rondo::cli_test {

inline const std::vector<std::string> kQuickTimes = {"--heartbeat", "0.2",    "--suspect",
                                                     "0.6",         "--term", "1.5"};

inline std::vector<std::string> with(std::vector<std::string> first,
                                     const std::vector<std::string>& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

inline std::size_t count(const nlohmann::json& rows, const std::string& key,
                         const std::string& value) {
  return static_cast<std::size_t>(
      std::count_if(rows.begin(), rows.end(),
                    [&](const nlohmann::json& row) { return row.value(key, "") == value; }));
}

inline nlohmann::json row_named(const nlohmann::json& rows, const std::string& name,
                                const std::string& state = "alive") {
  for (const nlohmann::json& row : rows)
    if (row.value("name", "") == name && row.value("state", "") == state) return row;
  return nullptr;
}

inline std::size_t lines_in(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

class ClusterTest : public testing::Test {
 protected:
  // `rondo up` in the foreground.
  void up(unsigned nodes, const std::vector<std::string>& more = {}) {
    up_ = home_.beside(with({"rondo", "up", "--nodes", std::to_string(nodes)}, more));
    ASSERT_TRUE(up_->waits_for("Rondo is up")) << up_->out() << up_->err();
  }
  // A head alone, then nodes as they are wanted: nobody starts them again.
  void head(const std::vector<std::string>& more = {}) {
    head_ = home_.beside(with({"rondo", "head"}, more));
    ASSERT_TRUE(head_->waits_for("head listens at ")) << head_->err();
    address_ = head_->out().substr(16, head_->out().find('\n') - 16);
  }
  Beside& node(const std::string& name, const std::vector<std::string>& more = {}) {
    auto& place = nodes_[name];
    place = home_.beside(with({"rondo", "node", "--head", address_, "--name", name}, more));
    EXPECT_TRUE(place->waits_for("node " + name + " listens")) << place->err();
    return *place;
  }
  [[nodiscard]] std::string address() {
    if (address_.empty())
      address_ = nlohmann::json::parse(home_.rondo({"status", "-o", "json"}).out)[0]["address"];
    return address_;
  }

  void expect_nothing_left() {
    EXPECT_TRUE(wait_until([&] { return home_.processes().empty(); }, 10));
    for (const pid_t pid : home_.processes())
      ADD_FAILURE() << "process " << pid << " is left: " << command_of(pid);
    EXPECT_TRUE(home_.empty()) << "left: " << testing::PrintToString(home_.entries());
    EXPECT_EQ(shared_memory(), shared_before_);
  }

  // Ends what still runs, as a user would, and looks.
  void TearDown() override {
    if (up_ && alive(up_->pid())) {
      up_->signal(SIGTERM);
      EXPECT_EQ(up_->end(), 128 + SIGTERM) << up_->err();
    }
    for (auto& [name, daemon] : nodes_) end(*daemon);
    if (head_) end(*head_);
    expect_nothing_left();
  }

  Home home_;
  std::unique_ptr<Beside> up_;
  std::unique_ptr<Beside> head_;
  std::map<std::string, std::unique_ptr<Beside>> nodes_;
  std::string address_;

 private:
  static void end(Beside& daemon) {
    if (!alive(daemon.pid())) return;
    daemon.signal(SIGTERM);
    daemon.end();
  }
  const std::vector<std::string> shared_before_ = shared_memory();
};

}  // namespace rondo::cli_test
