// What a call costs below the runtime, part by part: records, station, transport; beside the roof,
// which is bare ZeroMQ in the same run. Run:  bench_net

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <csignal>
#include <ctime>
#include <sys/wait.h>
#include <unistd.h>

#include <rondo/net/zmq_transport.h>
#include <rondo/wire/codec.h>
#include <rondo/wire/record.h>
#include <rondo/wire/station.h>

#include "bare_zmq.h"

namespace rondo::bench {
namespace {

constexpr int kCalls = 1'000'000;

TimeNs now() {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return {t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

// Nanoseconds a unit; the median of five.
double measure(int units, const std::function<void()>& work) {
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) {
    const TimeNs start = now();
    work();
    times.push_back(static_cast<double>((now() - start).ns) / units);
  }
  std::sort(times.begin(), times.end());
  return times[2];
}

void row(const char* what, double ns) {
  std::printf("%-58s %8.1f ns  %7.2f million/s\n", what, ns, 1e3 / ns);
}

volatile std::uint64_t sink = 0;

void bench_records() {
  const Bytes payload(16);
  Bytes out;
  row("record: write a call of 16 bytes", measure(kCalls, [&] {
        out.clear();
        for (int i = 0; i < kCalls; ++i) wire::RecordWriter(out).call({.number = 1}, payload, {});
      }));
  row("record: validate and read it", measure(kCalls, [&] {
        wire::RecordReader reader(out);
        std::uint64_t sum = 0;
        while (reader.next() == wire::RecordReader::Next::kCall)
          sum += reader.call().number + static_cast<std::uint64_t>(reader.payload()[0]);
        sink = sum;
      }));
  const core::Peer worker{ProcessId{3}, "ipc:///run/p"};
  const core::Message message = core::LeaseGrant{RequestId{1}, LeaseId{2}, worker, NodeId{4}};
  row("codec: encode a LeaseGrant", measure(100'000, [&] {
        for (int i = 0; i < 100'000; ++i) {
          out.clear();
          wire::encode(message, out);
        }
      }));
  row("codec: decode it", measure(100'000, [&] {
        for (int i = 0; i < 100'000; ++i) sink = wire::decode(out).value().index();
      }));
}

// Answers every call, counts every reply.
struct Echo final : wire::Handler {
  explicit Echo(core::Peer self) : station({.self = std::move(self), .token = {}}) {}
  wire::Station station;
  net::ZmqTransport* transport = nullptr;
  std::uint64_t replies = 0;
  std::vector<wire::OutFrame> out;
  std::vector<SharedBytes> frames;

