#include "fake_nccl.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "fake_nccl_group.h"

// librondo_fake_nccl.so: see fake_nccl.h. Sums run over the ranks in ascending order, which is not
// the fixed tree from four ranks on: a stand-in for NCCL's own order.

namespace {

constexpr int kSuccess = 0, kSystemError = 2, kInvalidArgument = 4, kInvalidUsage = 5;
constexpr int kRemoteError = 6;
constexpr int kInProgress = 7;
constexpr int kLooksInProgress = 3;   // how often a call that is done still says kInProgress

class Stream {
 public:
  Stream() : thread_([this] { run(); }) {}
  ~Stream() {
    put({});
    thread_.join();
  }
  void put(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    line_.push_back(std::move(work));
    ++open_;
    bell_.notify_one();
  }
  bool is_idle() {
    const std::lock_guard lock(mutex_);
    return open_ == 0;
  }

 private:
  void run() {
    while (true) {
      std::unique_lock lock(mutex_);
      bell_.wait(lock, [this] { return !line_.empty(); });
      const std::function<void()> work = std::move(line_.front());
      line_.pop_front();
      lock.unlock();
      if (!work) return;
      work();
      lock.lock();
      --open_;
    }
  }
  std::mutex mutex_;
  std::condition_variable bell_;
  std::deque<std::function<void()>> line_;
  int open_ = 0;
  std::thread thread_;
};

std::atomic<std::uint64_t> g_next_id{1};
std::atomic<int> g_communicators{0};
std::atomic<int> g_hanging{0};

struct Fault {
  std::string what;
  int rank = -1;
  int call = 0;
};

Fault read_fault() {
  const char* text = std::getenv("RONDO_FAKE_NCCL");
  if (text == nullptr) return {};
  Fault fault;
  std::string rest = text;
  const std::size_t one = rest.find(':');
  fault.what = rest.substr(0, one);
  if (one == std::string::npos) return fault;
  rest = rest.substr(one + 1);
  fault.rank = std::atoi(rest.c_str());
  const std::size_t two = rest.find(':');
  if (two != std::string::npos) fault.call = std::atoi(rest.c_str() + two + 1);
  return fault;
}

// The streams' own: of this library, or of the emulated device that RONDO_CUDA_MODULE names.
struct Streams {
  void (*put)(void* stream, void (*work)(void*), void* argument) = nullptr;
  void (*look)(void* stream) = nullptr;
  int (*device)() = nullptr;   // of the calling thread
};

Streams find_streams() {
  Streams streams;
  const char* module = std::getenv("RONDO_CUDA_MODULE");
  void* opened = module == nullptr ? nullptr : ::dlopen(module, RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) return streams;
  const auto find = [opened](auto& entry, const char* name) {
    entry = reinterpret_cast<std::remove_reference_t<decltype(entry)>>(::dlsym(opened, name));
  };
  find(streams.put, "rondo_emulated_put");
  find(streams.look, "rondo_emulated_look");
  find(streams.device, "rondo_emulated_device");
  return streams;
}

struct Comm {
  Comm(const std::string& id, int my_rank, int ranks)
      : group(id, my_rank, ranks, streams.device == nullptr ? -1 : streams.device()),
        rank(my_rank),
        size(ranks) {}
  Streams streams = find_streams();
  FakeGroup group;
  int rank = 0;
  int size = 0;
  Fault fault = read_fault();
  std::atomic<int> calls{0};
  std::atomic<int> error{kSuccess};
  std::atomic<int> looks{kLooksInProgress};
  std::atomic<int> at_work{0};   // pieces of work in some stream's line
  void* stream = nullptr;        // the last one

