#include <rondo/ops/gpu.h>

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include <rondo/ops/check.h>

namespace rondo::ops {
namespace {

constexpr const char* kDriver = "libcuda.so.1";

GpuOrReason without(const std::string& why) { return {nullptr, "GPU not used: " + why}; }

std::string last_dl_error() {
  const char* text = dlerror();
  return text == nullptr ? "unknown error" : text;
}

std::vector<std::filesystem::path> places() {
  if (const char* given = std::getenv("RONDO_CUDA_MODULE"); given != nullptr && *given != '\0')
    return {given};
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  return {program / cuda::kModuleName, program / ".." / "lib" / cuda::kModuleName,
          cuda::kModuleName};
}

// A module that is there but cannot be opened is the answer; the next place is tried only where
// there is no file.
void* open_module(std::string& why) {
  std::error_code ignored;
  for (const std::filesystem::path& place : places()) {
    if (place.has_parent_path() && !std::filesystem::exists(place, ignored)) {
      why = "there is no module at " + place.string();
      continue;
    }
    if (void* module = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL); module != nullptr)
      return module;
    why = "its module cannot be opened: " + last_dl_error();
    if (place.has_parent_path()) return nullptr;
  }
  return nullptr;
}

// The module that RONDO_CUDA_MODULE names decides for itself whether it needs a driver.
bool driver_is_there() {
  void* driver = dlopen(kDriver, RTLD_NOW | RTLD_LOCAL);
  if (driver != nullptr) dlclose(driver);
  return driver != nullptr;
}

}  // namespace

GpuOrReason open_gpu(int device) {
  const bool chosen = std::getenv("RONDO_CUDA_MODULE") != nullptr;
  if (!chosen && !driver_is_there())
    return without(std::string("no NVIDIA driver on this machine (") + kDriver + " is missing)");
  std::string why;
  void* module = open_module(why);
  if (module == nullptr) return without(why);
  const auto get = reinterpret_cast<cuda::GetEntries>(dlsym(module, cuda::kEntryName));
  if (get == nullptr) return without("its module has no table of entries: " + last_dl_error());
  const cuda::Entries* entries = get();
  if (entries == nullptr || entries->version != cuda::kVersion)
    return without("its module has version " +
                   std::to_string(entries == nullptr ? 0 : entries->version) + ", this program " +
                   std::to_string(cuda::kVersion));
  if (entries->bytes != sizeof(cuda::Entries))
    return without("its module's table has " + std::to_string(entries->bytes) +
                   " bytes, this program's " + std::to_string(sizeof(cuda::Entries)));
  cuda::Context* context = nullptr;
  if (const cuda::Fault fault = entries->open(device, &context); fault != nullptr)
    return without(fault);
  return {std::make_unique<Gpu>(*entries, context), ""};
}

Gpu::Gpu(const cuda::Entries& entries, cuda::Context* context)
    : entries_(entries), context_(context) {
  OPS_CHECK(context != nullptr);
}

Gpu::~Gpu() { entries_.close(context_); }

std::string Gpu::numeric_profile() const {
  std::array<char, 4096> text{};
  const cuda::Fault fault = entries_.profile(context_, text.data(), text.size());
  return fault == nullptr ? text.data() : std::string("unknown: ") + fault;
}

}  // namespace rondo::ops
