// The module's table, devices, memory and time. Kernels are in the other files.

#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include <rondo/ops/cuda/device.h>
#include <rondo/ops/cuda/persistent.h>
#include <rondo/ops/cuda/table.h>

namespace rondo::ops::cuda {

Fault fail(const char* format, ...) {
  thread_local char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

Fault check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return nullptr;
  (void)cudaGetLastError();   // an error that does not stick is not said twice
  return fail("the GPU failed: %s (%s) in %.120s", cudaGetErrorString(error),
              cudaGetErrorName(error), what);
}

Fault use(Context& c) {
  RONDO_CUDA(cudaSetDevice(c.device));
  return nullptr;
}

namespace {

// All that the context's lines and their copies have been given.
Fault wait_for_lines(Context& c) {
  const auto wait = [](const Context& line) -> Fault {
    RONDO_CUDA(cudaStreamSynchronize(line.stream));
    if (line.copies != nullptr) RONDO_CUDA(cudaStreamSynchronize(line.copies));
    return nullptr;
  };
  RONDO_TRY(wait(c.top()));
  for (const Context* line : c.top().beside) RONDO_TRY(wait(*line));
  return nullptr;
}

}  // namespace

// A device that is broken waits for nothing: the memory goes back all the same.
Fault free_memory(Context& c, void* memory) {
  if (memory == nullptr) return nullptr;
  RONDO_TRY(use(c));
  const Fault fault = wait_for_lines(c);
  const cudaError_t freed = cudaFree(memory);
  return fault != nullptr ? fault : check(freed, "cudaFree");
}

Fault scratch(Context& c, std::size_t bytes, void** out) {
  if (c.scratch_bytes < bytes) {
    void* larger = nullptr;
    RONDO_TRY(allocate(&c, bytes, &larger));
    void* const smaller = std::exchange(c.scratch, larger);
    c.scratch_bytes = bytes;
    RONDO_TRY(free_memory(c, smaller));
  }
  *out = c.scratch;
  return nullptr;
}

namespace {

constexpr int kMajorMin = 8;   // bf16 and TF32 came with compute capability 8.0

Fault device_count(int* count) {
  *count = 0;
  const cudaError_t error = cudaGetDeviceCount(count);
  if (error == cudaErrorNoDevice) return fail("no GPU is visible to the driver");
  if (error == cudaErrorInsufficientDriver) {
    int version = 0;
    (void)cudaDriverGetVersion(&version);
    if (version == 0) return fail("no NVIDIA driver is loaded");
    return fail("the NVIDIA driver is too old: it knows CUDA %d.%d, the module needs %d.%d",
                version / 1000, version % 1000 / 10, CUDART_VERSION / 1000,
                CUDART_VERSION % 1000 / 10);
  }
  return check(error, "looking for devices");
}

Fault open_parts(Context& c) {
  RONDO_CUDA(cudaStreamCreateWithFlags(&c.stream, cudaStreamNonBlocking));
  for (cudaEvent_t& mark : c.marks) RONDO_CUDA(cudaEventCreate(&mark));
  RONDO_CUDA(cudaEventCreateWithFlags(&c.order, cudaEventDisableTiming));
  if (const cublasStatus_t status = cublasLtCreate(&c.lt); status != CUBLAS_STATUS_SUCCESS)
    return fail("cuBLASLt does not start: %s", cublasLtGetStatusName(status));
  RONDO_TRY(allocate(&c, kWorkspaceBytes, &c.workspace));
  void* partials = nullptr;
  RONDO_TRY(allocate(&c, kPartialsMax * sizeof(double), &partials));
  c.partials = static_cast<double*>(partials);
  return nullptr;
}

void close(Context* c) {
  if (c == nullptr) return;
  (void)cudaSetDevice(c->device);
  for (void* memory : {c->workspace, static_cast<void*>(c->partials), c->scratch})
    (void)free_memory(*c, memory);
  if (c->main != nullptr) c->main->beside.erase(c);
  if (c->stalled != nullptr) (void)cudaFreeHost(c->stalled);
  if (c->lt != nullptr) (void)cublasLtDestroy(c->lt);
  for (const auto* events : {&c->copied, &c->noted})
    for (cudaEvent_t event : *events)
      if (event != nullptr) (void)cudaEventDestroy(event);
  for (cudaEvent_t event : {c->marks[0], c->marks[1], c->order})
    if (event != nullptr) (void)cudaEventDestroy(event);
  for (cudaStream_t line : {c->stream, c->copies})
    if (line != nullptr) (void)cudaStreamDestroy(line);
  delete c;
}

Fault read_patience(std::uint64_t* ns) {
  constexpr std::uint64_t kSeconds = 10, kSecondsMax = 1'000'000;
  const char* told = std::getenv("RONDO_GPU_PATIENCE");
  std::uint64_t seconds = kSeconds;
  const char* end = told == nullptr ? nullptr : told + std::strlen(told);
  if (told != nullptr)
    if (const auto read = std::from_chars(told, end, seconds);
        read.ec != std::errc() || read.ptr != end || seconds == 0 || seconds > kSecondsMax)
      return fail("RONDO_GPU_PATIENCE is a number of seconds from 1 to 1000000, not '%.40s'", told);
  *ns = seconds * kNsOfASecond;
  return nullptr;
}

Fault open(int device, Context** out) {
  *out = nullptr;
  int count = 0;
  RONDO_TRY(device_count(&count));
  if (device < 0 || device >= count) return fail("there is no GPU %d, only %d", device, count);
  cudaDeviceProp properties{};
  RONDO_CUDA(cudaGetDeviceProperties(&properties, device));
  if (properties.major < kMajorMin)
    return fail("%s is too old: compute capability %d.%d, %d.0 is needed", properties.name,
                properties.major, properties.minor, kMajorMin);
  std::unique_ptr<Context, void (*)(Context*)> c(new Context{.device = device}, close);
  c->processors = properties.multiProcessorCount;
  RONDO_TRY(read_patience(&c->patience_ns));
  RONDO_TRY(use(*c));
  RONDO_TRY(open_parts(*c));
  *out = c.release();
  return nullptr;
}

Fault open_beside(Context* c, Context** out) {
  RONDO_TRY(open(c->device, out));
  (*out)->main = &c->top();
  c->top().beside.insert(*out);
  return nullptr;
}

Fault processors(Context* c, std::int32_t* count) {
  *count = c->processors;
  return nullptr;
}

Fault profile(Context* c, char* text, std::size_t bytes) {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0;
  RONDO_CUDA(cudaGetDeviceProperties(&properties, c->device));
  RONDO_CUDA(cudaDriverGetVersion(&driver));
  RONDO_CUDA(cudaRuntimeGetVersion(&runtime));
  std::string recurrences;
  for (const std::string& one : c->top().recurrences) recurrences += "; " + one;
  std::snprintf(text, bytes, "cuda-%u: %s (sm_%d%d, %d processors), driver %d, runtime %d, "
                "cuBLASLt %zu, its first algorithm with %zu MiB of workspace%s",
                kVersion, properties.name, properties.major, properties.minor,
                properties.multiProcessorCount, driver, runtime, cublasLtGetVersion(),
                kWorkspaceBytes >> 20, recurrences.c_str());
  return nullptr;
}

Fault wait(Context* c) {
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaStreamSynchronize(c->stream));
  return check_stalled(*c);
}

Fault wait_for(Context* c, Context* other) {
  RONDO_NEED(c->device == other->device);
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaEventRecord(other->order, other->stream));
  RONDO_CUDA(cudaStreamWaitEvent(c->stream, other->order, 0));
  return nullptr;
}

