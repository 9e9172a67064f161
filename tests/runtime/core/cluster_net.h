#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <rondo/base/check.h>
#include <rondo/core/head.h>
#include <rondo/core/node.h>

// A head, nodes and processes in one thread on a perfect network: every message arrives, in order,
// at once. Workers are played: they say Hello when started and construct whatever they are asked to
// (unless a class is listed in `throwing`). Time moves only in run_for.

namespace rondo::core::test {

struct FakeProcess {
  NodeId node;
  Role role = Role::kWorker;
  std::vector<Message> inbox;

  template <class T>
  [[nodiscard]] std::vector<T> got() const {
    std::vector<T> out;
    for (const Message& m : inbox)
      if (const T* t = std::get_if<T>(&m)) out.push_back(*t);
    return out;
  }
  template <class T>
  [[nodiscard]] const T& last() const {
    const T* found = nullptr;
    for (const Message& m : inbox)
      if (const T* t = std::get_if<T>(&m)) found = t;
    RONDO_CHECK(found != nullptr);
    return *found;
  }
};

class ClusterNet {
 public:
  TimeNs now{seconds(100).ns};
  std::map<std::string, Bytes> rows;              // on disk
  std::vector<Persist> unsynced;
  bool disk_stalls = false;
  std::unique_ptr<Head> head;
  ProcessId head_id;
  std::map<NodeId, std::unique_ptr<Node>> nodes;
  std::map<ProcessId, FakeProcess> processes;
  std::set<std::string> throwing;                 // classes whose constructor throws
  std::set<NodeId> silent;                        // nothing goes to or from these
  std::vector<std::pair<ProcessId, std::string>> stopped;
  std::vector<StartWorker> started;
  std::vector<Answer> answers;
  std::vector<Exit> exits;

