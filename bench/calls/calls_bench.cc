// Ray's microbenchmark cases over Rondo: the same work, the same names (small_value returns two
// bytes, actors reserve no CPU), on a private cluster. Each line: rounds of at least --seconds
// after a warm-up, mean and standard deviation, and beside it Ray 2.60 on a 2-core Zen 5 (its
// Python and C++ API), and where there is one the roof: bare ZeroMQ or memcpy, measured in this
// run.
//
// Run:  calls_bench [--seconds S] [--rounds N] [NAME...]     only the cases whose name contains a
// NAME

#include <rondo/runtime.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bare_zmq.h"

namespace {

using rondo::Actor;
using rondo::Ref;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// ---- what runs in workers -----------------------------------------------------------------------

std::string small_value() { return "ok"; }
std::size_t count_refs(const std::vector<Ref<int>>& refs) { return refs.size(); }
std::vector<std::string> many_results(int n) {
  return std::vector<std::string>(static_cast<std::size_t>(n), "ok");
}

struct Server {
  std::string small_value() { return "ok"; }
  std::string small_value_arg(int) { return "ok"; }
  int pid() { return ::getpid(); }
};

struct Caller {   // a client in a process of its own
  int calls(rondo::Context& context, const std::vector<Actor<Server>>& servers, int each) {
    std::vector<Ref<std::string>> answers;
    for (int i = 0; i < each; ++i)
      answers.push_back(servers[static_cast<std::size_t>(i) % servers.size()].call(
          &Server::small_value));
    for (const auto& answer : answers) context.get(answer);
    return each;
  }
  int calls_with_put(rondo::Context& context, const std::vector<Actor<Server>>& servers, int each) {
    const Ref<int> argument = context.put(0);
    std::vector<Ref<std::string>> answers;
    for (int i = 0; i < each; ++i)
      answers.push_back(servers[static_cast<std::size_t>(i) % servers.size()].call(
          &Server::small_value_arg, argument));
    for (const auto& answer : answers) context.get(answer);
    return each;
  }
  int tasks(rondo::Context& context, int each) {
    std::vector<Ref<std::string>> answers;
    for (int i = 0; i < each; ++i) answers.push_back(context.submit(small_value));
    for (const auto& answer : answers) context.get(answer);
    return each;
  }
};

void fill(rondo::Registry& registry) {
  registry.task("small_value", small_value).task("count_refs", count_refs);
  registry.task("many_results", many_results);
  registry.actor<Server>("Server")
      .method("small_value", &Server::small_value)
      .method("small_value_arg", &Server::small_value_arg)
      .method("pid", &Server::pid);
  registry.actor<Caller>("Caller")
      .method("calls", &Caller::calls)
      .method("calls_with_put", &Caller::calls_with_put)
      .method("tasks", &Caller::tasks);
}

// ---- measuring ----------------------------------------------------------------------------------

struct Options {
  double seconds = 2;
  int rounds = 4;
  std::vector<std::string> only;
};

struct Peers {              // figures of others for the same work; 0: none
  double ray_python = 0;
  double ray_cpp = 0;
  double roof = 0;
  const char* roof_name = "";
};

class Bench {
 public:
  explicit Bench(Options options) : options_(std::move(options)) {}

  [[nodiscard]] bool wants(const std::string& name) const {
    return options_.only.empty() ||
           std::any_of(options_.only.begin(), options_.only.end(), [&](const std::string& part) {
             return name.find(part) != std::string::npos;
           });
  }
  // `once` does `count` things; printed as things a second.
  void rate(const std::string& name, double count, const Peers& peers,
            const std::function<void()>& once) const {
    if (!wants(name)) return;
    for (const auto start = Clock::now(); seconds_since(start) < options_.seconds / 2;) once();
    std::vector<double> rates;
    for (int round = 0; round < options_.rounds; ++round) {
      const auto start = Clock::now();
      double done = 0;
      do {
        once();
        done += count;
      } while (seconds_since(start) < options_.seconds);
      rates.push_back(done / seconds_since(start));
    }
    double mean = 0;
    for (const double r : rates) mean += r / static_cast<double>(rates.size());
    double variance = 0;
    for (const double r : rates)
      variance += (r - mean) * (r - mean) / static_cast<double>(rates.size());
    std::printf("%-34s %12.*f /s  ± %4.1f %%", name.c_str(), mean < 100 ? 3 : 1, mean,
                100 * std::sqrt(variance) / mean);
    if (peers.ray_python > 0)
      std::printf("   Ray %9.1f (%.0fx)", peers.ray_python, mean / peers.ray_python);
    if (peers.ray_cpp > 0)
      std::printf("   its C++ %9.1f (%.0fx)", peers.ray_cpp, mean / peers.ray_cpp);
    if (peers.roof > 0) std::printf("   %.2f of %s", mean / peers.roof, peers.roof_name);
    std::printf("\n");
    std::fflush(stdout);
  }
  // Takes so long, once a round; printed as the median.
  void time(const std::string& name, const char* ray, const std::function<double()>& once) const {
    if (!wants(name)) return;
    std::vector<double> times;
    for (int round = 0; round < options_.rounds; ++round) times.push_back(once());
    std::nth_element(times.begin(), times.begin() + options_.rounds / 2, times.end());
    std::printf("%-34s %12.1f ms          Ray %s\n", name.c_str(),
                1e3 * times[static_cast<std::size_t>(options_.rounds / 2)], ray);
    std::fflush(stdout);
  }

