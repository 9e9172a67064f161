#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <rondo/core/process.h>

// A perfect little world for Process machines: messages arrive in order, and one obliging node
// grants leases on the workers in turn, gives actors a process, and reports deaths. Bodies are
// lambdas over the call's function number.

namespace rondo::core {

class ProcessNet {
 public:
  struct Body {  // what function N does in process P: an outcome, or nullopt: it goes on (finish it
                 // later)
    std::function<std::optional<Outcome>(ProcessId, RunId, const Incoming&)> run;
  };

  class Port final : public ProcessPort {
   public:
    Port(ProcessNet& net, ProcessId self) : net_(net), self_(self) {}
    void learn(const Peer&) override {}
    void forget(ProcessId peer) override { forgotten.insert(peer); }
    void send(ProcessId to, const Message& message) override { net_.post(self_, to, message); }
    void call(ProcessId to, const CallHeader& head, ByteView payload,
              std::span<const RefEntry> refs) override {
      net_.queue_.push_back([this, to, head, bytes = share(to_bytes(payload)),
                             kept = std::vector<RefEntry>(refs.begin(), refs.end())] {
        if (net_.alive(to) && net_.alive(self_))
          net_.at(to).machine->on_call(net_.now, {self_, head, *bytes, kept, bytes});
      });
    }
    void reply(ProcessId to, const ReplyHeader& head, ByteView payload,
               std::span<const RefEntry> refs) override {
      net_.queue_.push_back([this, to, head, bytes = to_bytes(payload),
                             kept = std::vector<RefEntry>(refs.begin(), refs.end())] {
        if (net_.alive(to)) net_.at(to).machine->on_reply(net_.now, self_, head, bytes, kept);
      });
    }
    void run(RunId id) override { runs.push_back(id); }
    void resume(RunId id) override { resumed.push_back(id); }
    void construct(const CreateActor& birth) override { births.push_back(birth); }
    void filled() override {}
    void end(const std::string& cause) override { ended = cause; }
    std::string name_of(CallKind kind, std::uint32_t function) override {
      const std::string letter(1, static_cast<char>('a' + function % 26));
      return (kind == CallKind::kActor ? "A." : "") + letter;
    }
    std::deque<RunId> runs;
    std::vector<RunId> resumed;
    std::deque<CreateActor> births;
    std::string ended;
    std::set<ProcessId> forgotten;

   private:
    ProcessNet& net_;
    ProcessId self_;
  };

  struct Host {
    std::unique_ptr<CellTable> cells;
    std::unique_ptr<Port> port;
    std::unique_ptr<Process> machine;
    std::map<ProcessId, std::uint64_t> begun;
    bool dead = false;
  };

  explicit ProcessNet(int workers) {
    for (int i = 0; i <= workers; ++i) add();
  }

  ProcessId add() {
    const ProcessId id{hosts_.size() + 1};
    Host& host = hosts_[id];
    host.cells = std::make_unique<CellTable>();
    host.port = std::make_unique<Port>(*this, id);
    host.machine = std::make_unique<Process>(
        Process::Options{.self = {id, "mem"},
                         .role = id.value == 1 ? Role::kDriver : Role::kWorker,
                         .node = {kNode, "mem"}},
        *host.cells, *host.port);
    host.machine->start(now, CellRef());
    if (id.value != 1) idle_.push_back(id);
    return id;
  }

  [[nodiscard]] Host& at(ProcessId id) { return hosts_.at(id); }
  [[nodiscard]] Process& driver() { return *at(ProcessId{1}).machine; }
  [[nodiscard]] bool alive(ProcessId id) { return hosts_.contains(id) && !hosts_.at(id).dead; }

  CellRef cell(ProcessId process, CellRef& second) {
    CellTable& cells = *at(process).cells;
    CellRef first = cells.allocate(process, 1);
    second = cells.adopt(*first);
    return first;
  }
  CellRef submit(ProcessId from, std::uint32_t function, std::vector<CellRef> refs = {},
                 int retries = 3) {
    Submission s;
    const CellRef result = cell(from, s.result);
    fill_in(s, function, std::move(refs));
    at(from).machine->submit(now, Shape{1000, 0, 0}, retries, std::move(s));
    return result;
  }
  CellRef call(ProcessId from, ActorId actor, std::uint32_t method, std::vector<CellRef> refs = {},
               Incarnation bound = {}) {
    Submission s;
    const CellRef result = cell(from, s.result);
    fill_in(s, method, std::move(refs));
    at(from).machine->call(now, actor, bound, std::move(s));
    return result;
  }
  ActorId spawn(ProcessId from, int max_restarts, int max_task_retries) {
    ActorSpec spec;
    spec.id = {from, ++actors_made_};
    spec.class_name = "A";
    spec.max_restarts = max_restarts;
    spec.max_task_retries = max_task_retries;
    Submission s;
    const CellRef result = cell(from, s.result);
    at(from).machine->spawn(now, spec, std::move(s));
    return spec.id;
  }

  // Until nothing moves. Bodies run as soon as they may, one step at a time, unless `hold` names
  // their process.
  void settle() {
    for (int quiet = 0; quiet < 2;) {
      for (auto& [id, host] : hosts_) {
        if (!host.dead) host.machine->flush(now);
      }
      bool moved = false;
      while (!queue_.empty()) {
        const auto deliver = std::move(queue_.front());
        queue_.pop_front();
        deliver();
        moved = true;
      }
      for (auto& [id, host] : hosts_) moved = execute(id, host) || moved;
      quiet = moved ? 0 : quiet + 1;
    }
    for (auto& [id, host] : hosts_) {
      if (!host.dead) host.machine->check_invariants();
    }
  }

