#include "streams.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Item {
  std::function<void()> work;           // or
  cudaEvent_t record = nullptr;         // or
  cudaEvent_t wait = nullptr;
  std::uint64_t number = 0;             // of the event's record
  bool foreign = false;
};

std::recursive_mutex g_device;   // guards all below but what is thread_local

}  // namespace

struct EmulatedStream {
  std::deque<Item> line;
  unsigned share = 0;     // of the processors: see emulated::share
  bool at_work = false;   // foreign work, on a thread of its own
};
struct EmulatedEvent {
  std::uint64_t recorded = 0, reached = 0;
  cudaStream_t stream = nullptr;   // of the last record
  Clock::time_point at;
};
struct EmulatedGraph {
  std::vector<std::function<void()>> work;
};

namespace {

thread_local std::unique_ptr<EmulatedGraph> t_captured;
thread_local std::vector<cudaStream_t> t_streams;

std::set<cudaStream_t> g_streams;   // guarded by g_device

using Lock = std::unique_lock<std::recursive_mutex>;

// Does the first thing in line, or what it waits for. False: there is nothing to do here now.
bool advance(cudaStream_t s) {
  if (s->at_work || s->line.empty()) return false;
  Item& first = s->line.front();
  if (first.wait != nullptr && first.wait->reached < first.number)
    return advance(first.wait->stream);
  const Item item = std::move(first);
  s->line.pop_front();
  if (item.record != nullptr) item.record->reached = item.number, item.record->at = Clock::now();
  if (!item.work) return true;
  if (!item.foreign) return item.work(), true;
  s->at_work = true;   // it may wait for other threads: nobody waits for it but who must
  std::thread([s, work = item.work] {
    work();
    const Lock done(g_device);
    s->at_work = false;
  }).detach();
  return true;
}

void finish(Lock& lock, cudaStream_t s) {
  while (!s->line.empty() || s->at_work) {
    if (advance(s)) continue;
    lock.unlock();   // foreign work is under way
    std::this_thread::yield();
    lock.lock();
  }
}

void put(cudaStream_t s, Item item) {
  const Lock lock(g_device);
  s->line.push_back(std::move(item));
}

}  // namespace

bool emulated::is_capturing() { return t_captured != nullptr; }

void emulated::finish_streams_of_this_thread() {
  Lock lock(g_device);
  for (const cudaStream_t s : t_streams) finish(lock, s);
}

// A stream keeps what its largest grid took: the next one may come at any time.
void emulated::share(cudaStream_t s, unsigned blocks) {
  const Lock lock(g_device);
  s->share = std::max(s->share, blocks);
  unsigned all = 0;
  for (const cudaStream_t other : g_streams) all += other->share;
  if (all <= unsigned{kProcessors}) return;
  std::fprintf(stderr, "emulated GPU: %u blocks that wait for one another on %d processors\n", all,
               kProcessors);
  std::abort();
}

void emulated::submit(cudaStream_t s, std::function<void()> work) {
  if (t_captured != nullptr) {
    t_captured->work.push_back(std::move(work));
  } else {
    put(s, {.work = std::move(work)});
  }
}

void rondo_emulated_put(void* stream, void (*work)(void*), void* argument) {
  put(static_cast<cudaStream_t>(stream),
      {.work = [work, argument] { work(argument); }, .foreign = true});
}

void rondo_emulated_look(void* stream) {
  const Lock lock(g_device);
  (void)advance(static_cast<cudaStream_t>(stream));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  t_streams.push_back(*s = new EmulatedStream);
  const Lock lock(g_device);
  g_streams.insert(*s);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
  Lock lock(g_device);
  finish(lock, s);
  std::erase(t_streams, s);
  g_streams.erase(s);
  return delete s, cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  if (t_captured != nullptr) return cudaErrorInvalidValue;   // not inside a capture
  Lock lock(g_device);
  finish(lock, s);
  return emulated::broken();
}
// Each look lets one more piece of work run.
cudaError_t cudaStreamQuery(cudaStream_t s) {
  const Lock lock(g_device);
  if (s->line.empty() && !s->at_work) return emulated::broken();
  (void)advance(s);
  return cudaErrorNotReady;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
  if (emulated::told("deaf")) return cudaSuccess;
  if (t_captured != nullptr || e->recorded == 0) return cudaSuccess;
  return put(s, {.wait = e, .number = e->recorded}), cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  t_captured = std::make_unique<EmulatedGraph>();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  return *graph = t_captured.release(), cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* out, cudaGraph_t graph, unsigned long long) {
  return *out = new EmulatedGraph(*graph), cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t s) {
  for (const auto& work : graph->work) emulated::submit(s, work);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return delete graph, cudaSuccess; }

cudaError_t cudaEventCreate(cudaEvent_t* e) { return *e = new EmulatedEvent, cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { return cudaEventCreate(e); }
cudaError_t cudaEventDestroy(cudaEvent_t e) {   // a stream may still name it
  emulated::finish_streams_of_this_thread();
  return delete e, cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  if (t_captured != nullptr) return cudaSuccess;
  const Lock lock(g_device);
  e->stream = s;
  return put(s, {.record = e, .number = ++e->recorded}), cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  Lock lock(g_device);
  const std::uint64_t number = e->recorded;
  while (e->reached < number) {
    if (advance(e->stream)) continue;
    lock.unlock();
    std::this_thread::yield();
    lock.lock();
  }
  return emulated::broken();
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t a, cudaEvent_t b) {
  *ms = std::chrono::duration<float, std::milli>(b->at - a->at).count();
  return cudaSuccess;
}
