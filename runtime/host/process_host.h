#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include <rondo/base/cell_extra.h>
#include <rondo/client.h>
#include <rondo/core/process.h>
#include <rondo/host/chair.h>
#include <rondo/host/clock.h>
#include <rondo/net/zmq_transport.h>
#include <rondo/registry.h>
#include <rondo/session.h>
#include <rondo/store/extent_client.h>
#include <rondo/store/marks_page.h>
#include <rondo/wire/station.h>

// ProcessHost is a driver's or a worker's engine: it turns core::Process under a real clock, a real
// transport and real threads, and is the Client behind the typed surface.
//
// The loop is a role, not a thread. Picture a watchtower with one chair: whoever has to wait for
// news climbs up and watches for everybody (`wait`, an idle executor); a watchman (the background
// thread) takes the chair when it has stood empty for a moment. Submitting threads drop their
// orders into a letter box that the chair's holder empties; only the first letter into an empty box
// rings the bell, and only if the watcher sleeps.
//
// Public verbs: any thread. Everything marked [role] needs the chair. Destroying it fails what is
// pending with kCancelled; Buffers and Refs stay valid.

namespace rondo::host {

class ProcessHost final : public detail::Client, private core::ProcessPort, private wire::Handler {
 public:
  struct Options {
    core::Role role = core::Role::kDriver;
    core::Peer self;  // address: where to bind
    core::Peer node;
    JobId job;
    core::Token token;
    const Registry* registry = nullptr;
    std::shared_ptr<store::MarksPage> marks;  // workers
    ActorId actor;                            // workers: the actor that they are for, if any
    std::string label;
  };
  explicit ProcessHost(Options);
  ~ProcessHost() override;

  // Binds, says Hello and waits for the node's Welcome. Errors: kUnavailable in words.
  Result<void> connect(DurationNs limit);
  Result<void> start_job(const core::JobSpec&, DurationNs limit);
  void serve();  // workers: executes what comes, until the process ends
  [[nodiscard]] core::Peer peer() const { return options_.self; }
  [[nodiscard]] std::int64_t node_pid() const { return node_pid_; }  // after connect
  void freeze() { chair_.take(); }  // for ever: the process is about to end
  void lose_node();  // drivers: the node died; everything fails with kUnavailable
  void stop(const std::string& reason);  // drivers: goodbye; nothing stays pending

  // detail::Client
  CellRef submit(std::uint32_t function, const TaskOptions&, detail::EncodedArguments) override;
  CellRef call(const detail::ActorTarget&, std::uint32_t method, detail::EncodedArguments) override;
  ActorId spawn(const std::string& class_name, const ActorOptions&,
                detail::EncodedArguments) override;
  CellRef put(std::size_t bytes, std::vector<CellRef> refs,
              const std::function<void(std::span<std::byte>)>& fill) override;
  CellRef borrow(const ObjectId&, const std::string& owner_address) override;
  std::string address_of(const Cell&) override;
  std::size_t wait(std::span<const CellRef>, std::size_t count,
                   std::optional<DurationNs> timeout) override;
  Buffer open(const CellRef&, std::optional<DurationNs> timeout) override;
  detail::ActorFound find(const std::string& name) override;
  Incarnation bind(const ActorId&, std::optional<DurationNs> timeout) override;
  void kill(const ActorId&) override;
  void cancel_wait() override;

 private:
  class Sink;
  struct Order {  // a letter: what a thread wants of the machine
    enum class Kind : std::uint8_t {
      kSubmit,
      kCall,
      kSpawn,
      kSealed,
      kExtent,
      kReturnExtent,
      kOpen,
      kFind,
      kBind,
      kKill,
      kBorrow
    };
    Kind kind = Kind::kSubmit;
    std::int32_t retries = 0;
    core::Shape shape;
    ActorId actor;
    Incarnation bound;
    core::Submission submission;
    std::unique_ptr<core::ActorSpec> spec;
    std::string name;
    CellRef cell;
    CellRef answer;
    core::StoredResult stored;
  };
  struct SelfReply {
    core::ReplyHeader head;
    Bytes payload;
    std::vector<core::RefEntry> refs;
  };
  struct ThreadRun;  // what this thread executes, if anything

  void post(Order);

