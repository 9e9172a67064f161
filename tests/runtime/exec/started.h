#pragma once

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include <rondo/exec/process_launcher.h>
#include <rondo/exec/process_watcher.h>

// Helpers of the tests of exec/: a folder, a pipe for a child's output, and a wait for its end.

namespace rondo::exec {

struct TemporaryFolder {
  TemporaryFolder() {
    std::string pattern = std::filesystem::temp_directory_path() / "rondo-test-XXXXXX";
    path = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string path;
};

struct Pipe {
  Pipe() {
    int both[2] = {-1, -1};
    if (::pipe2(both, 02000000 /* O_CLOEXEC */) != 0) ::abort();
    reader.reset(both[0]);
    writer.reset(both[1]);
  }
  std::string read_some() {
    char text[4096];
    const ssize_t n = ::read(reader.get(), text, sizeof text);
    return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : "";
  }
  std::string read_line() {
    std::string line;
    for (char c = 0; ::read(reader.get(), &c, 1) == 1 && c != '\n';) line += c;
    return line;
  }
  std::string read_all() {
    writer.reset();
    std::string text;
    for (std::string piece = read_some(); !piece.empty(); piece = read_some()) text += piece;
    return text;
  }
  OwnedFd reader;
  OwnedFd writer;
};

inline LaunchSpec child(std::vector<std::string> arguments) {
  LaunchSpec spec;
  spec.executable = CHILD_PROGRAM;
  spec.arguments = std::move(arguments);
  spec.arguments.insert(spec.arguments.begin(), "child");
  return spec;
}

inline void wait_readable(int fd) {
  pollfd waiting{fd, POLLIN, 0};
  ::poll(&waiting, 1, 60'000);
}

// The exits that the watcher tells of next: at least one.
inline std::vector<Exit> next_exits(ProcessWatcher& watcher) {
  for (;;) {
    wait_readable(watcher.fd());
    if (auto exits = watcher.poll(); !exits.empty()) return exits;
  }
}

// For a test that awaits one exit: a second one would be lost here.
inline Exit next_exit(ProcessWatcher& watcher) {
  const std::vector<Exit> exits = next_exits(watcher);
  if (exits.size() != 1) ::abort();
  return exits.front();
}

}  // namespace rondo::exec