  void start_head() {
    ++head_number_;
    head_id = {1'000 + head_number_};
    HeadOptions options;
    options.self = {head_id, "ipc://head"};
    head = std::make_unique<Head>(options);
    std::vector<Head::Row> saved(rows.begin(), rows.end());
    Effects out;
    head->start(now, saved, out);
    carry(head_id, {}, std::move(out));
    for (auto& [id, node] : nodes) {
      if (silent.contains(id)) continue;
      Effects joined;
      node->on_head_changed(now, {head_id, "ipc://head"}, joined);
      carry(process_of(id), id, std::move(joined));
    }
    settle();
  }

  void kill_head() {                              // what was not synced is lost
    head.reset();
    unsynced.clear();
    std::erase_if(wire_, [&](const Envelope& e) { return e.to == head_id || e.from == head_id; });
  }

  NodeId add_node(const std::string& name, std::int64_t cpus) {
    const NodeId id{++last_node_};
    NodeOptions options;
    options.self.id = id;
    options.self.peer = {process_of(id), "ipc://" + name};
    options.self.name = name;
    options.self.total = {cpus * 1000, 0, std::int64_t{1} << 30};
    options.self.pid = 7;
    options.head = {head_id, "ipc://head"};
    options.seed = id.value * 77;
    options.store_bytes = 8 << 20;
    nodes[id] = std::make_unique<Node>(options);
    Effects out;
    nodes[id]->start(now, out);
    carry(process_of(id), id, std::move(out));
    settle();
    return id;
  }

  ProcessId add_driver(NodeId node, JobId job) {
    const ProcessId id{++last_driver_};
    processes[id] = {node, Role::kDriver, {}};
    Hello hello;
    hello.self = {id, "ipc://driver"};
    hello.role = Role::kDriver;
    hello.version = limits::kProtocolVersion;
    send(id, process_of(node), hello);
    StartJob start;
    start.request = {1};
    start.job.id = job;
    start.job.driver = hello.self;
    send(id, process_of(node), start);
    settle();
    return id;
  }

  void send(ProcessId from, ProcessId to, Message message) {
    wire_.push_back({from, to, std::move(message)});
  }
  void tell_node(ProcessId from, Message message) {
    send(from, process_of(processes.at(from).node), std::move(message));
    settle();
  }
  void kill_process(ProcessId id, std::vector<BegunMark> begun = {}) {
    const NodeId node = processes.at(id).node;
    processes.erase(id);
    Effects out;
    nodes.at(node)->on_process_exited(now, id, "killed by signal 9 (SIGKILL)", begun, out);
    carry(process_of(node), node, std::move(out));
    settle();
  }
  void kill_node(NodeId id) {
    nodes.erase(id);
    std::erase_if(processes, [&](const auto& entry) { return entry.second.node == id; });
  }

  // Delivers what is under way, and all that follows from it at this instant.
  void settle() {
    while (!wire_.empty()) {
      Envelope e = std::move(wire_.front());
      wire_.pop_front();
      deliver(e);
    }
  }
  void run_for(DurationNs length) {
    const TimeNs until = now + length;
    while (true) {
      settle();
      TimeNs next = head ? head->next_deadline() : kNever;
      for (const auto& [id, node] : nodes)
        if (!silent.contains(id)) next = std::min(next, node->next_deadline());
      if (next > until) break;
      now = std::max(now, next);
      if (head && head->next_deadline() <= now) {
        Effects out;
        head->on_deadline(now, out);
        carry(head_id, {}, std::move(out));
      }
      for (const auto& [id, node] : nodes) {
        if (silent.contains(id) || node->next_deadline() > now) continue;
        Effects out;
        node->on_deadline(now, out);
        carry(process_of(id), id, std::move(out));
      }
    }
    now = until;
    check();
  }
  void sync_disk() {
    std::uint64_t number = 0;
    for (Persist& row : unsynced) {
      number = row.number;
      if (row.value) rows[row.key] = *row.value;
      else rows.erase(row.key);
    }
    unsynced.clear();
    if (number == 0 || !head) return;
    Effects out;
    head->on_durable(now, number, out);
    carry(head_id, {}, std::move(out));
  }
  void check() {
    if (head) head->check_invariants();
    for (const auto& [id, node] : nodes) node->check_invariants();
  }
  static ProcessId process_of(NodeId id) { return {500 + id.value}; }
  std::vector<ProcessId> workers_of(NodeId node) const {
    std::vector<ProcessId> out;
    for (const auto& [id, process] : processes)
      if (process.node == node && process.role == Role::kWorker) out.push_back(id);
    return out;
  }

 private:
  struct Envelope {
    ProcessId from;
    ProcessId to;
    Message message;
  };

  NodeId node_of(ProcessId process) const {
    for (const auto& [id, node] : nodes)
      if (process_of(id) == process) return id;
    const auto it = processes.find(process);
    return it == processes.end() ? NodeId{} : it->second.node;
  }

  void deliver(const Envelope& e) {
    if (silent.contains(node_of(e.from)) || silent.contains(node_of(e.to))) return;
    if (e.to == head_id) {
      if (!head) return;
      Effects out;
      head->on_message(now, e.from, e.message, out);
      carry(head_id, {}, std::move(out));
    } else if (const NodeId node = node_of(e.to); node && process_of(node) == e.to) {
      Effects out;
      nodes.at(node)->on_message(now, e.from, e.message, out);
      carry(e.to, node, std::move(out));
    } else if (const auto it = processes.find(e.to); it != processes.end()) {
      it->second.inbox.push_back(e.message);
      if (const auto* create = std::get_if<CreateActor>(&e.message)) {
        ActorCreated created{create->spec.id, create->incarnation, {}};
        if (throwing.contains(create->spec.class_name))
          created.failure.push_back({ErrorCode::kTaskFailed, "its constructor threw: no luck"});
        send(e.to, e.from, created);
      }
    }
  }

  void carry(ProcessId self, NodeId node, Effects effects) {
    bool wrote = false;
    for (Effect& effect : effects.list) {
      if (auto* m = std::get_if<Send>(&effect)) send(self, m->to, std::move(m->message));
      if (auto* m = std::get_if<Datagram>(&effect)) send(self, m->to, std::move(m->message));
      if (auto* m = std::get_if<Persist>(&effect)) {
        unsynced.push_back(std::move(*m));
        wrote = true;
      }
      if (auto* m = std::get_if<Answer>(&effect)) answers.push_back(std::move(*m));
      if (auto* m = std::get_if<Exit>(&effect)) exits.push_back(*m);
      if (auto* m = std::get_if<StartWorker>(&effect)) start_worker(self, node, *m);
      if (auto* m = std::get_if<StopWorker>(&effect)) stop_worker(node, *m);
      if (auto* m = std::get_if<CheckFiles>(&effect)) {
        Effects out;
        nodes.at(node)->on_files_checked(now, m->job.id, {}, std::nullopt, out);
        carry(self, node, std::move(out));
      }
      if (auto* m = std::get_if<CreateExtent>(&effect)) {
        Effects out;
        nodes.at(node)->on_extent_created(now, m->extent, 10 + m->extent, out);
        carry(self, node, std::move(out));
      }
      if (auto* m = std::get_if<WatchExtent>(&effect)) {
        Effects out;
        nodes.at(node)->on_extent_unheld(now, m->extent, m->generation, out);
        carry(self, node, std::move(out));
      }
      if (auto* m = std::get_if<ReadChunk>(&effect))
        send(self, m->to, Chunk{m->request, m->offset, m->total, Bytes(m->bytes)});
    }
    if (wrote && !disk_stalls) sync_disk();
  }

  void start_worker(ProcessId self, NodeId node, const StartWorker& start) {
    started.push_back(start);
    processes[start.worker] = {node, Role::kWorker, {}};
    Hello hello;
    hello.self = {start.worker, "ipc://worker"};
    hello.role = Role::kWorker;
    hello.pid = 4'000 + static_cast<std::int64_t>(started.size());
    hello.job = start.job.id;
    hello.version = limits::kProtocolVersion;
    send(start.worker, self, hello);
  }
  void stop_worker(NodeId node, const StopWorker& stop) {
    stopped.emplace_back(stop.worker, stop.cause);
    processes.erase(stop.worker);
    Effects out;
    nodes.at(node)->on_process_exited(now, stop.worker, "killed by signal 9 (SIGKILL)", {}, out);
    carry(process_of(node), node, std::move(out));
  }

  std::deque<Envelope> wire_;
  std::uint64_t head_number_ = 0;
  std::uint64_t last_node_ = 0;
  std::uint64_t last_driver_ = 100;
};

inline ActorSpec actor_spec(ProcessId creator, std::uint64_t number, JobId job,
                            std::int32_t max_restarts = 0, const std::string& name = {}) {
  ActorSpec spec;
  spec.id = {creator, number};
  spec.job = job;
  spec.name = name;
  spec.class_name = "Counter";
  spec.max_restarts = max_restarts;
  spec.arguments = to_bytes(as_bytes("ten"));
  return spec;
}

}  // namespace rondo::core::test
