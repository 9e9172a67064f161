// Device memory as host memory. What is exported becomes shared memory in place, so that another
// process can map it: its name is a file descriptor of this process.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "cuda_runtime.h"
#include "streams.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

namespace {

constexpr std::size_t kPage = 4096;

struct Block {
  std::size_t bytes = 0, mapped = 0;   // asked for; whole pages
  int file = -1;                       // of an exported one
};
struct Import {
  std::size_t mapped = 0;
  pid_t from = 0;
};
struct Name {   // inside a cudaIpcMemHandle_t
  char word[8];
  pid_t process;
  int file;
  std::size_t bytes;
};

std::mutex g_mutex;
std::map<char*, Block> g_blocks;     // guarded by g_mutex
std::map<char*, Import> g_imports;   // likewise
int g_contexts_allocations = 0;
bool g_broken = false;

std::size_t pages(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// The same bytes at the same place, as shared memory.
bool make_shared(char* at, Block& block) {
  const int file = memfd_create("emulated-gpu", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(block.mapped)) != 0) return false;
  if (pwrite(file, at, block.bytes, 0) != static_cast<ssize_t>(block.bytes)) return false;
  if (mmap(at, block.mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
    return false;
  block.file = file;
  return true;
}

}  // namespace

bool emulated::told(const char* what) {
  const char* text = std::getenv("RONDO_EMULATED_GPU");
  return text != nullptr && std::strcmp(text, what) == 0;
}

cudaError_t emulated::broken() {
  const std::lock_guard lock(g_mutex);
  return g_broken ? cudaErrorIllegalAddress : cudaSuccess;
}

// A device may do anything with memory whose owner is dead. This one breaks.
void emulated::touch(const void* at) {
  const std::lock_guard lock(g_mutex);
  auto next = g_imports.upper_bound(static_cast<char*>(const_cast<void*>(at)));
  if (next == g_imports.begin()) return;
  const auto& [begin, import] = *--next;
  if (static_cast<const char*>(at) >= begin + import.mapped) return;
  if (kill(import.from, 0) != 0 && errno == ESRCH) g_broken = true;
}

cudaError_t cudaMalloc(void** out, std::size_t bytes) {
  constexpr int kOfAContext = 2;   // "small": what a context itself needs fits, nothing besides
  if (emulated::told("full")) return cudaErrorMemoryAllocation;
  const std::lock_guard lock(g_mutex);
  if (emulated::told("small") && ++g_contexts_allocations > kOfAContext)
    return cudaErrorMemoryAllocation;
  const Block block{bytes, pages(bytes), -1};
  if (posix_memalign(out, kPage, block.mapped) != 0) return cudaErrorMemoryAllocation;
  std::memset(*out, 0xff, bytes);   // what nobody wrote reads as NaN
  ASAN_POISON_MEMORY_REGION(static_cast<char*>(*out) + bytes, block.mapped - bytes);
  g_blocks[static_cast<char*>(*out)] = block;
  return cudaSuccess;
}

cudaError_t cudaFree(void* p) {
  if (p == nullptr) return cudaSuccess;   // and no promise to wait for anybody
  const std::lock_guard lock(g_mutex);
  const auto found = g_blocks.find(static_cast<char*>(p));
  if (found == g_blocks.end()) return cudaErrorInvalidValue;
  const Block& block = found->second;
  ASAN_UNPOISON_MEMORY_REGION(p, block.mapped);
  if (block.file >= 0) {   // private again, for the allocator
    (void)mmap(p, block.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0);
    (void)close(block.file);
  }
  g_blocks.erase(found);
  std::free(p);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** out, std::size_t bytes) {
  if (emulated::told("full")) return cudaErrorMemoryAllocation;
  return posix_memalign(out, 64, bytes) == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* p) {
  emulated::finish_streams_of_this_thread();
  return std::free(p), cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* all) {
  *free_bytes = 0, *all = std::size_t{1} << 30;
  return cudaSuccess;
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* p) {
  if (emulated::told("no-ipc")) return cudaErrorNotSupported;
  emulated::finish_streams_of_this_thread();
  const std::lock_guard lock(g_mutex);
  const auto found = g_blocks.find(static_cast<char*>(p));
  if (found == g_blocks.end()) return cudaErrorInvalidValue;
  if (found->second.file < 0 && !make_shared(found->first, found->second))
    return cudaErrorMemoryAllocation;
  const Name name{"rondo-e", getpid(), found->second.file, found->second.mapped};
  static_assert(sizeof name <= sizeof handle->reserved);
  *handle = {};
  std::memcpy(handle->reserved, &name, sizeof name);
  return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void** out, cudaIpcMemHandle_t handle, unsigned) {
  if (emulated::told("no-ipc-open")) return cudaErrorNotSupported;
  Name name{};
  std::memcpy(&name, handle.reserved, sizeof name);
  if (std::strcmp(name.word, "rondo-e") != 0) return cudaErrorInvalidValue;
  if (name.process == getpid()) return cudaErrorInvalidValue;   // as the device's driver says
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/fd/%d", name.process, name.file);
  const int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return cudaErrorInvalidValue;   // its owner is dead
  void* at = mmap(nullptr, name.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  (void)close(file);
  if (at == MAP_FAILED) return cudaErrorMemoryAllocation;
  const std::lock_guard lock(g_mutex);
  g_imports[static_cast<char*>(*out = at)] = {name.bytes, name.process};
  return cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void* p) {
  emulated::finish_streams_of_this_thread();
  const std::lock_guard lock(g_mutex);
  const auto found = g_imports.find(static_cast<char*>(p));
  if (found == g_imports.end()) return cudaErrorInvalidValue;
  (void)munmap(p, found->second.mapped);
  g_imports.erase(found);
  return cudaSuccess;
}

// What is open now: for tests that count.
extern "C" int rondo_emulated_imports() {
  const std::lock_guard lock(g_mutex);
  return static_cast<int>(g_imports.size());
}
extern "C" int rondo_emulated_blocks() {
  const std::lock_guard lock(g_mutex);
  return static_cast<int>(g_blocks.size());
}