  [[nodiscard]] bool strikes(const char* what) const {
    return fault.rank == rank && fault.what == what;
  }
};

std::size_t element(int dtype) { return dtype == 8 ? 8 : 4; }

std::vector<char> letter_of(const void* data, std::size_t bytes) {
  const char* begin = static_cast<const char*>(data);
  return {begin, begin + bytes};
}

template <class T>
void reduce(std::vector<char>& sum, const std::vector<char>& with, bool is_sum) {
  for (std::size_t at = 0; at + sizeof(T) <= sum.size(); at += sizeof(T)) {
    T a, b;
    std::memcpy(&a, sum.data() + at, sizeof(T));
    std::memcpy(&b, with.data() + at, sizeof(T));
    a = is_sum ? a + b : (b > a ? b : a);
    std::memcpy(sum.data() + at, &a, sizeof(T));
  }
}

void put_in_line(const Streams& streams, void* stream, std::function<void()> work) {
  if (streams.put == nullptr) return static_cast<Stream*>(stream)->put(std::move(work));
  streams.put(
      stream,
      [](void* held) {
        const std::unique_ptr<std::function<void()>> owned(
            static_cast<std::function<void()>*>(held));
        (*owned)();
      },
      new std::function<void()>(std::move(work)));
}

struct GroupCall {
  Comm* comm = nullptr;
  void* stream = nullptr;
  std::vector<std::function<void()>> sends, rest;
};
thread_local int t_depth = 0;
thread_local GroupCall t_group;

void hang(Comm& comm) {
  ++g_hanging;
  comm.group.wait_for_end();
  --g_hanging;
}

// In line on the stream, with the fault that belongs here.
void put(Comm* comm, void* stream, std::function<void()> work) {
  const int call = ++comm->calls;
  comm->stream = stream;
  comm->looks = kLooksInProgress;
  ++comm->at_work;
  put_in_line(comm->streams, stream, [comm, call, work = std::move(work)] {
    if (comm->fault.call == call && comm->strikes("hang")) hang(*comm);
    else if (comm->fault.call == call && comm->strikes("error")) comm->error = kRemoteError;
    else if (!comm->group.is_ended()) work();
    --comm->at_work;
  });
}

int enter(Comm* comm, void* stream, bool is_send, std::function<void()> work) {
  if (comm == nullptr || stream == nullptr) return kInvalidArgument;
  if (t_depth == 0) {
    put(comm, stream, std::move(work));
    return kInProgress;
  }
  t_group.comm = comm;
  t_group.stream = stream;
  (is_send ? t_group.sends : t_group.rest).push_back(std::move(work));
  return kSuccess;
}

void end(Comm* comm) {
  comm->group.end();
  while (comm->at_work != 0) {
    if (comm->streams.look != nullptr) comm->streams.look(comm->stream);
    else std::this_thread::yield();
  }
  delete comm;
  --g_communicators;
}

}  // namespace

