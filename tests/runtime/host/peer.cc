#include "peer.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <rondo/base/limits.h>
#include <rondo/base/prng.h>
#include <rondo/exec/parent_watch.h>
#include <rondo/exec/worker_start.h>
#include <rondo/store/image.h>
#include <rondo/store/marks_page.h>

extern char** environ;

namespace rondo::host::test {

TestPeer::TestPeer(ProcessId id, const std::string& socket_folder, const std::string& kind,
                   const core::Token& token)
    : transport_(net::ZmqTransport::Options{}) {
  auto bound = transport_.bind(listen_address(socket_folder, kind, id));
  RONDO_CHECK(bound.ok());
  self_ = {id, bound.value()};
  wire::Station::Options options;
  options.self = self_;
  options.token = token;
  station_ = std::make_unique<wire::Station>(std::move(options));
}

void TestPeer::learn(const core::Peer& peer) {
  station_->learn(peer);
  transport_.learn(peer);
}

void TestPeer::send(ProcessId to, const core::Message& message) {
  station_->send(to, message);
  pump({});
}

void TestPeer::hello(const core::Peer& node, core::Role role, JobId job) {
  learn(node);
  core::Hello hello;
  hello.self = self_;
  hello.role = role;
  hello.pid = ::getpid();
  hello.job = job;
  hello.version = limits::kProtocolVersion;
  send(node.id, hello);
}

void TestPeer::pump(DurationNs wait) {
  std::vector<SharedBytes> frames;
  transport_.poll(wait, frames);
  const TimeNs now = boot_time();
  for (const SharedBytes& frame : frames) station_->on_frame(now, frame, *this);
  if (station_->next_deadline().value_or(kNever) <= now) station_->on_deadline(now);
  std::vector<wire::OutFrame> out;
  station_->flush(now, out);
  for (wire::OutFrame& frame : out) transport_.send(frame.to, std::move(frame.frame));
}

core::JobSpec job_of_this_program(const core::Peer& driver, const core::Peer& node) {
  const auto image = store::capture_image();
  RONDO_CHECK(image.ok());
  core::JobSpec job;
  job.id = JobId{entropy()};
  job.driver = driver;
  job.driver_pid = ::getpid();
  job.home_peer = node;
  job.executable_hash = image.value().executable_hash;
  job.executable_name = image.value().executable_name;
  job.libraries = image.value().library_lines();
  job.arguments = {"local_cluster_test", "worker"};
  for (char** line = environ; *line != nullptr; ++line) job.environment.emplace_back(*line);
  return job;
}

void serve(const WorkerStart& start) {
  const char* mode = std::getenv("MODE");
  const std::string what = mode == nullptr ? "" : mode;
  std::printf("worker %s speaks\n", start.label.c_str());
  std::fflush(stdout);
  if (what == "exit early") std::_Exit(3);
  auto marks = store::MarksPage::attach(exec::take_inherited(exec::kWorkerMarksFd));
  RONDO_CHECK(marks.ok());
  marks.value()->begun(ProcessId{77}, 5);
  TestPeer peer(start.self, start.socket_folder, "w", start.token);
  peer.hello(start.node, core::Role::kWorker, start.job);
  if (!peer.expect<core::Welcome>()) std::_Exit(4);
  if (what == "crash") {
    std::fprintf(stderr, "about to fall\n");
    std::signal(SIGSEGV, SIG_DFL);
    std::raise(SIGSEGV);
  }
  const auto parent = exec::ParentWatch::begin(static_cast<pid_t>(start.node_pid));
  while (parent && !parent.value().gone()) peer.pump(milliseconds(20));
  std::_Exit(0);
}

}  // namespace rondo::host::test
