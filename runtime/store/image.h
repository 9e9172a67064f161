#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// What a driver's process is made of: its executable as it was at the start (a rebuild does not
// matter) and the shared libraries that it has loaded, by content. Workers run the same bytes
// wherever they start.

namespace rondo::store {

struct Library {
  std::string name;  // "libfoo.so.2": what the loader asks for
  std::string path;  // on this machine
  std::string hash;
};

struct Image {
  OwnedFd executable;  // /proc/self/exe, opened: stays the old file after a rebuild
  std::string executable_hash;
  std::string executable_name;     // "train"
  std::string executable_path;     // for people; the file there may have changed
  std::vector<Library> libraries;  // without the C library's own
  std::string libc;                // "glibc 2.36"

  // "hash name", as in core::JobSpec
  [[nodiscard]] std::vector<std::string> library_lines() const;
};

// Of this process. Call once, early: before the program's files can be replaced.
Result<Image> capture_image();

// Parts of the C library and the loader: every machine has its own.
[[nodiscard]] bool is_system_library(std::string_view name);

// The names out of "hash name" lines that this machine's loader would not find: in LD_LIBRARY_PATH
// of the environment given ("K=V" lines), in the folders of /etc/ld.so.conf, or in the loader's
// own.
[[nodiscard]] std::vector<std::string> missing_libraries(
    const std::vector<std::string>& lines, const std::vector<std::string>& environment);

// Why a program built against `theirs` ("glibc 2.39") cannot run here; empty if it can.
[[nodiscard]] std::string libc_mismatch(std::string_view theirs);
[[nodiscard]] std::string libc_version();

}  // namespace rondo::store
