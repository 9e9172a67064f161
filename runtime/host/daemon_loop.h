#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <rondo/base/result.h>
#include <rondo/core/effects.h>
#include <rondo/net/zmq_transport.h>
#include <rondo/wire/station.h>

// The loop of a daemon: poll, decode, step the machine, carry out its effects, send.
//
// Picture a clerk at one desk: letters come in, each is answered in the order of arrival, and what
// other rooms have finished is put on the same desk (`post`). Nobody else touches the machine.
//
// One thread: the one in `run`. `post` and `stop` may be called by any thread, also before `run`.
// Clocks are read here and nowhere beneath.

namespace rondo::host {

// What a loop hosts: HeadHost and NodeHost. All is called on the loop's thread.
class Daemon {
 public:
  virtual ~Daemon() = default;
  virtual void on_start(TimeNs now, core::Effects& out) = 0;
  virtual void on_peer(TimeNs now, const core::Peer& peer, core::Effects& out) = 0;
  virtual void on_message(TimeNs now, ProcessId from, const core::Message& message,
                          core::Effects& out) = 0;
  // It broke the protocol: nothing more comes from it.
  virtual void on_broken(TimeNs now, ProcessId peer, const std::string& why,
                         core::Effects& out) = 0;
  virtual void on_deadline(TimeNs now, core::Effects& out) = 0;
  [[nodiscard]] virtual TimeNs next_deadline() const = 0;
  // Every effect but Learn, Send, Datagram and Forget, which the loop carries out itself.
  virtual void carry_out(TimeNs now, core::Effect effect, core::Effects& more) = 0;
  // A last look at what leaves: some fields are known only to the host.
  virtual void before_send(ProcessId to, core::Message& message) = 0;
  // After each turn's effects, before frames leave.
  virtual void end_turn(TimeNs now) = 0;
};

class DaemonLoop {
 public:
  struct Options {
    core::Peer self;  // the address to bind; the real one comes back in self()
    core::Token token;
    std::shared_ptr<net::ZmqContext> context;  // null: one of its own
    std::string thread_name = "rondo";
  };
  using Task = std::function<void(TimeNs now, core::Effects& out)>;

  // Binds. The error is the transport's sentence.
  static Result<std::unique_ptr<DaemonLoop>> open(Options options);
  ~DaemonLoop();  // Requires: not running.
  DaemonLoop(const DaemonLoop&) = delete;
  DaemonLoop& operator=(const DaemonLoop&) = delete;

  [[nodiscard]] const core::Peer& self() const { return options_.self; }
  void run(Daemon& daemon);    // until stop(); then what was sent may leave
  void start(Daemon& daemon);  // the same on a thread of its own
  void join();

  void post(Task task);  // any thread: run it in the loop's next turn; dropped after stop
  // Any thread. Last words have so long to be acknowledged.
  void stop(DurationNs patience = milliseconds(500));

  // Loop thread only.
  [[nodiscard]] wire::Station& station() { return *station_; }
  void greet(const core::Address& to, const core::Hello& hello);

 private:
  class Inbox;
  explicit DaemonLoop(Options options);
  void turn(Daemon& daemon);
  void take_posted(TimeNs now);
  void carry_out_all(Daemon& daemon, TimeNs now);
  void carry_out_one(Daemon& daemon, TimeNs now, core::Effect effect);
  void send_out(TimeNs now);
  void settle(Daemon& daemon);
  [[nodiscard]] DurationNs until_next(const Daemon& daemon, TimeNs now) const;

  Options options_;
  std::unique_ptr<net::ZmqTransport> transport_;
  std::unique_ptr<wire::Station> station_;
  core::Effects effects_;
  std::vector<SharedBytes> frames_;
  std::vector<wire::OutFrame> out_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::int64_t> patience_ns_{0};
  std::mutex mutex_;
  std::vector<Task> posted_;  // guarded by mutex_
  std::thread thread_;
};

// Threads started while it lives ignore signals: those belong to the program's own threads.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  struct Mask;
  std::unique_ptr<Mask> old_;
};

}  // namespace rondo::host
