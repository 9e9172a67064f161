#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include <rondo/core/call_sender.h>
#include <rondo/core/call_table.h>
#include <rondo/core/peer_book.h>
#include <rondo/core/process_port.h>

// The owner's side of tasks: queues by shape, leases of workers, tasks pipelined to them.
//
// Picture taxis at a rank. Passengers of one kind stand in one queue; for them we hold some taxis
// (leases) on loan from the dispatcher (the node). A taxi that drives fast is handed its next
// passengers ahead of time; one that is slow gets one at a time, so that nobody sits in a stuck
// taxi while another is free. Empty taxis go back.
//
// Loop only. A worker's death gives back what it had not begun, and retries or fails the rest.

namespace rondo::core {

class TaskClient {
 public:
  struct Options {
    Peer self;
    JobId job;
    NodeId home;  // of this process
    bool newest_first =
        false;             // workers: tasks made by tasks run depth first, so that few wait at once
    DurationNs idle_keep;  // an idle lease goes back after this; workers keep none from others
  };
  TaskClient(Options, CallTable&, CallSender&, PeerBook&, ProcessPort&);

  void set_node(ProcessId node, JobId job) {
    node_ = node;
    options_.job = job;
  }
  void set_home(NodeId home) { options_.home = home; }
  [[nodiscard]] std::uint32_t group_of(const Shape&);  // dense index of a shape

  void enqueue(TimeNs now, Call&);      // its arguments are ready
  void pump(TimeNs now);                // send what can be sent; ask for leases
  void on_answered(TimeNs now, Call&);  // ok, stored or failed: it leaves its lease
  void on_returned(TimeNs now, Call&);  // not begun: back to the front of the queue
  void cancel(Call&);                   // Requires: queued, not sent.

  void on_grant(TimeNs now, const LeaseGrant&);
  void on_refused(const LeaseRefused&, std::vector<Call*>& failed);  // the calls that can never run
  void on_redirect(const LeaseRedirect&);
  void ask_again(RequestId);  // its answer names the dead: the queue asks at home
  void on_revoke(TimeNs now, const LeaseRevoke&);
  // Requires: it names a process. What the dead worker had: `again` are requeued already; `spent`
  // have no retry left and must be failed.
  void on_process_died(TimeNs now, const ProcessDied&, std::vector<Call*>& spent);

  void on_deadline(TimeNs now);  // idle leases go back
  [[nodiscard]] std::optional<TimeNs> next_deadline() const;
  [[nodiscard]] std::size_t queued() const;
  [[nodiscard]] std::size_t leases() const;
  void check_invariants() const;

 private:
  struct Lease {
    LeaseId id;
    Peer worker;
    ProcessId granted_by;
    CallList sent;
    std::uint32_t depth = 1;  // how many it may have at once; doubles while answers come fast
    bool revoked = false;
    TimeNs idle_since;
  };
  struct Request {
    ProcessId asked;
    LeaseRequest message;
  };
  struct Group {
    Shape shape;
    CallList queue;
    std::map<std::uint32_t, Lease> leases;  // by a dense number, kept in Call::lease
    std::map<RequestId, Request> requests;
  };

  void send_to(TimeNs now, Group&, std::uint32_t number, Lease&);
  void ask(Group&);
  void give_back(Group&, std::uint32_t number);
  Lease* lease_of(const Call&);
  static void requeue(CallTable&, Group&, Call&);

  Options options_;
  CallTable& calls_;
  CallSender& sender_;
  PeerBook& book_;
  ProcessPort& port_;
  ProcessId node_;
  std::vector<Group> groups_;
  std::uint64_t next_request_ = 1;
  std::uint32_t next_lease_ = 1;
};

}  // namespace rondo::core
