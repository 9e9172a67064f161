#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <rondo/actors/collective/shm_collective.h>
#include <rondo/actors/collective/zmq_collective.h>
#include <rondo/base/check.h>

// collective_bench [--rounds N] [--fresh]: two processes sum float32 of several sizes, and beside
// it one memcpy of the same bytes, in turns. One line a size and way: `way bytes microseconds`,
// the median over the rounds of a round's mean; bench/collective/compare.py reads them.
//
// shm: gradients and result in shared memory. shm-private: copied in and out. zmq: over ZeroMQ's
// ipc, as between machines. `--fresh`: every rank writes its gradients anew before each sum (not
// timed), so that they must cross between the cores; by default they stay as they are, as in the
// peers' own benchmarks. First comes `distance 0 microseconds`: a cache line's way to the
// other core and back, in the quietest moment.

namespace {

using namespace rondo;
using namespace rondo::collective;
using Clock = std::chrono::steady_clock;

const std::vector<std::size_t> kSizes = {1024,       4096,        65536,        262144,
                                         1048576,    4194304,     16777216,     67108864};

struct Options {
  int rounds = 7;
  bool fresh = false;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

int times_for(std::size_t bytes) {
  return static_cast<int>(std::clamp<std::size_t>((std::size_t{24} << 20) / bytes, 3, 2000));
}

// Microseconds a call.
template <class Call, class Prepare>
double timed(int times, Prepare prepare, Call call) {
  Clock::duration spent{};
  for (int i = 0; i < times; ++i) {
    prepare();
    const auto began = Clock::now();
    call();
    spent += Clock::now() - began;
  }
  return std::chrono::duration<double, std::micro>(spent).count() / times;
}

// One clock reading a round: a reading costs as much as a small sum.
template <class Call>
double timed_together(int times, Call call) {
  const auto began = Clock::now();
  for (int i = 0; i < times; ++i) call();
  return std::chrono::duration<double, std::micro>(Clock::now() - began).count() / times;
}

void must(const Result<void>& result) {
  if (result) return;
  std::fprintf(stderr, "collective_bench: %s\n", result.error().what());
  std::_Exit(1);
}

struct Buffers {
  ShmCollective::Shared<float> shared;
  std::vector<float> in, out, copy;
};

// Looks at a word of the other process until it has come to `wanted`; who has died never does.
void await(const std::atomic<int>& word, int wanted) {
  constexpr std::uint32_t kLooksPerTimeCheck = 1U << 24;   // some ten milliseconds
  constexpr std::chrono::seconds kMost{10};
  Clock::time_point end{};
  for (std::uint32_t look = 1; word.load(std::memory_order_acquire) < wanted; ++look) {
    if (look % kLooksPerTimeCheck != 0) continue;
    if (end == Clock::time_point{}) end = Clock::now() + kMost;
    else if (Clock::now() > end) must(Error(ErrorCode::kTimeout, "the other process went silent"));
  }
}

// Two processes hand one word to and fro: the least mean of some hundred ways.
void measure_distance(int rank, Collective& group, ShmCollective::Shared<float> words) {
  constexpr int kWays = 300;
  constexpr int kRounds = 300;
  static_assert(sizeof(std::atomic<int>) == sizeof(float));
  auto* ping = reinterpret_cast<std::atomic<int>*>(words.result.data());
  auto* pong = reinterpret_cast<std::atomic<int>*>(words.result.data() + 64);
  double least = 1e9;
  must(group.barrier());
  for (int round = 0; round < kRounds; ++round) {
    const auto began = Clock::now();
    for (int i = round * kWays + 1; i <= (round + 1) * kWays; ++i) {
      if (rank == 0) ping->store(i, std::memory_order_release);
      await(rank == 0 ? *pong : *ping, i);
      if (rank == 1) pong->store(i, std::memory_order_release);
    }
    const std::chrono::duration<double, std::micro> took = Clock::now() - began;
    least = std::min(least, took.count() / kWays);
  }
  must(group.barrier());
  if (rank == 0) std::printf("distance 0 %.3f\n", least);
}

void measure(Collective& group, Collective& distant, Buffers& at, std::size_t bytes,
             const Options& options, std::map<std::string, std::vector<double>>& times) {
  const std::size_t count = bytes / sizeof(float);
  const int n = times_for(bytes);
  const auto measure_one = [&](const char* way, Collective& by, std::span<float> in,
                               std::span<float> out) {
    const auto call = [&] {
      must(by.all_reduce(std::span<const float>(in.first(count)), out.first(count)));
    };
    const auto write = [&] {
      std::fill_n(in.begin(), count, 1.5F);
      must(group.barrier());
    };
    call();
    must(group.barrier());
    times[way].push_back(options.fresh ? timed(n, write, call) : timed_together(n, call));
  };
  // The copy runs on one rank while the other waits, asleep: the machine is as quiet as it gets.
  if (group.member().rank == 0) {
    const auto copy = [&] {
      std::memcpy(at.copy.data(), at.in.data(), bytes);
      asm volatile("" : : "r"(at.copy.data()) : "memory");
    };
    copy();
    times["memcpy"].push_back(timed_together(n, copy));
  }
  must(group.barrier());
  measure_one("shm", group, at.shared.mine, at.shared.result);
  measure_one("shm-private", group, at.in, at.out);
  measure_one("zmq", distant, at.in, at.out);
}

std::unique_ptr<ZmqCollective> join_distant(int rank, const std::string& folder) {
  const std::vector<std::string> addresses = {"ipc://" + folder + "/0", "ipc://" + folder + "/1"};
  auto post = ZmqPost::bind(addresses[static_cast<std::size_t>(rank)]);
  if (!post) must(post.error());
  auto joined = ZmqCollective::join(std::move(post).value(), {rank, 2, Incarnation{1}},
                                    {.key = 1, .addresses = addresses});
  if (!joined) must(joined.error());
  return std::move(joined).value();
}

int run_rank(int rank, ShmHandle handle, const std::string& folder, std::size_t arena,
             const Options& options) {
  auto joined = ShmCollective::join({rank, 2, Incarnation{1}}, {handle, arena});
  if (!joined) must(joined.error());
  Collective& group = *joined.value();
  const auto distant = join_distant(rank, folder);
  const std::size_t most = kSizes.back() / sizeof(float);
  auto shared = joined.value()->allocate<float>(most);
  if (!shared) must(shared.error());
  Buffers at{shared.value(), std::vector<float>(most, 1.0F), std::vector<float>(most),
             std::vector<float>(most)};
  measure_distance(rank, group, at.shared);
  std::fill(at.shared.mine.begin(), at.shared.mine.end(), 1.0F);
  for (const std::size_t bytes : kSizes) {
    std::map<std::string, std::vector<double>> times;
    for (int round = 0; round < options.rounds; ++round)
      measure(group, *distant, at, bytes, options, times);
    if (rank != 0) continue;
    for (const auto& [way, values] : times)
      std::printf("%s %zu %.3f\n", way.c_str(), bytes, median(values));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--fresh") options.fresh = true;
    else if (flag == "--rounds" && i + 1 < argc) options.rounds = std::atoi(argv[++i]);
    else {
      std::fprintf(stderr, "usage: collective_bench [--rounds N] [--fresh]\n");
      return 2;
    }
  }
  const std::size_t arena = kSizes.back();
  auto fd = ShmSegment::make({2, Incarnation{1}, arena});
  if (!fd) must(fd.error());
  const ShmHandle handle{::getpid(), fd.value().get()};
  std::string folder = std::filesystem::temp_directory_path() / "rondo-bench-XXXXXX";
  RONDO_CHECK(::mkdtemp(folder.data()) != nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) std::_Exit(1);   // it ended before
    std::_Exit(run_rank(1, handle, folder, arena, options));
  }
  const int code = run_rank(0, handle, folder, arena, options);
  int status = 0;
  ::waitpid(child, &status, 0);
  std::filesystem::remove_all(folder);
  return code != 0 || status != 0 ? 1 : 0;
}