  // [role]
  void turn(DurationNs timeout);  // empty the box, poll, hear, answer
  void empty_box();
  void obey(Order&);
  void flush();
  void hear_self();  // what this process sent to itself
  void tell_fills();
  [[nodiscard]] DurationNs until_deadline(DurationNs at_most) const;
  static void show(const core::LogLines&);  // what a worker printed
  void find_hands();                        // somebody must execute what waits in runs_

  // ProcessPort [role]
  void learn(const core::Peer&) override;
  void forget(ProcessId) override;
  void send(ProcessId, const core::Message&) override;
  void call(ProcessId, const core::CallHeader&, ByteView, std::span<const core::RefEntry>) override;
  void reply(ProcessId, const core::ReplyHeader&, ByteView,
             std::span<const core::RefEntry>) override;
  void run(core::RunId) override;
  void resume(core::RunId) override;
  void construct(const core::CreateActor&) override;
  void filled() override;
  void end(const std::string& cause) override;
  std::string name_of(core::CallKind, std::uint32_t function) override;

  // wire::Handler [role]
  void on_peer(const core::Peer&, NodeId home) override;
  void on_message(ProcessId from, core::Message&&) override;
  void on_call(ProcessId from, const core::CallHeader&, ByteView, std::span<const core::RefEntry>,
               const SharedBytes& frame) override;
  void on_reply(ProcessId from, const core::ReplyHeader&, ByteView, std::span<const core::RefEntry>,
                const SharedBytes& frame) override;

  bool bind_transport();
  Result<void> attach_store(const core::Welcome&);
  void watchman();            // the background thread
  void executor();            // a thread that executes runs; never returns
  void idle();                // [role] until there is something to execute
  void execute(core::RunId);  // without the role; comes back with it
  core::Outcome carry_out(const core::Incoming&, std::span<const CellRef> refs);
  core::Failure failure_of_exception(const std::string& what, bool by_body);
  [[nodiscard]] const detail::Entries& entries() const;
  void construct_actor(const core::CreateActor&);
  std::vector<detail::ArgumentView> read_arguments(ByteView payload, const SharedBytes& frame,
                                                   std::span<const CellRef> refs);
  void wait_in_run(ThreadRun&, std::span<const CellRef>, std::size_t count, TimeNs deadline);
  void drive_until_ready(std::span<const CellRef>, std::size_t count, TimeNs deadline);
  void drive_until_resumed(ThreadRun&);
  core::GrantAnswer ask(Order, std::optional<DurationNs> timeout);
  store::ExtentClient::Writable grant(std::size_t bytes, core::StoredResult& stored);
  Buffer open_stored(const CellRef&, std::optional<DurationNs> timeout);
  [[nodiscard]] CellRef fresh_cell(CellRef& second_hold);

  Options options_;
  CellTable& cells_;
  net::ZmqTransport transport_;
  Chair chair_;
  const bool bound_;  // to options_.self.address, before anybody is told of it
  wire::Station station_;
  core::Process machine_;
  std::unique_ptr<store::ExtentClient> extents_;
  std::shared_ptr<void> actor_;         // the object, if this process is an actor's
  detail::Session* session_ = nullptr;  // for bodies; never freed (session.h)
  std::vector<ThreadRun*> resting_;     // [role] runs that wait

  std::atomic<bool> cancelled_{false};

  std::mutex box_mutex_;
  std::vector<Order> box_;             // guarded by box_mutex_
  std::atomic<bool> box_full_{false};  // something is in it

  // [role]
  std::vector<Order> obeying_;
  std::vector<SharedBytes> frames_;
  std::vector<wire::OutFrame> out_;
  std::deque<core::RunId> runs_;  // to be executed
  std::deque<core::CreateActor> births_;
  std::deque<std::variant<core::Message, core::Incoming, SelfReply>> to_self_;
  TimeNs last_flush_;
  bool filled_ = false;
  bool silent_ = false;   // past the node's membership term nothing is sent
  int hands_coming_ = 0;  // executors called or started for what waits in runs_
  int executors_ = 0;     // threads; those that execute or wait included
  std::string end_cause_;
  bool connected_ = false;

  std::int64_t node_pid_ = 0;
  std::atomic<std::uint64_t> next_actor_{1};
  std::thread watchman_thread_;
  static thread_local ThreadRun* current_;
};

CellTable& process_cells();  // one a process, never destroyed: refs may outlive every Runtime

}  // namespace rondo::host
