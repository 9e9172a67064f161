#include "fake_nccl.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// librondo_fake_nccl.so: see fake_nccl.h. Sums run over the ranks in ascending order, which is not
// the fixed tree from four ranks on: a stand-in for NCCL's own order.

namespace {

constexpr int kSuccess = 0, kSystemError = 2, kInvalidArgument = 4, kRemoteError = 6;
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

// The ranks of one id: letters from one to another, in order.
struct Group {
  std::mutex mutex;
  std::condition_variable bell;
  std::map<std::pair<int, int>, std::deque<std::vector<char>>> letters;
  int joined = 0;
};

std::atomic<std::uint64_t> g_next_id{1};
std::atomic<int> g_communicators{0};
std::mutex g_groups_mutex;
std::map<std::uint64_t, std::shared_ptr<Group>> g_groups;   // guarded by g_groups_mutex

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

struct Comm {
  std::shared_ptr<Group> group;
  int rank = 0;
  int size = 0;
  Fault fault;
  std::atomic<int> calls{0};
  std::atomic<int> error{kSuccess};
  std::atomic<int> looks{kLooksInProgress};
  std::atomic<bool> aborted{false};
  std::atomic<int> at_work{0};   // pieces of work in some stream's line
  void* stream = nullptr;        // the last one

  bool strikes(const char* what) const { return fault.rank == rank && fault.what == what; }
  void post(int to, std::vector<char> letter) {
    const std::lock_guard lock(group->mutex);
    group->letters[{rank, to}].push_back(std::move(letter));
    group->bell.notify_all();
  }
  // Empty: aborted.
  std::vector<char> fetch(int from) {
    std::unique_lock lock(group->mutex);
    auto& box = group->letters[{from, rank}];
    group->bell.wait(lock, [&] { return !box.empty() || aborted; });
    if (aborted) return {};
    std::vector<char> letter = std::move(box.front());
    box.pop_front();
    return letter;
  }
  void hang() {
    std::unique_lock lock(group->mutex);
    group->bell.wait(lock, [&] { return aborted.load(); });
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

// The streams' own: of this library, unless the test has others.
std::atomic<FakePut> g_put{nullptr};
std::atomic<FakeLook> g_look{nullptr};

void put_in_line(void* stream, std::function<void()> work) {
  const FakePut put = g_put;
  if (put == nullptr) return static_cast<Stream*>(stream)->put(std::move(work));
  put(stream,
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

// In line on the stream, with the fault that belongs here.
void put(Comm* comm, void* stream, std::function<void()> work) {
  const int call = ++comm->calls;
  comm->stream = stream;
  comm->looks = kLooksInProgress;
  ++comm->at_work;
  put_in_line(stream, [comm, call, work = std::move(work)] {
    if (comm->fault.call == call && comm->strikes("hang")) comm->hang();
    else if (comm->fault.call == call && comm->strikes("error")) comm->error = kRemoteError;
    else if (!comm->aborted) work();
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
  {
    const std::lock_guard lock(comm->group->mutex);
    comm->aborted = true;
    comm->group->bell.notify_all();
  }
  while (comm->at_work != 0) {
    if (const FakeLook look = g_look; look != nullptr) look(comm->stream);
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
  std::memcpy(id->bytes, &number, sizeof(number));
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
  std::uint64_t number = 0;
  std::memcpy(&number, id.bytes, sizeof(number));
  const std::lock_guard lock(g_groups_mutex);
  std::shared_ptr<Group>& group = g_groups[number];
  if (!group) group = std::make_shared<Group>();
  auto* made = new Comm;
  made->group = group;
  made->rank = rank;
  made->size = ranks;
  made->fault = read_fault();
  if (made->strikes("init-error")) made->error = kSystemError;
  ++g_communicators;
  {
    const std::lock_guard inside(group->mutex);
    ++group->joined;
  }
  *comm = made;
  return kInProgress;
}

int ncclCommGetAsyncError(Comm* comm, int* error) {
  bool all_here = false;
  {
    const std::lock_guard lock(comm->group->mutex);
    all_here = comm->group->joined >= comm->size;
  }
  *error = comm->error;
  if (*error == kSuccess && (!all_here || comm->strikes("init-hang") || comm->looks-- > 0))
    *error = kInProgress;
  return kSuccess;
}

int ncclCommAbort(Comm* comm) {
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
    case kRemoteError: return "remote process exited or there was a network error";
    default: return "an error";
  }
}
const char* ncclGetLastError(Comm*) { return "injected"; }

int ncclAllReduce(const void* in, void* out, std::size_t count, int dtype, int op, Comm* comm,
                  void* stream) {
  return enter(comm, stream, false, [=] {
    const std::size_t bytes = count * element(dtype);
    for (int to = 0; to < comm->size; ++to) comm->post(to, letter_of(in, bytes));
    std::vector<char> sum;
    for (int from = 0; from < comm->size; ++from) {
      const std::vector<char> letter = comm->fetch(from);
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
        if (to != root) comm->post(to, letter_of(in, bytes));
      std::memmove(out, in, bytes);
      return;
    }
    const std::vector<char> letter = comm->fetch(root);
    if (letter.size() == bytes) std::memcpy(out, letter.data(), bytes);
  });
}

int ncclSend(const void* in, std::size_t count, int dtype, int peer, Comm* comm, void* stream) {
  return enter(comm, stream, true,
               [=] { comm->post(peer, letter_of(in, count * element(dtype))); });
}

int ncclRecv(void* out, std::size_t count, int dtype, int peer, Comm* comm, void* stream) {
  return enter(comm, stream, false, [=] {
    const std::vector<char> letter = comm->fetch(peer);
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
void rondo_fake_streams_are(FakePut put, FakeLook look) {
  g_put = put;
  g_look = look;
}
int rondo_fake_communicators() { return g_communicators; }

}  // extern "C"
