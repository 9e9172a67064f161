// What others need of a line of work: its stream and points in it; beside it pinned host memory and
// copies to that on a second stream; device memory that other processes of the machine open.

#include <cstring>
#include <utility>

#include <rondo/ops/cuda/device.h>
#include <rondo/ops/cuda/persistent.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {

Fault stream(Context* c, void** out) {
  RONDO_TRY(use(*c));   // other libraries take the calling thread's device
  *out = c->stream;
  return nullptr;
}

Fault idle(Context* c, int* out) {
  RONDO_TRY(use(*c));
  const cudaError_t error = cudaStreamQuery(c->stream);
  *out = error == cudaSuccess ? 1 : 0;
  return error == cudaErrorNotReady ? nullptr : check(error, "cudaStreamQuery");
}

// As NCCL tells devices apart.
Fault bus_id(Context* c, char* text, std::size_t bytes) {
  RONDO_NEED(bytes >= 16 && bytes < 4096);
  RONDO_CUDA(cudaDeviceGetPCIBusId(text, static_cast<int>(bytes), c->device));
  return nullptr;
}

Fault note(Context* c, std::uint64_t* number) {
  RONDO_TRY(use(*c));
  cudaEvent_t& event = c->noted[c->notes % c->noted.size()];
  if (event == nullptr) RONDO_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  RONDO_CUDA(cudaEventRecord(event, c->stream));
  *number = ++c->notes;
  return nullptr;
}

// An event that has gone on to a later point waits for that one.
Fault wait_for_note(Context* c, std::uint64_t number) {
  RONDO_NEED(number > 0 && number <= c->notes);
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaEventSynchronize(c->noted[(number - 1) % c->noted.size()]));
  return check_stalled(*c);
}

Fault allocate_host(Context* c, std::size_t bytes, void** out) {
  *out = nullptr;
  RONDO_TRY(use(*c));
  const cudaError_t error = cudaMallocHost(out, std::max<std::size_t>(bytes, 1));
  if (error != cudaErrorMemoryAllocation) return check(error, "cudaMallocHost");
  (void)cudaGetLastError();
  return fail("there is no host memory that a GPU can copy to: %zu MiB are wanted", bytes >> 20);
}

Fault release_host(Context* c, void* memory) {
  RONDO_TRY(use(*c));
  if (c->copies != nullptr) RONDO_CUDA(cudaStreamSynchronize(c->copies));
  RONDO_CUDA(cudaFreeHost(memory));
  return nullptr;
}

namespace {

// A line that only computes has none.
Fault open_copies(Context& c) {
  if (c.copies != nullptr) return nullptr;
  for (cudaEvent_t& event : c.copied)   // of a try that failed: those that are there
    if (event == nullptr) RONDO_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  RONDO_CUDA(cudaStreamCreateWithFlags(&c.copies, cudaStreamNonBlocking));
  return nullptr;
}

}  // namespace

Fault copy_out_later(Context* c, void* to, const void* from, std::size_t bytes) {
  RONDO_TRY(use(*c));
  RONDO_TRY(open_copies(*c));
  RONDO_CUDA(cudaEventRecord(c->order, c->stream));
  RONDO_CUDA(cudaStreamWaitEvent(c->copies, c->order, 0));
  RONDO_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, c->copies));
  RONDO_CUDA(cudaEventRecord(c->copied[c->copies_begun % c->copied.size()], c->copies));
  ++c->copies_begun;
  return nullptr;
}

Fault copies_begun(Context* c, std::uint64_t* number) {
  *number = c->copies_begun;
  return nullptr;
}

// An event that has gone on to a later copy waits for that one.
Fault wait_for_copy(Context* c, std::uint64_t number) {
  RONDO_NEED(number > 0 && number <= c->copies_begun);
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaEventSynchronize(c->copied[(number - 1) % c->copied.size()]));
  return check_stalled(*c);
}

Fault after_copies(Context* c) {
  RONDO_TRY(use(*c));
  if (c->copies_begun == 0) return nullptr;
  RONDO_CUDA(cudaStreamWaitEvent(c->stream, c->copied[(c->copies_begun - 1) % c->copied.size()],
                                 0));
  return nullptr;
}

namespace {

// Small allocations share a piece of memory of this size, and all of it would be exported.
constexpr std::size_t kExportBytes = std::size_t{2} << 20;
static_assert(sizeof(cudaIpcMemHandle_t) == sizeof(MemoryName::bytes));

}  // namespace

Fault allocate_named(Context* c, std::size_t bytes, void** out, MemoryName* name) {
  RONDO_TRY(allocate(c, (bytes + kExportBytes - 1) / kExportBytes * kExportBytes, out));
  cudaIpcMemHandle_t handle{};
  const cudaError_t error = cudaIpcGetMemHandle(&handle, *out);
  if (error != cudaSuccess) {
    (void)free_memory(*c, std::exchange(*out, nullptr));
    return check(error, "cudaIpcGetMemHandle");
  }
  std::memcpy(name->bytes, &handle, sizeof handle);
  return nullptr;
}

Fault open_named(Context* c, const MemoryName* name, void** out) {
  *out = nullptr;
  RONDO_TRY(use(*c));
  cudaIpcMemHandle_t handle{};
  std::memcpy(&handle, name->bytes, sizeof handle);
  RONDO_CUDA(cudaIpcOpenMemHandle(out, handle, cudaIpcMemLazyEnablePeerAccess));
  return nullptr;
}

Fault close_named(Context* c, void* memory) {
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaStreamSynchronize(c->stream));
  RONDO_CUDA(cudaIpcCloseMemHandle(memory));
  return nullptr;
}

}  // namespace rondo::ops::cuda