  void on_peer(const core::Peer& peer, NodeId) override {
    station.learn(peer);
    if (transport != nullptr) transport->learn(peer);
  }
  void on_message(ProcessId, core::Message&&) override {}
  void on_call(ProcessId from, const core::CallHeader& header, ByteView payload,
               std::span<const core::RefEntry>, const SharedBytes&) override {
    station.reply(from, {.slot = header.slot}, payload, {});
  }
  void on_reply(ProcessId, const core::ReplyHeader&, ByteView, std::span<const core::RefEntry>,
                const SharedBytes&) override {
    ++replies;
  }
  void turn(DurationNs timeout) {
    const TimeNs at = now();
    station.on_deadline(at);
    station.flush(at, out);
    for (wire::OutFrame& f : out) transport->send(f.to, std::move(f.frame));
    out.clear();
    transport->poll(timeout, frames);
    for (const SharedBytes& frame : frames) station.on_frame(at, frame, *this);
    frames.clear();
  }
};

// Both stations on one core, no transport: call, reply, links and acknowledgements.
void bench_stations() {
  Echo a({ProcessId{1}, "ipc:///a"});
  Echo b({ProcessId{2}, "ipc:///b"});
  a.station.learn({ProcessId{2}, "ipc:///b"});
  const Bytes payload(16);
  const auto carry = [&](Echo& from, Echo& to) {
    const TimeNs at = now();
    from.station.on_deadline(at);
    from.station.flush(at, from.out);
    for (const wire::OutFrame& f : from.out) to.station.on_frame(at, f.frame, to);
    from.out.clear();
  };
  for (const int batch : {1, 64, 1'000}) {
    const std::string what = "stations: call and reply, " + std::to_string(batch) + " a frame";
    row(what.c_str(), measure(kCalls / 4, [&] {
          for (int i = 0; i < kCalls / 4; i += batch) {
            for (int k = 0; k < batch; ++k)
              a.station.call(ProcessId{2}, {.number = 1}, payload, {});
            carry(a, b);
            carry(b, a);
          }
        }));
  }
}

struct Rates {
  double round_trip_ns = 0;
  double calls_per_second = 0;
};

Rates bench_transport(DurationNs spin) {
  char folder[] = "/tmp/rondo-bench-XXXXXX";
  if (mkdtemp(folder) == nullptr) return {};
  const std::string base = std::string("ipc://") + folder;
  const pid_t child = fork();
  const int me = child == 0 ? 2 : 1;
  net::ZmqTransport transport({.context = nullptr, .spin = spin});
  const core::Peer self{ProcessId{static_cast<std::uint64_t>(me)}, base + "/" + std::to_string(me)};
  if (!transport.bind(self.address)) std::_Exit(5);
  Echo echo(self);
  echo.transport = &transport;
  while (child == 0) echo.turn(seconds(1));
  const ProcessId other{2};
  echo.on_peer({other, base + "/2"}, {});
  const Bytes payload(16);
  const auto call_and_wait = [&] {
    echo.station.call(other, {.number = 1}, payload, {});
    for (const std::uint64_t want = echo.replies + 1; echo.replies < want;) echo.turn(seconds(1));
  };
  std::vector<double> times;
  for (int i = -500; i < 5'000; ++i) {
    const TimeNs start = now();
    call_and_wait();
    if (i >= 0) times.push_back(static_cast<double>((now() - start).ns));
  }
  std::nth_element(times.begin(), times.begin() + 2'500, times.end());
  const double ns = measure(kCalls, [&] {
    const std::uint64_t end = echo.replies + kCalls;
    for (std::uint64_t sent = echo.replies; echo.replies < end;) {
      for (; sent < end && sent - echo.replies < 1'000; ++sent)
        echo.station.call(other, {.number = 1}, payload, {});
      echo.turn(seconds(1));
    }
  });
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  for (const char* name : {"/1", "/2"}) unlink((std::string(folder) + name).c_str());
  rmdir(folder);
  return {times[2'500], 1e9 / ns};
}

int run() {
  bench_records();
  bench_stations();
  const double bare = bare_round_trip_ns(Wire::kIpc, 64, 5'000);
  const double bare_single = bare_calls_per_second(Wire::kIpc, 64, 1, 1'000, kCalls);
  const double bare_batch = bare_calls_per_second(Wire::kIpc, 64, 64, 1'000, 4 * kCalls);
  std::printf("bare ZeroMQ ipc, 64 B: round trip %.1f us; 1,000 in flight %.2f million/s, "
              "64 a frame %.2f million/s\n", bare / 1e3, bare_single / 1e6, bare_batch / 1e6);
  std::printf("bare ZeroMQ tcp, 64 B: round trip %.1f us\n",
              bare_round_trip_ns(Wire::kTcp, 64, 5'000) / 1e3);
  for (const int spin : {0, 50}) {
    const Rates ours = bench_transport(microseconds(spin));
    std::printf("stations over ipc, spin %2d us: round trip %.1f us (%.2f of bare); "
                "1,000 in flight %.2f million calls/s (%.2f of bare, 64 a frame)\n",
                spin, ours.round_trip_ns / 1e3, bare / ours.round_trip_ns,
                ours.calls_per_second / 1e6, ours.calls_per_second / bare_batch);
  }
  return 0;
}

}  // namespace
}  // namespace rondo::bench

int main() { return rondo::bench::run(); }
