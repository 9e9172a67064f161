#include "leftovers.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace rondo::system_test {

namespace {

namespace fs = std::filesystem;

std::string bytes_of(const fs::path& path) {
  std::ostringstream all;
  all << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(all).str();
}

// Not a zombie, which only waits for its parent.
bool lives(const fs::path& process) {
  const std::string stat = bytes_of(process / "stat");
  const std::size_t at = stat.rfind(')');
  return at != std::string::npos && at + 2 < stat.size() && stat[at + 2] != 'Z';
}

void add_processes(const std::string& home, std::vector<std::string>& out) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string environment = '\0' + bytes_of(entry.path() / "environ");
    if (environment.find('\0' + ("RONDO_HOME=" + home) + '\0') == std::string::npos) continue;
    if (!lives(entry.path())) continue;
    std::string command = bytes_of(entry.path() / "cmdline");
    std::replace(command.begin(), command.end(), '\0', ' ');
    out.push_back("process " + pid + ": " + command);
  }
}

void add_files(const Place& place, std::vector<std::string>& out) {
  std::error_code error;
  if (fs::exists(place.home, error))
    for (const auto& entry : fs::recursive_directory_iterator(place.home, error))
      out.push_back("in the home: " + entry.path().string());
  if (fs::exists(place.folder, error))
    for (const auto& entry : fs::recursive_directory_iterator(place.folder, error))
      if (entry.path().extension() == ".part")
        out.push_back("unfinished file: " + entry.path().string());
}

void add_shared(const std::string& home, std::vector<std::string>& out) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/dev/shm", error)) {
    const std::string name = entry.path().filename();
    if (name.find("rondo") != std::string::npos) out.push_back("shared memory: " + name);
  }
  std::istringstream sockets(bytes_of("/proc/net/unix"));
  for (std::string line; std::getline(sockets, line);)
    if (line.find(home + "/") != std::string::npos) out.push_back("socket: " + line);
}

}  // namespace

std::vector<std::string> leftovers(const Place& place) {
  std::vector<std::string> out;
  add_processes(place.home, out);
  add_files(place, out);
  add_shared(place.home, out);
  return out;
}

std::vector<std::string> leftovers_after(const Place& place, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + std::chrono::duration<double>(seconds);
  while (true) {
    std::vector<std::string> left = leftovers(place);
    if (left.empty() || Clock::now() > until) return left;
    ::poll(nullptr, 0, 20);
  }
}

}  // namespace rondo::system_test
