#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

// Runs a built program as a user would, and keeps what it says. Tests only.

namespace rondo::actors {

struct Ran {
  int code = 0;  // 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

// A folder that goes away with its owner.
class Scratch {
 public:
  Scratch();
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ / name; }
  std::string write(const std::string& name, const std::string& bytes) const;

 private:
  std::filesystem::path path_;
};

// A program of the build's bin/, by name, with its arguments; waits for its end.
Ran run(const std::string& program, const std::vector<std::string>& arguments);

// The same, but started only; `finish` waits. The first line of stdout can be awaited with `line`.
class Started {
 public:
  Started(const std::string& program, const std::vector<std::string>& arguments);
  ~Started();
  Started(const Started&) = delete;
  Started& operator=(const Started&) = delete;
  [[nodiscard]] int pid() const { return pid_; }
  // The next line of stdout; "" at its end.
  std::string line();
  void signal(int number) const;
  Ran finish();

 private:
  int pid_ = -1;
  int out_ = -1;
  Scratch scratch_;
  std::string pending_;
};

std::string slurp(const std::string& path);

// A deterministic text of `bytes` characters that has something to learn.
std::string small_text(std::size_t bytes);

}  // namespace rondo::actors
