#include <rondo/store/image.h>

#include <fcntl.h>
#include <glob.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <rondo/store/file_cache.h>

namespace rondo::store {

namespace fs = std::filesystem;

namespace {
struct Loaded {
  std::vector<std::string> paths;
};

int note_library(dl_phdr_info* info, std::size_t, void* into) {
  // The program itself has no name; the kernel's page (linux-vdso.so.1) has no path.
  if (info->dlpi_name != nullptr &&
      std::string_view(info->dlpi_name).find('/') != std::string_view::npos)
    static_cast<Loaded*>(into)->paths.emplace_back(info->dlpi_name);
  return 0;
}

// Where the loader looks by itself: /etc/ld.so.conf with its includes, then its built-in folders.
void read_loader_conf(const std::string& path, int depth, std::vector<std::string>& folders) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    line.erase(std::find(line.begin(), line.end(), '#'), line.end());
    const std::size_t first = line.find_first_not_of(" \t");
    if (first == std::string::npos) continue;
    line = line.substr(first, line.find_last_not_of(" \t") - first + 1);
    if (line.starts_with('/')) folders.push_back(line);
    if (!line.starts_with("include ") || depth == 0) continue;
    glob_t found = {};
    if (::glob(line.substr(line.find_first_not_of(' ', 8)).c_str(), 0, nullptr, &found) == 0)
      for (std::size_t n = 0; n < found.gl_pathc; ++n)
        read_loader_conf(found.gl_pathv[n], depth - 1, folders);
    ::globfree(&found);
  }
}

std::vector<std::string> search_folders(const std::vector<std::string>& environment) {
  std::vector<std::string> folders;
  for (const std::string& line : environment) {
    if (!line.starts_with("LD_LIBRARY_PATH=")) continue;
    for (std::size_t at = line.find('=') + 1; at < line.size();) {
      const std::size_t end = std::min(line.find(':', at), line.size());
      folders.push_back(line.substr(at, end - at));
      at = end + 1;
    }
  }
  read_loader_conf("/etc/ld.so.conf", 4, folders);
  for (const char* folder :
       {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"})
    folders.emplace_back(folder);
  return folders;
}

std::pair<int, int> version_of(std::string_view libc) {
  int major = 0;
  int minor = 0;
  if (std::sscanf(std::string(libc).c_str(), "glibc %d.%d", &major, &minor) != 2) return {0, 0};
  return {major, minor};
}
}  // namespace

std::vector<std::string> Image::library_lines() const {
  std::vector<std::string> lines;
  for (const Library& library : libraries) lines.push_back(library.hash + " " + library.name);
  return lines;
}

bool is_system_library(std::string_view name) {
  // The last ones belong to the machine's GPU driver, or are larger than a job's files should be.
  static constexpr std::array<std::string_view, 16> kNames = {
      "ld-linux",  "libc.so",      "libm.so",         "libpthread.so", "libdl.so",   "librt.so",
      "libutil.so", "libresolv.so", "libnss_",        "libmvec.so",    "libanl.so",  "libnsl.so",
      "libthread_db.so", "libcuda.so", "libnvidia-", "libcublas"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [name](std::string_view n) { return name.starts_with(n); });
}

Result<Image> capture_image() {
  Image image;
  image.executable.reset(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!image.executable)
    return Error(ErrorCode::kUnavailable,
                 "this program's own file could not be opened: " + errno_text(errno));
  std::array<char, 4096> path{};
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  image.executable_path = n > 0 ? std::string(path.data(), static_cast<std::size_t>(n)) : "";
  image.executable_name = fs::path(image.executable_path).filename();
  if (const auto gone = image.executable_name.find(" (deleted)"); gone != std::string::npos)
    image.executable_name.resize(gone);
  auto hash = hash_of_fd(image.executable.get());
  if (!hash) return hash.error();
  image.executable_hash = std::move(hash).value();
  Loaded loaded;
  ::dl_iterate_phdr(note_library, &loaded);
  for (const std::string& file : loaded.paths) {
    const std::string name = fs::path(file).filename();
    if (is_system_library(name)) continue;
    const OwnedFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
      return Error(ErrorCode::kUnavailable,
                   "the library " + file + " could not be opened: " + errno_text(errno));
    auto library_hash = hash_of_fd(fd.get());
    if (!library_hash) return library_hash.error();
    image.libraries.push_back({name, file, std::move(library_hash).value()});
  }
  image.libc = libc_version();
  return image;
}

std::vector<std::string> missing_libraries(const std::vector<std::string>& lines,
                                           const std::vector<std::string>& environment) {
  const std::vector<std::string> folders = search_folders(environment);
  std::vector<std::string> missing;
  for (const std::string& line : lines) {
    const std::size_t blank = line.find(' ');
    const std::string name = blank == std::string::npos ? line : line.substr(blank + 1);
    const bool found =
        std::any_of(folders.begin(), folders.end(), [&name](const std::string& folder) {
          return ::access((folder + "/" + name).c_str(), R_OK) == 0;
        });
    if (!found) missing.push_back(name);
  }
  return missing;
}

std::string libc_version() { return std::string("glibc ") + ::gnu_get_libc_version(); }

std::string libc_mismatch(std::string_view theirs) {
  const auto need = version_of(theirs);
  const auto have = version_of(libc_version());
  if (need == std::pair{0, 0}) return "the program does not say which C library it was built for";
  if (need <= have) return "";
  return "the program runs with " + std::string(theirs) + ", this machine has " + libc_version() +
         ": build it on the older system";
}

}  // namespace rondo::store
