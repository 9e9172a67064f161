#include "bare_zmq.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

namespace rondo::bench {
namespace {

using Clock = std::chrono::steady_clock;

void must(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
  std::_Exit(5);
}

struct Pair {  // one process's two sockets
  Pair(const std::string& listen, const std::string& to) : context(zmq_ctx_new()) {
    in = zmq_socket(context, ZMQ_PULL);
    out = zmq_socket(context, ZMQ_PUSH);
    const int zero = 0;
    zmq_setsockopt(out, ZMQ_LINGER, &zero, sizeof(zero));
    zmq_setsockopt(out, ZMQ_SNDHWM, &zero, sizeof(zero));
    must(zmq_bind(in, listen.c_str()) == 0, "zmq_bind");
    must(zmq_connect(out, to.c_str()) == 0, "zmq_connect");
  }
  ~Pair() {
    zmq_close(in);
    zmq_close(out);
    zmq_ctx_term(context);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  void* context;
  void* in = nullptr;
  void* out = nullptr;
};

// A child that sends every message back, and the parent's sockets to it.
class Echoed {
 public:
  Echoed(Wire wire, std::size_t bytes_max) {
    char folder[] = "/tmp/rondo-bench-XXXXXX";
    must(mkdtemp(folder) != nullptr, "mkdtemp");
    folder_ = folder;
    const int port = 20'000 + getpid() % 20'000;
    const auto at = [&](int n) {
      return wire == Wire::kIpc ? "ipc://" + folder_ + "/" + std::to_string(n)
                                : "tcp://127.0.0.1:" + std::to_string(port + n);
    };
    child_ = fork();
    if (child_ == 0) {
      Pair pair(at(1), at(0));
      std::vector<char> buffer(bytes_max);
      while (true) {
        const int size = zmq_recv(pair.in, buffer.data(), buffer.size(), 0);
        must(size >= 0, "zmq_recv");
        must(zmq_send(pair.out, buffer.data(), static_cast<std::size_t>(size), 0) >= 0, "zmq_send");
      }
    }
    pair_ = new Pair(at(0), at(1));
  }
  ~Echoed() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    delete pair_;
    for (const char* name : {"/0", "/1"}) unlink((folder_ + name).c_str());
    rmdir(folder_.c_str());
  }
  Echoed(const Echoed&) = delete;
  Echoed& operator=(const Echoed&) = delete;

  void send(std::vector<char>& message) {
    must(zmq_send(pair_->out, message.data(), message.size(), 0) >= 0, "zmq_send");
  }
  void receive(std::vector<char>& message) {
    must(zmq_recv(pair_->in, message.data(), message.size(), 0) >= 0, "zmq_recv");
  }

 private:
  std::string folder_;
  pid_t child_ = 0;
  Pair* pair_ = nullptr;
};

}  // namespace

double bare_round_trip_ns(Wire wire, std::size_t message_bytes, int rounds) {
  Echoed other(wire, message_bytes);
  std::vector<char> message(message_bytes, 'x');
  std::vector<double> times;
  for (int i = -rounds / 10; i < rounds; ++i) {
    const auto start = Clock::now();
    other.send(message);
    other.receive(message);
    const std::chrono::duration<double, std::nano> took = Clock::now() - start;
    if (i >= 0) times.push_back(took.count());
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<std::size_t>(rounds / 2)];
}

double bare_calls_per_second(Wire wire, std::size_t call_bytes, int calls_per_frame, int in_flight,
                             int calls) {
  std::vector<char> message(call_bytes * static_cast<std::size_t>(calls_per_frame), 'x');
  Echoed other(wire, message.size());
  const int frames = std::max(1, calls / calls_per_frame);
  const int ahead = std::max(1, in_flight / calls_per_frame);
  other.send(message);  // connected
  other.receive(message);
  const auto start = Clock::now();
  for (int sent = 0, back = 0; back < frames;) {
    for (; sent < frames && sent - back < ahead; ++sent) other.send(message);
    other.receive(message);
    ++back;
  }
  const double s = std::chrono::duration<double>(Clock::now() - start).count();
  return frames * static_cast<double>(calls_per_frame) / s;
}

}  // namespace rondo::bench
