#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <rondo/core/actor_client.h>
#include <rondo/core/call_sender.h>
#include <rondo/core/call_table.h>
#include <rondo/core/mailbox.h>
#include <rondo/core/object_table.h>
#include <rondo/core/task_client.h>

// Process is what a driver or a worker knows and does: it owns refs, submits tasks, calls actors,
// executes what it is sent, and hears from its node who died. It composes the tables beside it;
// they do not know one another.
//
// Loop only (one thread at a time holds the loop's role). Never blocks, never reads a clock. Cells
// are the one thing it shares with other threads. Inputs of one turn are followed by one `flush`,
// which sends what became sendable. A failure reaches the user as a failed cell with one sentence.

namespace rondo::core {

struct Submission {
  CellRef result;  // two holds were taken: the caller's, and this one
  std::uint32_t function = 0;
  Bytes payload;
  std::vector<CellRef> refs;
  std::vector<std::uint32_t> awaited;
};

struct Outcome {  // what a run came to
  ReplyStatus status = ReplyStatus::kOk;
  Bytes bytes;                // kOk
  StoredResult stored;        // kStored
  Failure failure;            // kFailed
  std::vector<CellRef> refs;  // refs inside the value
};

// Answers to requests, as the bytes of the cell that was given with the request.
struct GrantAnswer {
  std::uint32_t extent;
  std::uint32_t generation;
  std::uint64_t bytes;
  std::int64_t fd;
  std::int64_t node_pid;
};
struct FoundAnswer {
  ActorId actor;
};  // followed by the class's name

class Process {
 public:
  struct Options {
    Peer self;
    Role role = Role::kDriver;
    std::int64_t pid = 0;
    JobId job;
    Peer node;
    std::string release;
    bool trace = false;
  };
  Process(Options, CellTable&, ProcessPort&);

  // ---- from this process's threads
  // -------------------------------------------------------------------------------
  void start(TimeNs now, CellRef welcomed);  // Hello; the cell is filled when the node answers
  void start_job(const JobSpec&, CellRef started);
  void submit(TimeNs now, const Shape&, std::int32_t max_retries, Submission);
  void call(TimeNs now, const ActorId&, Incarnation bound,
            Submission);  // call.function: the method
  void spawn(TimeNs now, ActorSpec,
             Submission arguments);  // its result cell is ready when the spawn has left
  void put_stored(const CellRef&, const StoredResult&);  // the extent now is this object
  void adopt_borrowed(const CellRef&, const RefEntry&);
  void request_extent(std::uint64_t bytes, CellRef answer);  // GrantAnswer
  void return_extent(std::uint32_t extent, std::uint32_t generation);
  void request_open(const CellRef& object,
                    CellRef answer);  // GrantAnswer: the object's bytes at this node
  void find(const std::string& name, CellRef answer);  // FoundAnswer
  void bind(const ActorId&, CellRef answer);           // its Incarnation, as soon as it lives
  void kill(const ActorId&);
  void take_drops();
  void say_goodbye(const std::string& reason);

  // ---- from its executor
  // -------------------------------------------------------------------------------------------
  [[nodiscard]] const Incoming& incoming(RunId run) const { return mailbox_.incoming(run); }
  [[nodiscard]] std::vector<CellRef> borrow_all(std::span<const RefEntry> refs) {
    return objects_.borrow_all(refs);
  }
  void finish(TimeNs now, RunId, Outcome);
  void constructed(const CreateActor&, std::optional<Failure>);
  void wait_begin(TimeNs now, RunId, const CellRef& on);  // Requires: `on` is pending.
  [[nodiscard]] bool wait_end(RunId);  // true: go on at once; false: `resume` will come

  // ---- from the network
  // ----------------------------------------------------------------------------------------------
  void on_peer(const Peer&, NodeId home);   // first of whatever it says
  void on_message(TimeNs now, ProcessId from, const Message&);
  void on_call(TimeNs now, Incoming);
  void on_reply(TimeNs now, ProcessId from, const ReplyHeader&, ByteView payload,
                std::span<const RefEntry>);

  void on_deadline(TimeNs now);
  [[nodiscard]] std::optional<TimeNs> next_deadline() const;
  void flush(TimeNs now);  // after every turn