extern "C" {

struct FakeId {
  char bytes[128];
};

int ncclGetVersion(int* version) {
  const Fault fault = read_fault();
  *version = fault.what == "version" ? fault.rank : 22809;
  return kSuccess;
}

int ncclGetUniqueId(FakeId* id) {
  if (read_fault().what == "id-error") return kSystemError;
  const std::uint64_t number = g_next_id++;
  std::memset(id, 0, sizeof(*id));
  std::snprintf(id->bytes, sizeof(id->bytes), "%d-%llu", ::getpid(),
                static_cast<unsigned long long>(number));
  return kSuccess;
}

int ncclCommInitRankConfig(Comm** comm, int ranks, FakeId id, int rank, void* config) {
  std::size_t bytes = 0;
  std::uint32_t magic = 0;
  int blocking = 1;
  std::memcpy(&bytes, config, sizeof(bytes));
  std::memcpy(&magic, static_cast<char*>(config) + 8, sizeof(magic));
  std::memcpy(&blocking, static_cast<char*>(config) + 16, sizeof(blocking));
  if (magic != 0xcafebeefU || bytes < 48 || blocking != 0 || rank >= ranks) return kInvalidArgument;
  auto* made = new Comm(id.bytes, rank, ranks);
  if (made->strikes("init-error")) made->error = kSystemError;
  ++g_communicators;
  *comm = made;
  return kInProgress;
}

int ncclCommGetAsyncError(Comm* comm, int* error) {
  if (comm->group.shares_its_device()) comm->error = kInvalidUsage;
  *error = comm->error;
  if (*error == kSuccess &&
      (!comm->group.all_here() || comm->strikes("init-hang") || comm->looks-- > 0))
    *error = kInProgress;
  return kSuccess;
}

int ncclCommAbort(Comm* comm) {
  while (comm->strikes("abort-hang")) ::pause();
  end(comm);
  return kSuccess;
}
int ncclCommFinalize(Comm*) { return kSuccess; }
int ncclCommDestroy(Comm* comm) {
  end(comm);
  return kSuccess;
}

const char* ncclGetErrorString(int result) {
  switch (result) {
    case kSystemError: return "unhandled system error";
    case kInvalidArgument: return "invalid argument";
    case kInvalidUsage: return "invalid usage";
    case kRemoteError: return "remote process exited or there was a network error";
    default: return "an error";
  }
}
const char* ncclGetLastError(Comm*) { return "injected"; }

int ncclAllReduce(const void* in, void* out, std::size_t count, int dtype, int op, Comm* comm,
                  void* stream) {
  return enter(comm, stream, false, [=] {
    const std::size_t bytes = count * element(dtype);
    for (int to = 0; to < comm->size; ++to) comm->group.post(to, letter_of(in, bytes));
    std::vector<char> sum;
    for (int from = 0; from < comm->size; ++from) {
      const std::vector<char> letter = comm->group.fetch(from);
      if (letter.size() != bytes) return;   // aborted
      if (from == 0) sum = letter;
      else if (dtype == 8) reduce<double>(sum, letter, op == 0);
      else reduce<float>(sum, letter, op == 0);
    }
    std::memcpy(out, sum.data(), bytes);
  });
}

int ncclBroadcast(const void* in, void* out, std::size_t count, int dtype, int root, Comm* comm,
                  void* stream) {
  const std::size_t bytes = count * element(dtype);
  const bool is_root = comm->rank == root;
  return enter(comm, stream, is_root, [=] {
    if (is_root) {
      for (int to = 0; to < comm->size; ++to)
        if (to != root) comm->group.post(to, letter_of(in, bytes));
      std::memmove(out, in, bytes);
      return;
    }
    const std::vector<char> letter = comm->group.fetch(root);
    if (letter.size() == bytes) std::memcpy(out, letter.data(), bytes);
  });
}

int ncclSend(const void* in, std::size_t count, int dtype, int peer, Comm* comm, void* stream) {
  return enter(comm, stream, true,
               [=] { comm->group.post(peer, letter_of(in, count * element(dtype))); });
}

int ncclRecv(void* out, std::size_t count, int dtype, int peer, Comm* comm, void* stream) {
  return enter(comm, stream, false, [=] {
    const std::vector<char> letter = comm->group.fetch(peer);
    if (letter.size() == count * element(dtype)) std::memcpy(out, letter.data(), letter.size());
  });
}

int ncclGroupStart() {
  ++t_depth;
  return kSuccess;
}
int ncclGroupEnd() {
  if (--t_depth > 0 || t_group.comm == nullptr) return kSuccess;
  GroupCall group = std::exchange(t_group, {});
  put(group.comm, group.stream, [sends = std::move(group.sends), rest = std::move(group.rest)] {
    for (const auto& work : sends) work();
    for (const auto& work : rest) work();
  });
  return kInProgress;
}

void* rondo_fake_stream_open() { return new Stream; }
void rondo_fake_stream_close(void* stream) { delete static_cast<Stream*>(stream); }
void rondo_fake_stream_put(void* stream, void (*work)(void*), void* argument) {
  static_cast<Stream*>(stream)->put([=] { work(argument); });
}
int rondo_fake_stream_idle(void* stream) { return static_cast<Stream*>(stream)->is_idle() ? 1 : 0; }
int rondo_fake_hanging() { return g_hanging; }
int rondo_fake_communicators() { return g_communicators; }

}  // extern "C"