  bool execute(ProcessId id, Host& host) {
    if (host.dead) return false;
    bool moved = false;
    while (!host.port->births.empty()) {
      const CreateActor birth = host.port->births.front();
      host.port->births.pop_front();
      host.machine->constructed(birth, std::nullopt);
      moved = true;
    }
    while (!host.port->runs.empty() && !held.contains(id)) {
      const RunId run = host.port->runs.front();
      host.port->runs.pop_front();
      const Incoming& call = host.machine->incoming(run);
      host.begun[call.from] = std::max(host.begun[call.from], call.head.number);
      std::optional<Outcome> outcome = body ? body(id, run, call) : Outcome{};
      if (outcome) host.machine->finish(now, run, std::move(*outcome));
      moved = true;
    }
    return moved;
  }

  void kill(ProcessId id) {
    Host& host = at(id);
    host.dead = true;
    std::erase(idle_, id);
    ProcessDied death{.process = id, .node = NodeId{1}, .pid = 1, .cause = "killed by signal 9"};
    for (const auto& [caller, number] : host.begun) death.begun.push_back({caller, number});
    for (auto& [other, o] : hosts_) {
      if (!o.dead) post(kNode, other, death);
    }
    for (auto& [actor, where] : where_) {
      if (where.process.id == id) restart(where);
    }
  }

  void post(ProcessId from, ProcessId to, const Message& message) {
    queue_.push_back([this, from, to, message] {
      if (to == kNode) node(from, message);
      else if (alive(to)) at(to).machine->on_message(now, from, message);
    });
  }

  TimeNs now{1};
  std::set<ProcessId> held;  // processes that execute nothing for the moment
  std::function<std::optional<Outcome>(ProcessId, RunId, const Incoming&)> body;
  std::set<LeaseId> waiting;  // WaitBegin seen
  int leases_out = 0;
  std::vector<ProcessQuery> queries;
  static constexpr ProcessId kNode{1000};

 private:
  static void fill_in(Submission& s, std::uint32_t function, std::vector<CellRef> refs) {
    s.function = function;
    for (std::uint32_t i = 0; i < refs.size(); ++i) {
      const ArgumentHeader head{i, ArgumentKind::kRef};
      const auto* bytes = reinterpret_cast<const std::byte*>(&head);
      s.payload.insert(s.payload.end(), bytes, bytes + sizeof head);
      s.awaited.push_back(i);
    }
    s.refs = std::move(refs);
  }

  void restart(ActorInfo& info) {
    if (info.restarts < budget_[info.id]) {
      ++info.restarts;
      info.incarnation.value += 1;
      start(info);
    } else {
      info.state = ActorState::kDead;
      info.cause = "killed by signal 9";
      tell(info);
    }
  }
  void start(ActorInfo& info) {
    const ProcessId worker = add();
    std::erase(idle_, worker);
    info.process = {worker, "mem"};
    ActorSpec spec;
    spec.id = info.id;
    post(kNode, worker, CreateActor{spec, info.incarnation});
  }
  void tell(const ActorInfo& info) {
    for (auto& [id, host] : hosts_) {
      if (!host.dead) post(kNode, id, ActorUpdate{{}, info});
    }
  }

  void node(ProcessId from, const Message& message) {
    if (std::get_if<Hello>(&message)) return post(kNode, from, Welcome{.node = NodeId{1}});
    if (const auto* m = std::get_if<LeaseRequest>(&message)) {
      if (idle_.empty()) return;
      const ProcessId worker = idle_[next_++ % idle_.size()];
      ++leases_out;
      return post(kNode, from,
                  LeaseGrant{m->request, LeaseId{++leases_}, {worker, "mem"}, NodeId{1}});
    }
    if (std::get_if<LeaseReturn>(&message)) --leases_out;
    if (const auto* m = std::get_if<SpawnActor>(&message)) {
      ActorInfo& info = where_[m->spec.id];
      info.id = m->spec.id;
      info.class_name = "A";
      info.node = NodeId{1};
      info.max_task_retries = m->spec.max_task_retries;
      info.incarnation = Incarnation{1};
      budget_[m->spec.id] = m->spec.max_restarts;
      return start(info);
    }
    if (const auto* m = std::get_if<ActorCreated>(&message)) {
      ActorInfo& info = where_[m->actor];
      info.state = ActorState::kAlive;
      return tell(info);
    }
    if (const auto* m = std::get_if<WatchActor>(&message)) {
      if (where_.contains(m->actor)) post(kNode, from, ActorUpdate{m->request, where_[m->actor]});
    }
    if (const auto* m = std::get_if<ProcessQuery>(&message)) queries.push_back(*m);
    if (const auto* m = std::get_if<WaitBegin>(&message)) waiting.insert(m->lease);
    if (const auto* m = std::get_if<WaitEnd>(&message)) {
      waiting.erase(m->lease);
      post(kNode, from, WaitResume{m->lease});
    }
  }

  std::map<ProcessId, Host> hosts_;
  std::deque<std::function<void()>> queue_;
  std::vector<ProcessId> idle_;
  std::map<ActorId, ActorInfo> where_;
  std::map<ActorId, int> budget_;
  std::size_t next_ = 0;
  std::uint64_t leases_ = 0;
  std::uint64_t actors_made_ = 0;
};

}  // namespace rondo::core
