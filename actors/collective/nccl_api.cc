#include <rondo/actors/collective/nccl_api.h>

#include <dlfcn.h>

#include <cstdlib>

namespace rondo::collective {

namespace {

Error without(const std::string& why) {
  return {ErrorCode::kUnavailable, "NCCL not used: " + why};
}

std::string last_dl_error() {
  const char* text = ::dlerror();
  return text == nullptr ? "unknown error" : text;
}

std::string words(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

// Fills in entries until one is missing.
class Entries {
 public:
  explicit Entries(void* library) : library_(library) {}
  template <class Function>
  void find(Function& entry, const char* name) {
    entry = reinterpret_cast<Function>(::dlsym(library_, name));
    if (entry == nullptr && missing_.empty()) missing_ = name;
  }
  [[nodiscard]] const std::string& missing() const { return missing_; }

 private:
  void* library_;
  std::string missing_;
};

}  // namespace

std::string NcclApi::version_words() const { return words(version); }

Result<std::shared_ptr<const NcclApi>> NcclApi::find() {
  const char* given = std::getenv("RONDO_NCCL_LIBRARY");
  return load(given == nullptr || *given == '\0' ? "libnccl.so.2" : given);
}

Result<std::shared_ptr<const NcclApi>> NcclApi::load(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return without(last_dl_error());
  auto api = std::make_shared<NcclApi>();
  api->path = path;
  Entries entries(library);
  // The version first: another library's missing entry points say less.
  entries.find(api->get_version, "ncclGetVersion");
  if (!entries.missing().empty()) return without(path + " has no ncclGetVersion: it is not NCCL");
  if (api->get_version(&api->version) != nccl::kSuccess)
    return without(path + " does not say its version");
  if (api->version < nccl::kVersionMin || api->version >= nccl::kVersionEnd)
    return without(path + " is version " + words(api->version) + ", this program knows " +
                   words(nccl::kVersionMin) + " and later ones before " +
                   words(nccl::kVersionEnd));
  entries.find(api->get_unique_id, "ncclGetUniqueId");
  entries.find(api->comm_init, "ncclCommInitRankConfig");
  entries.find(api->comm_get_async_error, "ncclCommGetAsyncError");
  entries.find(api->comm_abort, "ncclCommAbort");
  entries.find(api->comm_finalize, "ncclCommFinalize");
  entries.find(api->comm_destroy, "ncclCommDestroy");
  entries.find(api->get_error_string, "ncclGetErrorString");
  entries.find(api->get_last_error, "ncclGetLastError");
  entries.find(api->all_reduce, "ncclAllReduce");
  entries.find(api->broadcast, "ncclBroadcast");
  entries.find(api->send, "ncclSend");
  entries.find(api->recv, "ncclRecv");
  entries.find(api->group_start, "ncclGroupStart");
  entries.find(api->group_end, "ncclGroupEnd");
  if (!entries.missing().empty())
    return without(path + " (version " + words(api->version) + ") has no " + entries.missing());
  return std::shared_ptr<const NcclApi>(std::move(api));
}

}  // namespace rondo::collective
