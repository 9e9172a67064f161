#include <rondo/host/private_folder.h>

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <set>
#include <utility>

#include <rondo/base/owned_fd.h>

namespace rondo::host {

namespace {

struct Living {
  std::mutex mutex;
  std::set<std::string> folders;
};

Living& living() {
  static auto& all = *new Living;  // for ever: a signal may come while statics are destroyed
  return all;
}

}  // namespace

Result<std::unique_ptr<PrivateFolder>> PrivateFolder::make(const std::string& home) {
  const std::lock_guard lock(living().mutex);
  auto folder = store::ClusterFolder::enter_private(home);
  if (!folder) return folder.error();
  if (auto fine = folder.value().paths().check_sockets(); !fine) {
    folder.value().leave_and_remove();
    return fine.error();
  }
  living().folders.insert(folder.value().paths().folder);
  return std::unique_ptr<PrivateFolder>(new PrivateFolder(std::move(folder).value()));
}

PrivateFolder::~PrivateFolder() {
  folder_.leave_and_remove();
  const std::lock_guard lock(living().mutex);
  living().folders.erase(folder_.paths().folder);
}

void take_private_folders_along() {
  living().mutex.lock();  // for good
  // Threads that miss their files would complain until the process has ended.
  if (const OwnedFd nothing(::open("/dev/null", O_WRONLY | O_CLOEXEC)); nothing)
    static_cast<void>(::dup2(nothing.get(), STDERR_FILENO));
  for (const std::string& folder : living().folders) {
    const std::string away = folder + ".gone";
    if (std::rename(folder.c_str(), away.c_str()) != 0) continue;  // it has just been removed
    std::error_code failed;
    // The lock file goes last: what is left behind it is stale, and the next start removes it.
    for (const auto& entry : std::filesystem::directory_iterator(away, failed))
      if (entry.path().filename() != "lock") std::filesystem::remove_all(entry.path(), failed);
    std::filesystem::remove_all(away, failed);
  }
}

}  // namespace rondo::host