 private:
  Options options_;
};

struct Roofs {
  double round_trips = 0;
  double calls = 0;
  double copy = 0;            // GiB/s
};

template <class T>
void get_all(rondo::Runtime& rt, const std::vector<Ref<T>>& refs) {
  for (const Ref<T>& ref : refs) rt.get(ref);
}

void bench_tasks(const Bench& bench, rondo::Runtime& rt) {
  bench.rate("tasks sync", 1, {655, 1024, 0, ""}, [&] { rt.get(rt.submit(small_value)); });
  bench.rate("tasks async, 1000 then get", 1000, {1909, 1498, 0, ""}, [&] {
    std::vector<Ref<std::string>> refs;
    for (int i = 0; i < 1000; ++i) refs.push_back(rt.submit(small_value));
    get_all(rt, refs);
  });
  if (bench.wants("4 clients' tasks")) {
    std::vector<Actor<Caller>> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(rt.spawn<Caller>({}));
    bench.rate("4 clients' tasks", 4000, {1979, 0, 0, ""}, [&] {
      std::vector<Ref<int>> done;
      for (const auto& client : clients) done.push_back(client.call(&Caller::tasks, 1000));
      get_all(rt, done);
    });
    for (const auto& client : clients) rt.kill(client);
  }
}

void bench_calls(const Bench& bench, rondo::Runtime& rt, const Roofs& roofs) {
  const Actor<Server> one = rt.spawn<Server>({});
  rt.get(one.call(&Server::small_value));
  bench.rate("1:1 sync", 1, {1564, 2242, roofs.round_trips, "bare ZeroMQ's round trips"},
             [&] { rt.get(one.call(&Server::small_value)); });
  bench.rate("1:1 async, 1000 then get", 1000,
             {5774, 8966, roofs.calls, "bare ZeroMQ, 64 calls a frame"}, [&] {
               std::vector<Ref<std::string>> refs;
               for (int i = 0; i < 1000; ++i) refs.push_back(one.call(&Server::small_value));
               get_all(rt, refs);
             });
  bench.rate("1:1 async, 1000 in flight", 100'000, {5774, 8966, roofs.calls, "the same"}, [&] {
    std::vector<Ref<std::string>> ring(1000);
    for (std::size_t i = 0; i < 100'000; ++i) {
      Ref<std::string>& place = ring[i % ring.size()];
      if (place) rt.get(place);
      place = one.call(&Server::small_value);
    }
    get_all(rt, ring);
  });
  std::vector<Actor<Server>> servers{one, rt.spawn<Server>({})};
  bench.rate("1:n, 2 actors x 5000", 10'000, {5867, 0, 0, ""}, [&] {
    std::vector<Ref<std::string>> refs;
    for (std::size_t i = 0; i < 10'000; ++i)
      refs.push_back(servers[i % 2].call(&Server::small_value));
    get_all(rt, refs);
  });
  std::vector<Actor<Caller>> clients;
  if (bench.wants("n:n")) for (int i = 0; i < 4; ++i) clients.push_back(rt.spawn<Caller>({}));
  bench.rate("n:n, 4 clients x 5000", 20'000, {5646, 0, 0, ""}, [&] {
    std::vector<Ref<int>> done;
    for (const auto& client : clients) done.push_back(client.call(&Caller::calls, servers, 5000));
    get_all(rt, done);
  });
  bench.rate("n:n with one put argument", 20'000, {1897, 0, 0, ""}, [&] {
    std::vector<Ref<int>> done;
    for (const auto& client : clients)
      done.push_back(client.call(&Caller::calls_with_put, servers, 5000));
    get_all(rt, done);
  });
  for (const auto& client : clients) rt.kill(client);
  for (const auto& server : servers) rt.kill(server);
}

