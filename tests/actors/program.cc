#include "program.h"

#include <csignal>
#include <cstdlib>
#include <sstream>
#include <utility>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rondo/base/check.h>

namespace rondo::actors {

Scratch::Scratch() {
  std::string pattern = (std::filesystem::temp_directory_path() / "rondo-test-XXXXXX").string();
  RONDO_CHECK(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

std::string Scratch::write(const std::string& name, const std::string& bytes) const {
  const std::string path = *this / name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

std::string slurp(const std::string& path) {
  std::ostringstream all;
  all << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(all).str();
}

Started::Started(const std::string& program, const std::vector<std::string>& arguments) {
  const std::string path = std::string(RONDO_BIN_DIR) + "/" + program;
  std::vector<char*> argv{const_cast<char*>(path.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  int ends[2];
  RONDO_CHECK_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const std::string errors = scratch_ / "stderr";
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::dup2(::open(errors.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    ::execv(path.c_str(), argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  out_ = ends[0];
}

Started::~Started() {
  if (out_ >= 0) ::close(out_);
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Started::signal(int number) const { ::kill(pid_, number); }

std::string Started::line() {
  while (true) {
    const std::size_t end = pending_.find('\n');
    if (end != std::string::npos) {
      const std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    char buffer[4096];
    const ssize_t got = ::read(out_, buffer, sizeof buffer);
    if (got <= 0) return std::exchange(pending_, {});
    pending_.append(buffer, static_cast<std::size_t>(got));
  }
}

Ran Started::finish() {
  Ran ran;
  for (std::string next = line(); !next.empty() || !pending_.empty(); next = line())
    ran.out += next + "\n";
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ran.err = slurp(scratch_ / "stderr");
  return ran;
}

Ran run(const std::string& program, const std::vector<std::string>& arguments) {
  return Started(program, arguments).finish();
}

std::string small_text(std::size_t bytes) {
  const std::vector<std::string> words{"the ", "river ", "runs ", "over ", "stones, ", "and ",
                                       "light ", "falls ", "on ", "water.\n"};
  std::string text;
  std::uint64_t state = 7;
  while (text.size() < bytes) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    text += words[(state >> 33) % words.size()];
  }
  text.resize(bytes);
  return text;
}

}  // namespace rondo::actors
