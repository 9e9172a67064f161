#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "leftovers.h"
#include "program.h"

// What the tests of training on real processes share: runs of one small model, whose weights are
// compared byte for byte; a cluster of daemons; and a look at what is left when all is over.

namespace rondo::actors {

using nlohmann::json;

class SameBits : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;  // nothing may be left

  // Instead of the short text: some three steps for every 350 bytes.
  void use_text(std::size_t bytes) { text_ = scratch_.write("long", small_text(bytes)); }
  // Of `rondo-train` into the folder `out`; `more` wins over what stands here.
  [[nodiscard]] std::vector<std::string> arguments(const std::string& out,
                                                   const std::vector<std::string>& more) const;
  [[nodiscard]] std::string file(const std::string& out) const {
    return scratch_ / (out + "/last.safetensors");
  }
  void expect_same(const std::string& a, const std::string& b) const;
  Ran train(const std::string& out, const std::vector<std::string>& more = {});
  Ran resume(const std::string& out);
  // Reads its events until the one of that name, step or later; null at the end.
  static json await(Started& started, const std::string& event, int step = 0);
  // What Ran::out counts of an event.
  static int count(const Ran& ran, const std::string& event);
  // The ways that --chaos hit, in order.
  static std::vector<std::string> hits(const Ran& ran);
  static void expect_hits(const Ran& ran, const std::vector<std::string>& ways);

  Scratch scratch_;
  std::string text_;
  std::string home_;
};

// Daemons on this machine, in the RONDO_HOME of this process; gone at the end.
class Cluster {
 public:
  explicit Cluster(int nodes, bool quick = true);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  [[nodiscard]] const std::string& address() const { return address_; }
  static json list(const std::string& what);
  static json status();
  static std::vector<int> pids_of_nodes();
  static int pid_of_node(const std::string& name);  // of the living one
  static bool sees_dead_nodes(int wanted);   // soon
  // After every run ended: no worker, object or living actor, every lease back.
  static void expect_idle();

 private:
  std::string address_;
};

}  // namespace rondo::actors
