#include "cli_home.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <rondo/base/check.h>

extern char** environ;

namespace rondo::cli_test {

namespace fs = std::filesystem;

namespace {

std::string slurp(const std::string& path) {
  std::ostringstream all;
  all << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(all).str();
}

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool alive(pid_t pid) {
  const std::string stat = slurp("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t at = stat.rfind(')');
  return at != std::string::npos && at + 2 < stat.size() && stat[at + 2] != 'Z';
}

std::string command_of(pid_t pid) {
  std::string words = slurp("/proc/" + std::to_string(pid) + "/cmdline");
  std::replace(words.begin(), words.end(), '\0', ' ');
  return words;
}

std::vector<std::string> shared_memory() {
  std::vector<std::string> names;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator("/dev/shm", failed))
    if (const std::string name = entry.path().filename(); name.find("rondo") != std::string::npos)
      names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

bool wait_until(const std::function<bool()>& good, double seconds) {
  const double limit = now_s() + seconds;
  while (!good()) {
    if (now_s() > limit) return false;
    ::poll(nullptr, 0, 10);
  }
  return true;
}

Beside::Beside(std::vector<std::string> command, std::map<std::string, std::string> environment,
               std::string folder)
    : folder_(std::move(folder)) {
  fs::create_directories(folder_);
  for (char** line = environ; *line != nullptr; ++line) {
    const std::string text = *line;
    environment.emplace(text.substr(0, text.find('=')), text.substr(text.find('=') + 1));
  }
  std::vector<std::string> lines;
  for (const auto& [name, value] : environment) lines.push_back(name + "=" + value);
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (std::string& word : command) argv.push_back(word.data());
  for (std::string& line : lines) envp.push_back(line.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  RONDO_CHECK_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const std::string out = folder_ + "/out";
  const std::string err = folder_ + "/err";
  pid_ = ::fork();
  RONDO_CHECK(pid_ >= 0);
  if (pid_ == 0) {
    ::dup2(ends[0], STDIN_FILENO);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
    ::signal(SIGPIPE, SIG_DFL);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that falls takes its programs along
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  ::close(ends[0]);
  input_ = ends[1];
}

Beside::~Beside() {
  ::close(input_);
  if (ended_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Beside::say(const std::string& line) const {
  const std::string text = line + "\n";
  if (::write(input_, text.data(), text.size()) < 0) RONDO_CHECK_EQ(errno, EPIPE);  // it has ended
}

bool Beside::waits_for(const std::string& words, double seconds) const {
  return wait_until([&] { return out().find(words) != std::string::npos; }, seconds);
}

void Beside::signal(int number) const { ::kill(pid_, number); }

int Beside::end(double seconds) {
  int status = 0;
  const bool done = wait_until([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }, seconds);
  ended_ = done;
  return done ? code_of(status) : -1;
}

std::string Beside::out() const { return slurp(folder_ + "/out"); }
std::string Beside::err() const { return slurp(folder_ + "/err"); }

Home::Home() {
  std::string pattern = (fs::temp_directory_path() / "rondo-cli-XXXXXX").string();
  RONDO_CHECK(::mkdtemp(pattern.data()) != nullptr);
  scratch_ = pattern;
  path_ = scratch_ + "/h";
  environment_["RONDO_HOME"] = path_;
  environment_["RONDO_ADDRESS"] = "";
}

Home::~Home() {
  for (const pid_t pid : processes()) ::kill(pid, SIGKILL);
  std::error_code ignored;
  fs::remove_all(scratch_, ignored);
}

std::unique_ptr<Beside> Home::beside(const std::vector<std::string>& command) {
  std::vector<std::string> full = command;
  full[0] = std::string(RONDO_BIN_DIR) + "/" + full[0];
  return std::make_unique<Beside>(std::move(full), environment_,
                                  scratch_ + "/run-" + std::to_string(++runs_));
}

Ran Home::rondo(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = arguments;
  command.insert(command.begin(), "rondo");
  const double before = now_s();
  const auto run = beside(command);
  Ran ran;
  ran.code = run->end(60);
  ran.seconds = now_s() - before;
  ran.out = run->out();
  ran.err = run->err();
  return ran;
}

nlohmann::json Home::list(const std::string& what) {
  const Ran ran = rondo({"list", what, "-o", "json"});
  if (ran.code != 0) return nullptr;
  return nlohmann::json::parse(ran.out, nullptr, false);
}

nlohmann::json Home::list_until(const std::string& what,
                                const std::function<bool(const nlohmann::json&)>& good,
                                double seconds) {
  nlohmann::json rows;
  wait_until(
      [&] {
        rows = list(what);
        return rows.is_array() && good(rows);
      },
      seconds);
  return rows;
}

std::vector<pid_t> Home::processes() const {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t pid = static_cast<pid_t>(std::strtol(name.c_str(), nullptr, 10));
    const std::string environment = slurp(entry.path().string() + "/environ");
    if (environment.find("RONDO_HOME=" + path_ + '\0') != std::string::npos && alive(pid))
      found.push_back(pid);
  }
  return found;
}

bool Home::empty() const {
  std::error_code none;
  return !fs::exists(path_, none) || fs::is_empty(path_, none);
}

std::vector<std::string> Home::entries() const {
  std::vector<std::string> found;
  std::error_code failed;
  for (const auto& entry : fs::recursive_directory_iterator(path_, failed))
    found.push_back(entry.path().string());
  return found;
}

}  // namespace rondo::cli_test
