#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <rondo/base/cell_extra.h>
#include <rondo/core/process.h>
#include <rondo/sim/checks.h>
#include <rondo/sim/endpoint.h>
#include <rondo/sim/order.h>

// SimProcess: a core::Process with simulated threads. Bodies are small scripts (script.cc) that
// compute for a while, submit, call, wait and return; a driver's program is a Workload.
//
// It does what the real process's host does: reads its node's term before it starts a body and
// before it lets a result go, chalks up what it begins, and delivers to itself what it sends to
// itself.

namespace rondo::sim {

class SimNode;
class Workload;

class SimProcess final : public Endpoint, private core::ProcessPort {
 public:
  struct Options {
    core::Peer self;
    core::Role role = core::Role::kWorker;
    std::uint32_t machine = 0;
    core::Peer node;
    JobId job;
  };
  SimProcess(World&, Options);
  ~SimProcess() override;
  void start();
  void start_job(const core::JobSpec&, CellRef started);
  void set_workload(std::unique_ptr<Workload>);
  [[nodiscard]] Workload* workload() const { return workload_.get(); }
  [[nodiscard]] core::Role role() const { return options_.role; }
  [[nodiscard]] core::Process& machine_state() { return *machine_; }
  [[nodiscard]] CellTable& cells() { return *cells_; }
  [[nodiscard]] std::vector<core::BegunMark> marks() const;
  [[nodiscard]] const std::string& ended() const { return end_cause_; }
  [[nodiscard]] SimNode* node() const;
  [[nodiscard]] bool welcome() const { return welcomed_; }
  [[nodiscard]] JobId job() const { return options_.job; }
  [[nodiscard]] bool busy() const { return !runs_.empty(); }

  // What a body or a driver's program may do. Tokens are drawn here.
  CellRef submit(Order, std::int32_t retries, std::vector<CellRef> inner,
                 std::vector<CellRef> arguments);
  CellRef call(ActorId, Incarnation bound, Order, std::vector<CellRef> inner,
               std::vector<CellRef> arguments);
  ActorId spawn(core::ActorSpec, std::vector<CellRef> inner);
  CellRef put(std::vector<CellRef> inside);
  void kill_actor(const ActorId&);
  void leave(const std::string& reason);    // a driver ends by its own will
  void node_died();                         // its node's pidfd
  void judge(const CellRef&);               // Requires: not pending.
  void act(const std::function<void()>&);   // a turn around what `act` does

  void die() override;
  void check_invariants() const override;
  [[nodiscard]] std::string held_at_rest() const override;
  [[nodiscard]] const char* kind() const override {
    return options_.role == core::Role::kDriver ? "driver" : "worker";
  }

 private:
  struct Run {
    core::RunId id;
    Begun begun;
    OrderRead read;
    std::vector<CellRef> refs;       // of the call
    std::vector<CellRef> children;
    std::vector<CellRef> results;    // refs inside the result
    int stage = 0;
    bool waiting = false;
    bool resuming = false;
    std::optional<core::Outcome> outcome;   // waits for the term
    CellRef extent;                  // the grant that was asked for
  };
  struct SelfReply {
    core::ReplyHeader head;
    Bytes payload;
    std::vector<core::RefEntry> refs;
  };

  // core::ProcessPort
  void learn(const core::Peer& peer) override { Endpoint::learn(peer); }
  void forget(ProcessId peer) override { Endpoint::forget(peer); }
  void send(ProcessId, const core::Message&) override;
  void call(ProcessId, const core::CallHeader&, ByteView, std::span<const core::RefEntry>) override;
  void reply(ProcessId, const core::ReplyHeader&, ByteView,
             std::span<const core::RefEntry>) override;
  void run(core::RunId id) override { to_run_.push_back(id); }
  void resume(core::RunId) override;
  void construct(const core::CreateActor& birth) override { births_.push_back(birth); }
  void filled() override { filled_ = true; }
  void end(const std::string& cause) override { end_cause_ = cause; }
  std::string name_of(core::CallKind, std::uint32_t function) override;

  // wire::Handler
  void on_peer(const core::Peer&, NodeId home) override;
  void on_message(ProcessId from, core::Message&&) override;
  void on_call(ProcessId from, const core::CallHeader&, ByteView, std::span<const core::RefEntry>,
               const SharedBytes& frame) override;
  void on_reply(ProcessId from, const core::ReplyHeader&, ByteView, std::span<const core::RefEntry>,
                const SharedBytes& frame) override;

  void on_alarm() override { machine_->on_deadline(world_.now()); }
  void on_broken(const wire::Broken&) override;
  void turn_ends() override;
  [[nodiscard]] TimeNs next_deadline() const override;

  void empty();
  [[nodiscard]] bool may_speak() const;
  bool hear_self();
  bool execute();
  void end_itself();
  void bear(const core::CreateActor&);
  void begin(core::RunId);
  void go_on(std::uint32_t run);
  void deliver_calls_swapped();

  // script.cc
  void advance(Run&);
  void advance_children(Run&);
  CellRef call_on(const Order&);
  void advance_store(Run&);
  void advance_open(Run&);
  bool wait_for(Run&, const std::vector<CellRef>& cells);   // false: it waits
  void return_token(Run&);
  void return_failure(Run&, const std::string& why);
  void hand_in(Run&, core::Outcome);
  bool look_at_arguments(Run&);

  CellRef fresh_cell(CellRef& second);

  Options options_;
  std::unique_ptr<CellTable> cells_;
  std::unique_ptr<core::Process> machine_;
  std::unique_ptr<Workload> workload_;
  CellRef welcome_cell_;
  bool welcomed_ = false;
  std::string end_cause_;
  bool filled_ = false;
  bool in_turn_ = false;

  std::deque<core::RunId> to_run_;
  std::deque<core::CreateActor> births_;
  std::deque<std::variant<core::Message, core::Incoming, SelfReply>> to_self_;
  std::map<std::uint32_t, Run> runs_;
  std::map<ProcessId, std::uint64_t> marks_;
  std::optional<core::Incoming> swapped_;   // a planted defect holds it back

  ActorId actor_;                           // that lives here
  Incarnation incarnation_;
  std::vector<CellRef> kept_;               // by the actor
  std::map<ActorId, std::uint64_t> sequences_;
  std::uint64_t next_actor_ = 1;
};

}  // namespace rondo::sim
