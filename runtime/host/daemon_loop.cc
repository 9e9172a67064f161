#include <rondo/host/daemon_loop.h>

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include <rondo/base/limits.h>
#include <rondo/base/log.h>
#include <rondo/host/clock.h>

namespace rondo::host {

struct SignalsBlocked::Mask {
  sigset_t set{};
};

SignalsBlocked::SignalsBlocked() : old_(std::make_unique<Mask>()) {
  sigset_t all;
  sigfillset(&all);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, &old_->set);
}

SignalsBlocked::~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &old_->set, nullptr); }

// Hands what the station decodes to the daemon, at one instant.
class DaemonLoop::Inbox final : public wire::Handler {
 public:
  Inbox(Daemon& daemon, TimeNs now, core::Effects& out) : daemon_(daemon), now_(now), out_(out) {}
  void on_peer(const core::Peer& peer, NodeId) override { daemon_.on_peer(now_, peer, out_); }
  void on_message(ProcessId from, core::Message&& message) override {
    daemon_.on_message(now_, from, message, out_);
  }
  void on_call(ProcessId from, const core::CallHeader&, ByteView, std::span<const core::RefEntry>,
               const SharedBytes&) override {
    log_warn("a call from " + to_string(from) + " came to a daemon: dropped");
  }
  void on_reply(ProcessId from, const core::ReplyHeader&, ByteView, std::span<const core::RefEntry>,
                const SharedBytes&) override {
    log_warn("a reply from " + to_string(from) + " came to a daemon: dropped");
  }

 private:
  Daemon& daemon_;
  TimeNs now_;
  core::Effects& out_;
};

DaemonLoop::DaemonLoop(Options options) : options_(std::move(options)) {}

DaemonLoop::~DaemonLoop() { RONDO_CHECK(!thread_.joinable()); }

Result<std::unique_ptr<DaemonLoop>> DaemonLoop::open(Options options) {
  std::unique_ptr<DaemonLoop> loop(new DaemonLoop(std::move(options)));
  net::ZmqTransport::Options transport;
  transport.context = loop->options_.context;
  loop->transport_ = std::make_unique<net::ZmqTransport>(std::move(transport));
  auto bound = loop->transport_->bind(loop->options_.self.address);
  if (!bound) return bound.error();
  loop->options_.self.address = bound.value();
  wire::Station::Options station;
  station.self = loop->options_.self;
  station.token = loop->options_.token;
  loop->station_ = std::make_unique<wire::Station>(std::move(station));
  return loop;
}

void DaemonLoop::start(Daemon& daemon) {
  const SignalsBlocked blocked;
  thread_ = std::thread([this, &daemon] {
    pthread_setname_np(pthread_self(), options_.thread_name.substr(0, 15).c_str());
    run(daemon);
  });
}

void DaemonLoop::join() {
  if (thread_.joinable()) thread_.join();
}

void DaemonLoop::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(task));
  }
  transport_->wake();
}

void DaemonLoop::stop(DurationNs patience) {
  patience_ns_.store(patience.ns);
  stopping_.store(true);
  transport_->wake();
}

void DaemonLoop::greet(const core::Address& to, const core::Hello& hello) {
  transport_->greet(to, station_->greeting(hello));
}

void DaemonLoop::run(Daemon& daemon) {
  const TimeNs now = boot_time();
  daemon.on_start(now, effects_);
  carry_out_all(daemon, now);
  send_out(now);
  while (!stopping_.load()) turn(daemon);
  settle(daemon);
}

void DaemonLoop::turn(Daemon& daemon) {
  frames_.clear();
  transport_->poll(until_next(daemon, boot_time()), frames_);
  const TimeNs now = boot_time();
  take_posted(now);
  carry_out_all(daemon, now);
  for (const SharedBytes& frame : frames_) {
    Inbox inbox(daemon, now, effects_);
    station_->on_frame(now, frame, inbox);
    carry_out_all(daemon, now);
  }
  if (station_->next_deadline().value_or(kNever) <= now) station_->on_deadline(now);
  for (const wire::Broken& broken : station_->take_broken()) {
    log_warn("process " + to_string(broken.peer) + " broke the protocol: " + broken.why);
    daemon.on_broken(now, broken.peer, broken.why, effects_);
  }
  if (daemon.next_deadline() <= now) daemon.on_deadline(now, effects_);
  carry_out_all(daemon, now);
  send_out(now);
}

// At least a millisecond goes by between two looks at a deadline that its owner does not move.
DurationNs DaemonLoop::until_next(const Daemon& daemon, TimeNs now) const {
  const TimeNs at = std::min(daemon.next_deadline(), station_->next_deadline().value_or(kNever));
  if (at == kNever) return {-1};
  return {std::clamp<std::int64_t>((at - now).ns, 100'000, seconds(3600).ns)};
}

void DaemonLoop::take_posted(TimeNs now) {
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(posted_);
  }
  for (Task& task : tasks) task(now, effects_);
}

void DaemonLoop::carry_out_all(Daemon& daemon, TimeNs now) {
  while (!effects_.list.empty()) {
    std::vector<core::Effect> list;
    list.swap(effects_.list);
    for (core::Effect& effect : list) carry_out_one(daemon, now, std::move(effect));
  }
  daemon.end_turn(now);
}

void DaemonLoop::carry_out_one(Daemon& daemon, TimeNs now, core::Effect effect) {
  if (auto* learn = std::get_if<core::Learn>(&effect)) {
    station_->learn(learn->peer);
    transport_->learn(learn->peer);
  } else if (auto* send = std::get_if<core::Send>(&effect)) {
    daemon.before_send(send->to, send->message);
    station_->send(send->to, send->message);
  } else if (auto* datagram = std::get_if<core::Datagram>(&effect)) {
    station_->datagram(datagram->to, datagram->message);
  } else if (auto* forget = std::get_if<core::Forget>(&effect)) {
    station_->forget(forget->process);
    transport_->forget(forget->process);
  } else {
    daemon.carry_out(now, std::move(effect), effects_);
  }
}

void DaemonLoop::send_out(TimeNs now) {
  out_.clear();
  station_->flush(now, out_);
  for (wire::OutFrame& frame : out_) transport_->send(frame.to, std::move(frame.frame));
}

// The last words: what was sent before the end is acknowledged, or patience is over.
void DaemonLoop::settle(Daemon& daemon) {
  const DurationNs patience{patience_ns_.load()};
  const TimeNs limit = boot_time() + patience;
  const TimeNs least = boot_time() + std::min(patience, limits::kAckAfter * 2);  // our own thanks
  carry_out_all(daemon, boot_time());
  send_out(boot_time());
  for (TimeNs now = boot_time(); now < limit; now = boot_time()) {
    send_out(now);
    if (station_->settled() && now >= least) break;
    frames_.clear();
    transport_->poll(milliseconds(5), frames_);
    now = boot_time();
    core::Effects unheard;  // nobody is served any more; only acknowledgements matter
    Inbox inbox(daemon, now, unheard);
    for (const SharedBytes& frame : frames_) station_->on_frame(now, frame, inbox);
    if (station_->next_deadline().value_or(kNever) <= now) station_->on_deadline(now);
  }
}

}  // namespace rondo::host