  void fail_everything(const Failure&);  // nothing is or stays pending from now on
  [[nodiscard]] NodeId node() const { return node_id_; }
  [[nodiscard]] RefEntry entry_of(const Cell& cell) const { return objects_.entry_of(cell); }
  [[nodiscard]] const Mailbox& mailbox() const { return mailbox_; }
  [[nodiscard]] const TaskClient& tasks() const { return tasks_; }
  [[nodiscard]] const ObjectTable& objects() const { return objects_; }
  [[nodiscard]] std::size_t calls() const { return calls_.live(); }
  [[nodiscard]] std::size_t deferred() const { return deferred_.size(); }
  void check_invariants() const;

 private:
  struct Reply {
    ReplyHeader head;
    Bytes payload;
    std::vector<RefEntry> refs;
  };
  struct Deferred {  // leaves when every ref in `until` is registered with its owner
    std::vector<ObjectId> until;
    ProcessId to;
    std::variant<Reply, RefsKept> what;
  };
  struct Wait {
    RunId run;
    CellRef on;
    TimeNs since;
    TimeNs probe_at;
    std::map<std::pair<ProcessId, std::uint64_t>, TimeNs> passed;  // others' probes, and when
  };
  struct Bind {
    ActorId actor;
    CellRef answer;
  };

  Call& admit(TimeNs now, CallKind, Submission);
  void arguments_ready(TimeNs now, Call&);
  void settle_released(TimeNs now);
  void fail_call(Call&, const Failure&);
  void fail_calls(std::vector<Call*>& calls, bool of_tasks, const std::string& cause);
  void send_spawn(Call&);
  void defer(Deferred);
  void retry_deferred();
  void ask_about_silent(TimeNs now);
  void on_update(TimeNs now, const ActorUpdate&);
  void settle_binds(const ActorId&);
  void on_lease_refused(const LeaseRefused&);
  std::optional<RequestId> ask(CellRef answer);
  void on_died(TimeNs now, const ProcessDied&);
  void process_died(TimeNs now, const ProcessDied&);
  void answer_request(RequestId, const GrantAnswer&);
  void refuse_request(RequestId, const Failure&);
  void on_probe(TimeNs now, WaitProbe);
  void follow(TimeNs now, WaitProbe, const Cell& on);
  void probe_executor(TimeNs now, WaitProbe);
  [[nodiscard]] std::map<std::uint64_t, Wait>::iterator wait_of(RunId);

  Options options_;
  CellTable& cells_;
  ProcessPort& port_;
  NodeId node_id_;
  PeerBook book_;
  ObjectTable objects_;
  CallTable calls_;
  CallSender sender_;
  TaskClient tasks_;
  ActorClient actors_;
  Mailbox mailbox_;

  CellRef welcomed_;
  CellRef job_started_;
  std::uint64_t next_request_ = 1;
  std::map<RequestId, CellRef> requests_;  // grants, opens, finds: answered by filling the cell
  std::vector<Bind> binds_;
  std::map<std::uint32_t, ActorSpec>
      spawning_;  // slot of the pseudo-call whose arguments are awaited
  std::map<ActorId, std::vector<CellRef>>
      spawn_refs_;  // refs in constructor arguments, kept for restarts
  std::map<std::pair<ProcessId, ObjectId>, std::vector<CellRef>>
      kept_;  // refs in replies, until RefsKept
  std::vector<Deferred> deferred_;
  TimeNs ask_at_ = kNever;  // whether those whom we wait for still live
  std::map<std::uint64_t, Wait> waits_;
  std::uint64_t next_wait_ = 1;
  std::set<LeaseId> resuming_;
  std::vector<Incoming> early_;  // calls that came before Welcome: this process has no home yet
  std::optional<Failure> ended_;  // nothing can be done any more: every verb fails with this
};

// ActorSpec::arguments as `spawn` keeps them: the payload and the refs that it names. False:
// malformed.
[[nodiscard]] bool read_spawn_arguments(ByteView arguments, ByteView& payload,
                                        std::vector<RefEntry>& refs);

}  // namespace rondo::core
