#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

// What the tests of the `rondo` program stand on: a RONDO_HOME of their own, the program run as a
// stranger runs it, and a look at what it left behind.

namespace rondo::cli_test {

struct Ran {
  int code = -1;  // 128 + n: killed by signal n
  std::string out;
  std::string err;
  double seconds = 0;
};

// A program that runs beside the test, with its words in files. Killed at the end if it still runs.
class Beside {
 public:
  Beside(std::vector<std::string> command, std::map<std::string, std::string> environment,
         std::string folder);
  ~Beside();
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

  void say(const std::string& line) const;  // into its stdin
  [[nodiscard]] bool waits_for(const std::string& words, double seconds = 30) const;  // on stdout
  void signal(int number) const;
  int end(double seconds = 30);  // waits for it; its code; -1: it did not end
  [[nodiscard]] std::string out() const;
  [[nodiscard]] std::string err() const;
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  std::string folder_;
  pid_t pid_ = -1;
  int input_ = -1;
  bool ended_ = false;
};

class Home {
 public:
  Home();
  ~Home();
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;

  [[nodiscard]] std::string path() const { return path_; }
  [[nodiscard]] std::string scratch() const { return scratch_; }  // beside it, for the test's files
  [[nodiscard]] std::map<std::string, std::string>& environment() { return environment_; }
  Ran rondo(const std::vector<std::string>& arguments);
  std::unique_ptr<Beside> beside(const std::vector<std::string>& command);
  nlohmann::json list(const std::string& what);  // rondo list WHAT -o json; null on failure
  // Asks again until `good` holds for what is listed; the last answer.
  nlohmann::json list_until(const std::string& what,
                            const std::function<bool(const nlohmann::json&)>& good,
                            double seconds = 30);

  [[nodiscard]] std::vector<pid_t> processes() const;  // of any program with this RONDO_HOME
  [[nodiscard]] bool empty() const;                    // no folder, socket or file is left
  [[nodiscard]] std::vector<std::string> entries() const;  // what is in it, folders too

 private:
  std::string path_;
  std::string scratch_;
  int runs_ = 0;
  std::map<std::string, std::string> environment_;
};

[[nodiscard]] double now_s();
[[nodiscard]] bool alive(pid_t pid);
[[nodiscard]] std::string command_of(pid_t pid);
[[nodiscard]] std::vector<std::string> shared_memory();  // ours, by name, in /dev/shm
bool wait_until(const std::function<bool()>& good, double seconds = 30);

}  // namespace rondo::cli_test
