#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

// A folder of this test alone, mode 0700, gone with it.

namespace rondo::net {

class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/rondo-net-XXXXXX";
    const char* made = mkdtemp(name);
    EXPECT_NE(made, nullptr);
    path_ = made == nullptr ? "/nonexistent" : made;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string ipc(const std::string& name) const {
    return "ipc://" + path_ + "/" + name;
  }

 private:
  std::string path_;
};

}  // namespace rondo::net