Fault mark(Context* c, int which) {
  RONDO_NEED(which == 0 || which == 1);
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaEventRecord(c->marks[which], c->stream));
  return nullptr;
}

Fault between_marks(Context* c, double* seconds) {
  float milliseconds = 0;
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaEventSynchronize(c->marks[1]));
  RONDO_CUDA(cudaEventElapsedTime(&milliseconds, c->marks[0], c->marks[1]));
  *seconds = static_cast<double>(milliseconds) * 1e-3;
  return nullptr;
}

Fault release(Context* c, void* memory) {
  return free_memory(*c, memory);
}

Fault copy_in(Context* c, void* to, const void* from, std::size_t bytes) {
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, c->stream));
  RONDO_CUDA(cudaStreamSynchronize(c->stream));   // the host's bytes may be reused now
  return nullptr;
}

Fault copy_out(Context* c, void* to, const void* from, std::size_t bytes) {
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, c->stream));
  RONDO_CUDA(cudaStreamSynchronize(c->stream));
  return check_stalled(*c);
}

Fault copy(Context* c, void* to, const void* from, std::size_t bytes) {
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, c->stream));
  return nullptr;
}

Fault fill(Context* c, void* to, int byte, std::size_t bytes) {
  RONDO_TRY(use(*c));
  RONDO_CUDA(cudaMemsetAsync(to, byte, bytes, c->stream));
  return nullptr;
}

