#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <rondo/core/call.h>
#include <rondo/core/message.h>
#include <rondo/sim/world.h>

// Checks: the jury. Whatever happens that a rule speaks of is told here, and handed to every
// checker; the first that objects ends the run. A checker knows one rule, keeps its own books, and
// believes nobody's account but what it was told happened.

namespace rondo::sim {

struct Issued {          // a call that somebody made
  ObjectId result;
  core::CallKind kind = core::CallKind::kTask;
  ActorId actor;
  std::uint64_t sequence = 0;   // of the caller's calls to this actor
  std::int32_t retries = 0;
  bool bound = false;
  std::uint64_t token = 0;      // what it must return
};

struct Begun {           // a body that starts
  ObjectId result;
  core::CallKind kind = core::CallKind::kTask;
  std::uint32_t attempt = 0;
  ProcessId worker;
  NodeId node;
  LeaseId lease;
  ActorId actor;
  Incarnation incarnation;
};

class Checker {
 public:
  virtual ~Checker() = default;
  [[nodiscard]] virtual const char* name() const = 0;
  // Each returns "", or what is wrong.
  virtual std::string on_issued(const Issued&) { return {}; }
  virtual std::string on_begun(const Begun&) { return {}; }
  virtual std::string on_finished(const Begun&) { return {}; }   // its reply leaves
  virtual std::string on_spawned(const core::ActorSpec&) { return {}; }
  virtual std::string on_constructed(ActorId, Incarnation, ProcessId /*worker*/) { return {}; }
  virtual std::string on_process_dead(ProcessId) { return {}; }
  // A value that somebody sees: token, or the failure.
  virtual std::string on_seen(ProcessId, ObjectId, const std::uint64_t*, const core::Failure*) {
    return {};
  }
  virtual std::string on_head_says(ProcessId /*node*/, const core::Message&) { return {}; }
  virtual std::string on_head_hears(const core::Message&) { return {}; }
  virtual std::string on_head_loaded(const std::map<std::string, Bytes>&) { return {}; }
  virtual std::string on_look(World&) { return {}; }       // now and then
  virtual std::string on_all_done(World&) { return {}; }   // after healing, all must be answered
  virtual std::string on_rest(World&) { return {}; }       // refs dropped, nothing to do
};

class Checks {
 public:
  explicit Checks(World&);
  ~Checks();

  void issued(const Issued&);
  void begun(const Begun&);
  void finished(const Begun&);
  void spawned(const core::ActorSpec&);
  void constructed(ActorId, Incarnation, ProcessId worker);
  void process_dead(ProcessId);
  void made(ObjectId, std::uint64_t token);   // a put
  void seen(ProcessId, ObjectId, const std::uint64_t* token, const core::Failure*);
  void head_says(ProcessId node, const core::Message&);
  void head_hears(const core::Message&);
  void head_loaded(const std::map<std::string, Bytes>& rows);
  void said_to_nobody(const Endpoint& from, ProcessId to);
  void look();
  void all_done();
  void rest();

  void fail(const std::string& checker, const std::string& what);
  [[nodiscard]] bool failed() const { return !failure_.empty(); }
  [[nodiscard]] const std::string& failure() const { return failure_; }
  [[nodiscard]] const std::string& failed_by() const { return failed_by_; }
  [[nodiscard]] NodeId home_of(ProcessId living) const;   // 0: it has none
  [[nodiscard]] const Issued* find(ObjectId) const;
  [[nodiscard]] const std::map<ObjectId, Issued>& calls() const { return calls_; }

 private:
  template <class F>
  void ask(F&& question);

  World& world_;
  std::vector<std::unique_ptr<Checker>> checkers_;
  std::map<ObjectId, Issued> calls_;
  std::string failure_;
  std::string failed_by_;
};

}  // namespace rondo::sim