void bench_objects(const Bench& bench, rondo::Runtime& rt, const Roofs& roofs) {
  const Ref<int> number = rt.put(7);
  bench.rate("get int", 1000, {13'125, 19'104, 0, ""}, [&] {
    for (int i = 0; i < 1000; ++i) rt.get(number);
  });
  bench.rate("put int", 1000, {2509, 2718, 0, ""}, [&] {
    for (int i = 0; i < 1000; ++i) rt.put(i);
  });
  if (bench.wants("put 800 MiB, GiB")) {
    const std::vector<double> large(100 << 20, 1.0);
    bench.rate("put 800 MiB, GiB", 800.0 / 1024, {1.3, 0.65, roofs.copy, "memcpy"},
               [&] { rt.put(large); });
  }
  std::vector<Ref<int>> ten_thousand;
  for (int i = 0; i < 10'000; ++i) ten_thousand.push_back(rt.put(i));
  const Ref<std::vector<Ref<int>>> holder = rt.put(ten_thousand);
  bench.rate("get of 10,000 refs", 1, {14.3, 0, 0, ""}, [&] { rt.get(holder); });
  bench.rate("wait 1,000 one by one", 1, {2.0, 0, 0, ""}, [&] {
    std::vector<Ref<std::string>> refs;
    for (int i = 0; i < 1000; ++i) refs.push_back(rt.submit(small_value));
    while (!refs.empty()) {
      const std::size_t first = rt.wait(refs, 1).front();
      refs.erase(refs.begin() + static_cast<std::ptrdiff_t>(first));
    }
  });
  bench.time("10,000 refs as an argument", "760 ms", [&] {
    const auto start = Clock::now();
    rt.get(rt.submit(count_refs, ten_thousand));
    return seconds_since(start);
  });
  bench.time("3,000 results", "84 ms", [&] {
    const auto start = Clock::now();
    rt.get(rt.submit(many_results, 3000));
    return seconds_since(start);
  });
  bench.time("100,000 queued tasks", "50,000 ms", [&] {
    const auto start = Clock::now();
    std::vector<Ref<std::string>> refs;
    for (int i = 0; i < 100'000; ++i) refs.push_back(rt.submit(small_value));
    get_all(rt, refs);
    return seconds_since(start);
  });
}

void bench_life(const Bench& bench, rondo::Runtime& rt) {
  bench.time("a new actor and its first call", "300 ms", [&] {
    const auto start = Clock::now();
    const Actor<Server> actor = rt.spawn<Server>({});
    rt.get(actor.call(&Server::small_value));
    const double took = seconds_since(start);
    rt.kill(actor);
    return took;
  });
  bench.time("kill to next answered call", "980 ms", [&] {
    const auto actor = rt.spawn<Server>({.max_restarts = 1, .max_task_retries = 1});
    const int pid = rt.get(actor.call(&Server::pid));
    const auto start = Clock::now();
    ::kill(pid, SIGKILL);
    rt.get(actor.call(&Server::small_value));
    const double took = seconds_since(start);
    rt.kill(actor);
    return took;
  });
}

double memcpy_gib_per_second() {
  const std::size_t bytes = std::size_t{400} << 20;
  const std::vector<char> from(bytes, 1);
  std::vector<char> to(bytes, 2);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const auto start = Clock::now();
    std::memcpy(to.data(), from.data(), bytes);
    best = std::max(best, static_cast<double>(bytes) / (1 << 30) / seconds_since(start));
  }
  return to[1] == 1 ? best : 0;
}

Options options_of(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--seconds" && i + 1 < argc) options.seconds = std::atof(argv[++i]);
    else if (word == "--rounds" && i + 1 < argc) options.rounds = std::max(1, std::atoi(argv[++i]));
    else options.only.push_back(word);
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) try {
  rondo::Registry registry;
  fill(registry);
  rondo::serve_if_worker(argc, argv, registry);   // what follows is the driver's alone

  Roofs roofs;
  roofs.round_trips = 1e9 / rondo::bench::bare_round_trip_ns(rondo::bench::Wire::kIpc, 64, 5'000);
  roofs.calls =
      rondo::bench::bare_calls_per_second(rondo::bench::Wire::kIpc, 64, 64, 1'000, 1'000'000);
  roofs.copy = memcpy_gib_per_second();
  std::printf("bare ZeroMQ over ipc: %.0f round trips/s, %.2f million calls/s; memcpy %.1f GiB/s\n",
              roofs.round_trips, roofs.calls / 1e6, roofs.copy);

  const auto start = Clock::now();
  rondo::Runtime rt(argc, argv, registry);
  rt.get(rt.submit(small_value));
  std::printf("%-34s %12.1f ms          Ray 4,200 ms\n", "cluster up and a first task",
              1e3 * seconds_since(start));
  const Bench bench(options_of(argc, argv));
  bench_tasks(bench, rt);
  bench_calls(bench, rt, roofs);
  bench_objects(bench, rt, roofs);
  bench_life(bench, rt);
} catch (const rondo::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