Fault product(Context* c, const Product* p) {
  RONDO_TRY(use(*c));
  return multiply(*c, *p);
}

Fault column_sums(Context* c, const float* x, Size rows, Size columns, float* sums, int add_to) {
  RONDO_NEED(rows > 0 && columns > 0);
  RONDO_TRY(use(*c));
  return sum_columns(*c, {x, rows, columns, columns, false}, sums, add_to);
}

Fault embedding_backward(Context* c, const Embedding* e) {
  RONDO_NEED(e->words > 0 && e->width > 0 && e->count >= 0);
  RONDO_TRY(use(*c));
  return scatter_add(*c, {{e->from, e->count, e->width, e->width, false}, e->ids, e->words, e->to,
                          e->add});
}


const Entries kEntries = {
    .version = kVersion, .bytes = sizeof(Entries), .device_count = device_count, .open = open,
    .close = close, .profile = profile, .bus_id = bus_id, .wait = wait, .wait_for = wait_for,
    .open_beside = open_beside, .processors = processors, .mark = mark,
    .between_marks = between_marks, .note = note, .wait_for_note = wait_for_note,
    .allocate = allocate, .release = release, .copy_in = copy_in,
    .copy_out = copy_out, .copy = copy, .fill = fill, .stream = stream, .idle = idle,
    .allocate_host = allocate_host, .release_host = release_host,
    .copy_out_later = copy_out_later, .copies_begun = copies_begun,
    .wait_for_copy = wait_for_copy, .after_copies = after_copies,
    .allocate_named = allocate_named, .open_named = open_named, .close_named = close_named,
    .add = add, .combine = combine, .scale = scale,
    .clip_value = clip_value, .squared_norm = squared_norm, .clip_norm = clip_norm,
    .not_finite = not_finite, .to_bf16 = to_bf16, .copy_columns = copy_columns,
    .transpose = transpose_rows,
    .column_sums = column_sums,
    .optimizer_step = optimizer_step, .cross_entropy = cross_entropy,
    .squared_error = squared_error, .softmax = softmax, .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward, .dropout = dropout, .embedding = embedding,
    .embedding_backward = embedding_backward, .product = product, .add_bias = add_bias,
    .scan = scan, .scan_backward = scan_backward, .layer_open = layer_open,
    .layer_plan = layer_plan, .layer_close = layer_close, .layer_pack = layer_pack,
    .activations_open = activations_open, .activations_close = activations_close,
    .activations_y = activations_y, .layer_forward = layer_forward,
    .layer_backward = layer_backward};

}  // namespace

Fault allocate(Context* c, std::size_t bytes, void** out) {
  *out = nullptr;
  RONDO_TRY(use(*c));
  const cudaError_t error = cudaMalloc(out, std::max<std::size_t>(bytes, 1));
  if (error != cudaErrorMemoryAllocation) return check(error, "cudaMalloc");
  (void)cudaGetLastError();
  std::size_t free_bytes = 0, all = 0;
  RONDO_CUDA(cudaMemGetInfo(&free_bytes, &all));
  return fail("the GPU is full: %zu MiB are wanted, %zu of %zu MiB are free", bytes >> 20,
              free_bytes >> 20, all >> 20);
}

}  // namespace rondo::ops::cuda

extern "C" __attribute__((visibility("default"))) const rondo::ops::cuda::Entries*
rondo_ops_cuda_entries() {
  return &rondo::ops::cuda::kEntries;
}
